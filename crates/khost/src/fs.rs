//! Files that are either the old version or the new one, never half of each.
//!
//! Paths here are real ones, from [`crate::Host::path`]. Whatever changes a directory is durable
//! on return: file and directory are synced, so power loss cannot undo it. Links on the way are
//! followed only when they can be trusted: see `fs/place.rs`.

mod digest;
mod foreign;
mod place;
mod text;

use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

pub use digest::{copy_hashed, digest, learned, read_digest};
pub(crate) use digest::{forget, keep, recall};
pub use foreign::{adopt, alien, available, exchange, publish};
use kspec::Sha256;
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2},
};
use place::Place;
pub(crate) use text::{bytes_of, shown, text_of};

use crate::error::{Error, Result};

/// How often a directory is made that others remove meanwhile.
const MEANWHILE: usize = 100;

/// Mode and owner of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, e.g. 0o644.
    pub mode: u32,
    /// uid and gid; none leaves them to the system.
    pub owner: Option<(u32, u32)>,
}

/// What `path` is; none when nothing is there. A link is not followed.
pub fn look(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// What `path` leads to; none when nothing is there. A link is followed only when it can be
/// trusted, as it is for a change.
pub fn look_behind(path: &Path) -> Result<Option<Metadata>> {
    match Place::itself(path).and_then(|place| fs::metadata(place.path())) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Whether something is at `path`, be it a broken link.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The permission bits of `metadata`, without the file type.
pub fn mode(metadata: &Metadata) -> u32 {
    metadata.mode() & 0o7777
}

/// The bytes of `path`; none when it does not exist.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(Error::io("read", path, error)),
    }
}

