//! What other programs wrote, made as durable and as private as what this crate writes itself.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, lchown},
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AT_FDCWD, OFlag, RenameFlags, renameat2},
    sys::statvfs::statvfs,
};

use super::{Attributes, place::Place, set_attributes_of, sync_parent};
use crate::error::{Error, Result};

/// Bytes that this process may still write to the file system that `dir` is on (statvfs(3),
/// `f_bavail`).
pub fn available(dir: &Path) -> Result<u64> {
    let found = statvfs(dir).map_err(|errno| Error::io("read", dir, errno.into()))?;
    Ok(found.blocks_available() * found.fragment_size())
}

/// Make the finished file `from` into `path`, in the same directory: first its attributes, then
/// its bytes on the disk, then its name.
pub fn publish(from: &Path, path: &Path, attributes: Attributes) -> Result<()> {
    let published = (|| {
        let (from, path) = (Place::named(from)?, Place::named(path)?);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
            .open(from.path())?;
        set_attributes_of(&file, attributes)?;
        file.sync_all()?;
        fs::rename(from.path(), path.path())?;
        sync_parent(path.path())
    })();
    published.map_err(|error| Error::io("write", path, error))
}

/// Give `path` and everything below it to the user and group `owner`, and see all of it onto the
/// disk. Links are not followed. Without an owner, only the latter.
pub fn adopt(path: &Path, owner: Option<(u32, u32)>) -> Result<()> {
    let failed = |error| Error::io("change", path, error);
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if found.is_dir() {
        for name in super::names(path)? {
            adopt(&path.join(name), owner)?;
        }
    }
    if let Some((uid, gid)) = owner {
        lchown(path, Some(uid), Some(gid)).map_err(failed)?;
    }
    if found.is_symlink() {
        return Ok(());
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(failed)
}

/// Something at or below `path` that is not `owner`'s (user and group); none when all is.
pub fn alien(path: &Path, owner: (u32, u32)) -> Result<Option<PathBuf>> {
    let Some(found) = super::look(path)? else { return Ok(None) };
    if (found.uid(), found.gid()) != owner {
        return Ok(Some(path.to_owned()));
    }
    if found.is_dir() {
        for name in super::names(path)? {
            if let Some(alien) = alien(&path.join(name), owner)? {
                return Ok(Some(alien));
            }
        }
    }
    Ok(None)
}

/// Let `one` and `other`, both there and on the same file system, change places: at no instant is
/// either missing (rename(2), `RENAME_EXCHANGE`).
pub fn exchange(one: &Path, other: &Path) -> Result<()> {
    let exchanged = (|| {
        let (one, other) = (Place::named(one)?, Place::named(other)?);
        let (one, other) = (one.path(), other.path());
        renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?;
        sync_parent(one)?;
        sync_parent(other)
    })();
    exchanged.map_err(|error| Error::io("exchange", other, error))
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    };

    use super::{adopt, alien, available, exchange, publish};
    use crate::fs::Attributes;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another program's hand, in a test")]
    fn what_others_wrote_gets_its_mode_and_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (from, path) = (dir.path().join(".part"), dir.path().join("whole"));
        fs::write(&from, "bytes").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o644)).unwrap();
        publish(&from, &path, Attributes { mode: 0o600, owner: None }).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(super::super::names(dir.path()).unwrap(), ["whole"]);
        let error = publish(&from, &path, Attributes { mode: 0o600, owner: None }).unwrap_err();
        assert_eq!(error.code(), "write-failed");
        assert!(available(dir.path()).unwrap() > 0);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another program's hand, in a test")]
    fn two_trees_change_places() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["old", "new"] {
            fs::create_dir_all(dir.path().join(name).join("deep")).unwrap();
            fs::write(dir.path().join(name).join("deep/is"), name).unwrap();
            std::os::unix::fs::symlink("nowhere", dir.path().join(name).join("link")).unwrap();
        }
        let [old, new] = ["old", "new"].map(|name| dir.path().join(name));
        adopt(&new, None).unwrap();
        let owner = fs::metadata(&new).map(|found| (found.uid(), found.gid())).unwrap();
        assert_eq!(alien(&new, owner).unwrap(), None);
        assert_eq!(alien(&new, (owner.0 + 1, owner.1)).unwrap().unwrap(), new);
        assert_eq!(alien(&new.join("absent"), owner).unwrap(), None);
        exchange(&new, &old).unwrap();
        assert_eq!(fs::read_to_string(old.join("deep/is")).unwrap(), "new");
        assert_eq!(fs::read_to_string(new.join("deep/is")).unwrap(), "old");
        let error = exchange(&new, &dir.path().join("absent")).unwrap_err();
        assert!(error.to_string().starts_with("cannot exchange"), "{error}");
    }
}
