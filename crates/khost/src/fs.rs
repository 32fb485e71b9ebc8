//! Files that are either the old version or the new one, never half of each.
//!
//! Paths here are real ones, from [`crate::Host::path`]. Whatever changes a directory is durable
//! on return: file and directory are synced, so power loss cannot undo it. Links on the way are
//! followed only when they can be trusted: see `fs/place.rs`.

mod copy;
mod digest;
mod directory;
mod foreign;
mod look;
mod place;
mod text;

use std::{
    fs::{self, File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

pub use copy::copy;
pub use digest::{copy_hashed, digest, learned, read_digest};
pub(crate) use digest::{forget, keep, recall};
pub use directory::{make_dir, make_dirs, remove_empty_dir, remove_tree};
pub use foreign::{adopt, alien, available, exchange, publish};
use look::absent;
pub use look::{
    exists, is_mount_point, link_target, look, look_behind, mode, mounts_below, names, read,
    read_text,
};
use place::Place;
pub(crate) use text::{bytes_of, shown, text_of};

use crate::error::{Error, Result};

/// Mode and owner of a file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, e.g. 0o644.
    pub mode: u32,
    /// uid and gid; none leaves them to the system.
    pub owner: Option<(u32, u32)>,
}

/// Replace `path` with `bytes`.
pub fn write(path: &Path, bytes: &[u8], attributes: Attributes) -> Result<()> {
    replace(path, attributes, |file| file.write_all(bytes))
        .map_err(|error| Error::io("write", path, error))
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