/// The text of `path`, with bytes that are not UTF-8 replaced; none when it does not exist.
pub fn read_text(path: &Path) -> Result<Option<String>> {
    Ok(read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// The names in the directory `path`, sorted; empty when it does not exist.
pub fn names(path: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if absent(&error) => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| Error::io("read", path, error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// What the link at `path` says; none when nothing or something else is there.
pub fn link_target(path: &Path) -> Result<Option<PathBuf>> {
    if !look(path)?.is_some_and(|found| found.is_symlink()) {
        return Ok(None);
    }
    fs::read_link(path).map(Some).map_err(|error| Error::io("read", path, error))
}

/// Replace `path` with `bytes`.
pub fn write(path: &Path, bytes: &[u8], attributes: Attributes) -> Result<()> {
    replace(path, attributes, |file| file.write_all(bytes))
        .map_err(|error| Error::io("write", path, error))
}

/// Replace `path` with the bytes of `from`, which must have the digest `sha256`.
pub fn copy(from: &Path, path: &Path, sha256: Sha256, attributes: Attributes) -> Result<()> {
    let mut source = File::open(from).map_err(|error| Error::io("read", from, error))?;
    let mut found = None;
    replace(path, attributes, |file| {
        let digest = copy_hashed(&mut source, file)?;
        found = Some(digest);
        if digest == sha256 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })
    .map_err(|error| match found {
        Some(found) if found != sha256 => {
            Error::host("digest-mismatch", format!("`{}` is {found}, not {sha256}", from.display()))
                .hint("run `kfetch apply` to fetch it again")
        }
        _ => Error::io("write", path, error),
    })?;
    learned(path, sha256)
}

/// Replace `path` with what `fill` writes, or leave it as it is when that fails.
pub fn write_with(
    path: &Path,
    attributes: Attributes,
    fill: impl FnOnce(&mut File) -> Result<()>,
) -> Result<()> {
    let mut failed = None;
    let written = replace(path, attributes, |file| {
        fill(file).map_err(|error| {
            failed = Some(error);
            io::ErrorKind::Other.into()
        })
    });
    match (failed, written) {
        (Some(error), _) => Err(error),
        (None, written) => written.map_err(|error| Error::io("write", path, error)),
    }
}

fn replace(
    path: &Path,
    attributes: Attributes,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let place = Place::named(path)?;
    let path = place.path();
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    sweep(path)?;
    let mut file = tempfile::Builder::new() // made 0600: a secret is private from its first byte
        .prefix(&unfinished(path))
        .tempfile_in(dir)?;
    fill(file.as_file_mut())?;
    set_attributes_of(file.as_file(), attributes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    sync_dir(dir)
}

/// How the names of files begin that are about to become `path`.
fn unfinished(path: &Path) -> String {
    format!(".{}.k8steps-", path.file_name().unwrap_or_default().to_string_lossy())
}

/// Remove what a killed write of `path` left beside it.
pub(crate) fn remove_unfinished(path: &Path) -> Result<()> {
    match Place::named(path).and_then(|place| sweep(place.path())) {
        Err(error) if !absent(&error) => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Remove what a killed write of `path` left beside it. Nobody else is writing it, when it is a
/// file: that belongs to one phase, and a phase has its lock. A directory can be made by two at
/// once, which is borne (`make_dir`).
#[expect(clippy::disallowed_methods, reason = "one of the places files are removed")]
fn sweep(path: &Path) -> io::Result<()> {
    let prefix = unfinished(path);
    for entry in fs::read_dir(path.parent().ok_or(io::ErrorKind::InvalidInput)?)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(&prefix) {
            continue;
        }
        let removed = if entry.file_type()?.is_dir() {
            fs::remove_dir(entry.path())
        } else {
            fs::remove_file(entry.path())
        };
        removed.or_else(|error| if absent(&error) { Ok(()) } else { Err(error) })?;
    }
    Ok(())
}

fn set_attributes(path: &Path, attributes: Attributes) -> io::Result<()> {
    let place = Place::itself(path)?;
    let path = place.path();
    if let Some((uid, gid)) = attributes.owner {
        std::os::unix::fs::chown(path, Some(uid), Some(gid))?; // before the mode: chown clears bits
    }
    fs::set_permissions(path, Permissions::from_mode(attributes.mode))
}

/// The same by the file itself: whoever may write the directory could put a link in the place of
/// its name meanwhile, and have root change something else.
fn set_attributes_of(file: &File, attributes: Attributes) -> io::Result<()> {
    if let Some((uid, gid)) = attributes.owner {
        std::os::unix::fs::fchown(file, Some(uid), Some(gid))?;
    }
    file.set_permissions(Permissions::from_mode(attributes.mode))
}

/// Give what is at `path` these attributes.
pub fn set(path: &Path, attributes: Attributes) -> Result<()> {
    set_attributes(path, attributes).map_err(|error| Error::io("change", path, error))
}

/// Make the directory `path`, whose parent exists, if it is not there; set its attributes.
pub fn make_dir(path: &Path, attributes: Attributes) -> Result<()> {
    let make = || {
        if exists(path) {
            return set_attributes(path, attributes).and_then(|()| sync_parent(path));
        }
        new_dir(path, attributes)
    };
    // Phases share some directories: one may remove it, empty, or sweep it unfinished, meanwhile.
    let again = |error: &io::Error| {
        absent(error) && !is_link(path) && path.parent().is_some_and(Path::is_dir)
    };
    let mut made = make();
    for _ in 0..MEANWHILE {
        match &made {
            Err(error) if again(error) => made = make(),
            _ => break,
        }
    }
    made.map_err(|error| Error::io("make", path, error))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink())
}

/// A directory that is there with its attributes or not at all: one that a killed run left with
/// others would be taken for the operator's.
fn new_dir(path: &Path, attributes: Attributes) -> io::Result<()> {
    let place = Place::named(path)?;
    let path = place.path();
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    sweep(path)?;
    let made = tempfile::Builder::new().prefix(&unfinished(path)).tempdir_in(parent)?;
    let itself = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
        .open(made.path())?;
    set_attributes_of(&itself, attributes)?;
    // Not over one that is empty: another phase may be about to write in it.
    match renameat2(AT_FDCWD, made.path(), AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => drop(made.keep()), // it has another name now, and stays
        Err(Errno::EEXIST) => set_attributes(path, attributes)?, // another phase was quicker
        Err(errno) => return Err(errno.into()),
    }
    sync_dir(parent)
}

/// Make the directory `path` and all its missing parents with `mode`.
pub fn make_dirs(path: &Path, mode: u32) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_dirs(parent, mode)?;
    }
    make_dir(path, Attributes { mode, owner: None })
}

/// Make `path` a symbolic link to `target`, replacing a file or link.
pub fn link(path: &Path, target: &Path) -> Result<()> {
    let replaced = (|| {
        let place = Place::named(path)?;
        let path = place.path();
        let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        sweep(path)?;
        let link = tempfile::Builder::new()
            .prefix(&unfinished(path))
            .make_in(dir, |at| std::os::unix::fs::symlink(target, at))?;
        link.persist(path)?;
        sync_dir(dir)
    })();
    replaced.map_err(|error: io::Error| Error::io("link", path, error))
}

/// Rename `from` to `to`, which must be on the same file system.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = (|| {
        let (from, to) = (Place::named(from)?, Place::named(to)?);
        fs::rename(from.path(), to.path())?;
        sync_parent(to.path())
    })();
    renamed.map_err(|error| Error::io("rename", to, error))
}

