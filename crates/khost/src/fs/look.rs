//! Looking at files; nothing is written.

use std::{
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::place::Place;
use crate::error::{Error, Result};

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

pub(super) fn absent(error: &io::Error) -> bool {
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
