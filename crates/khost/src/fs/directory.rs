//! Directories: made whole, and taken away.

use std::{
    fs::{self, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2},
};

use super::{
    Attributes, absent, exists, look, mounts_below, place::Place, remove, remove_unfinished,
    set_attributes, set_attributes_of, sweep, sync_dir, sync_parent, take_away, unfinished,
};
use crate::error::{Error, Result};

/// How often a directory is made that others remove meanwhile.
const MEANWHILE: usize = 100;

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