/// Remove the name `path` by `how`, and what a killed write of it left.
fn take_away(path: &Path, how: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let place = Place::named(path)?;
    sweep(place.path())?;
    how(place.path())?;
    sync_parent(place.path())
}

/// Remove a file or link; fine when it is not there.
#[expect(clippy::disallowed_methods, reason = "the one place files are removed")]
pub fn remove(path: &Path) -> Result<()> {
    match take_away(path, |path| fs::remove_file(path)) {
        Err(error) if !absent(&error) => Err(Error::io("remove", path, error)),
        _ => Ok(()),
    }
}

/// Remove a directory if it is empty; says whether it is gone.
pub fn remove_empty_dir(path: &Path) -> Result<bool> {
    match take_away(path, |path| fs::remove_dir(path)) {
        Ok(()) => Ok(true),
        Err(error) if absent(&error) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        Err(error) => Err(Error::io("remove", path, error)),
    }
}

/// Remove `path` and everything below it; refuses while something is mounted there.
#[expect(clippy::disallowed_methods, reason = "the one place trees are removed")]
pub fn remove_tree(path: &Path) -> Result<()> {
    if let Some(mount) = mounts_below(path)?.first() {
        return Err(Error::host(
            "still-mounted",
            format!("`{mount}` is mounted inside `{}`", path.display()),
        )
        .hint(format!("run `umount {mount}` and try again")));
    }
    remove_unfinished(path)?;
    let Some(metadata) = look(path)? else { return Ok(()) };
    if !metadata.is_dir() {
        return remove(path);
    }
    let removed = Place::named(path).and_then(|place| {
        fs::remove_dir_all(place.path())?;
        sync_parent(place.path())
    });
    removed.map_err(|error| Error::io("remove", path, error))
}

/// Whether something is mounted at `path` itself: such a file cannot be replaced.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    Ok(mounts_below(path)?.iter().any(|point| Path::new(point) == path))
}

/// Mount points at or below `path`, deepest first.
pub fn mounts_below(path: &Path) -> Result<Vec<String>> {
    let table = read_text(Path::new("/proc/self/mountinfo"))?.unwrap_or_default();
    let mut mounts: Vec<String> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4)) // proc(5): the fifth field is the mount point
        .map(|point| point.replace("\\040", " "))
        .filter(|point| Path::new(point).starts_with(path))
        .collect();
    mounts.sort_by_key(|mount| std::cmp::Reverse(mount.len()));
    Ok(mounts)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_dir)
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Attributes, link, remove, write, write_with};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a killed run's hand, in a test")]
    fn what_a_killed_write_left_goes_with_the_next_write_or_removal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let names = || super::names(dir.path()).unwrap();
        let attributes = Attributes { mode: 0o600, owner: None };
        let kill = || fs::write(dir.path().join(".key.k8steps-aB3"), "half").unwrap();
        fs::write(dir.path().join(".key2.k8steps-aB3"), "of another file").unwrap();

        kill();
        write(&path, b"whole", attributes).unwrap();
        assert_eq!(names(), [".key2.k8steps-aB3", "key"]);
        kill();
        link(&path, std::path::Path::new("target")).unwrap();
        assert_eq!(names(), [".key2.k8steps-aB3", "key"]);
        kill();
        remove(&path).unwrap();
        kill();
        remove(&path).unwrap();
        assert_eq!(names(), [".key2.k8steps-aB3"]);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the hand of another user, in a test")]
    fn a_link_put_in_place_of_an_unfinished_file_gives_nothing_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let victim = dir.path().join("victim");
        fs::write(&victim, "").unwrap();
        fs::set_permissions(&victim, fs::Permissions::from_mode(0o600)).unwrap();
        let attributes = Attributes { mode: 0o666, owner: None };
        write_with(&dir.path().join("key"), attributes, |_| {
            let unfinished = super::names(dir.path()).unwrap();
            let unfinished = unfinished.iter().find(|name| name.starts_with(".key.")).unwrap();
            fs::remove_file(dir.path().join(unfinished)).unwrap();
            std::os::unix::fs::symlink(&victim, dir.path().join(unfinished)).unwrap();
            Ok(())
        })
        .unwrap();
        assert_eq!(super::mode(&victim.metadata().unwrap()), 0o600);
    }
}
