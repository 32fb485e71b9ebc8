//! Where a path leads, held open, so that nobody can put something else there meanwhile.
//!
//! Some directories that root writes in belong to others: `/etc/kubernetes` to the user `kube`,
//! the data of etcd to `etcd`. Such a user could put a link in the place of a directory, and have
//! root write where he may not. So a path is walked one name at a time, and a link on it is
//! followed only when root made it, or the user who runs this.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat, readlinkat},
    sys::stat::{Mode, SFlag, fstat},
    unistd::geteuid,
};

use crate::host::{MOST_LINKS, names};

/// The thing itself, a link too; nothing of it is read, so no right to read it is needed.
const ITSELF: OFlag = OFlag::O_PATH.union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A file or directory that is held, with a path that leads to it and nowhere else.
#[derive(Debug)]
pub(super) struct Place {
    _held: OwnedFd,
    path: PathBuf,
}

impl Place {
    /// What `path` is in the end: a link at its end is followed.
    pub(super) fn itself(path: &Path) -> io::Result<Self> {
        let held = walk(path)?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()));
        Ok(Self { _held: held, path })
    }

    /// The name `path` in its directory, which must be there: a link at its end is not followed.
    pub(super) fn named(path: &Path) -> io::Result<Self> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut place = Self::itself(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        place.path.push(name);
        Ok(place)
    }

    /// A path that leads there as long as this is held.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

fn walk(path: &Path) -> io::Result<OwnedFd> {
    let start =
        |path: &Path| open(if path.is_absolute() { "/" } else { "." }, ITSELF, Mode::empty());
    let mut at = start(path)?;
    let mut todo = names(path);
    let mut links = 0;
    while let Some(name) = todo.pop() {
        let next = openat(&at, name.as_os_str(), ITSELF, Mode::empty())?;
        let found = fstat(&next)?;
        if found.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFLNK.bits() {
            at = next;
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return Err(Errno::ELOOP.into());
        }
        if ![0, geteuid().as_raw()].contains(&found.st_uid) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "`{}` in it is a link that user {} made, who could have root write anywhere",
                    name.display(),
                    found.st_uid
                ),
            ));
        }
        let target = PathBuf::from(readlinkat(&next, "")?);
        if target.is_absolute() {
            at = start(&target)?;
        }
        todo.extend(names(&target));
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{lchown, symlink},
        path::Path,
    };

    use super::Place;
    use crate::fs::{Attributes, link, make_dir, remove, remove_tree, rename, set, write};

    const OPEN: Attributes = Attributes { mode: 0o777, owner: None };

    #[test]
    fn the_operators_own_links_are_followed_relative_ones_and_long_ways_too() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("disk/data")).unwrap();
        symlink("disk/../disk/data", dir.path().join("relative")).unwrap();
        symlink(dir.path().join("relative"), dir.path().join("var")).unwrap();
        symlink("around", dir.path().join("around")).unwrap();
        write(&dir.path().join("var/file"), b"here", OPEN).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("disk/data/file")).unwrap(), "here");
        make_dir(&dir.path().join("var"), OPEN).unwrap();
        assert!(dir.path().join("var").is_symlink(), "the link was replaced");
        remove(&dir.path().join("var/file")).unwrap();
        assert_eq!(fs::read_dir(dir.path().join("disk/data")).unwrap().count(), 0);
        let error = write(&dir.path().join("around/file"), b"", OPEN).unwrap_err();
        assert!(error.chain().contains("symbolic link"), "{}", error.chain());
        remove(&dir.path().join("absent/file")).unwrap();
    }

    /// Whoever may write a directory that root writes in gets nothing by a link in it. Only root
    /// can make links of others, so this needs root.
    #[test]
    fn a_link_that_another_user_planted_is_never_followed() {
        if !crate::Host::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (open, victim) = (dir.path().join("open"), dir.path().join("victim"));
        fs::create_dir_all(victim.join("deep")).unwrap();
        fs::create_dir(&open).unwrap();
        for (name, target) in [("dir", &victim), ("absent", &dir.path().join("nowhere"))] {
            symlink(target, open.join(name)).unwrap();
            lchown(open.join(name), Some(65534), Some(65534)).unwrap();
        }
        let planted = open.join("dir");
        let before = listing(&victim);
        let tries: [(&str, crate::Result<()>); 8] = [
            ("write", write(&planted.join("file"), b"x", OPEN)),
            ("set", set(&planted, OPEN)),
            ("make_dir", make_dir(&planted, OPEN)),
            ("make_dir below", make_dir(&planted.join("new"), OPEN)),
            ("link", link(&planted.join("link"), Path::new("/"))),
            ("remove_tree", remove_tree(&planted.join("deep"))),
            ("rename", rename(&planted.join("deep"), &open.join("mine"))),
            ("make_dir of nothing", make_dir(&open.join("absent"), OPEN)),
        ];
        for (what, tried) in tries {
            let error = tried.expect_err(what).chain();
            let absent = what.ends_with("nothing");
            assert!(absent || error.contains("is a link that user 65534 made"), "{what}: {error}");
        }
        assert_eq!(listing(&victim), before);
        assert!(!dir.path().join("nowhere").exists());
        write(&planted, b"mine", OPEN).unwrap();
        assert_eq!(listing(&victim), before, "a file in the place of the link");
        assert!(!planted.is_symlink());
    }

    #[test]
    fn what_is_held_stays_though_its_name_leads_elsewhere_now() {
        let dir = tempfile::tempdir().unwrap();
        let (mine, other) = (dir.path().join("mine"), dir.path().join("other"));
        fs::create_dir(&mine).unwrap();
        fs::create_dir(&other).unwrap();
        let place = Place::named(&mine.join("file")).unwrap();
        fs::rename(&mine, dir.path().join("moved")).unwrap();
        symlink(&other, &mine).unwrap();
        fs::File::create(place.path()).unwrap();
        assert!(dir.path().join("moved/file").exists());
        assert_eq!(fs::read_dir(&other).unwrap().count(), 0);
    }

    fn listing(dir: &Path) -> String {
        use std::os::unix::fs::MetadataExt as _;
        let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut found: Vec<_> = names.collect();
        found.sort();
        format!("{:o} {found:?}", fs::metadata(dir).unwrap().mode())
    }
}
