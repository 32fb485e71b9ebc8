//! The machine being worked on, or a tree that stands for it.

use std::{
    ffi::OsString,
    path::{Component, Path, PathBuf},
};

use crate::{Error, Result};

/// The machine itself (`/`), or with `--root` a directory that is treated as its root.
///
/// In a tree only files exist: no owner is set, no program run, no unit started.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
}

/// As many as the kernel follows (`path_resolution(7)`).
pub(crate) const MOST_LINKS: usize = 40;

/// The names on `path`, last first.
pub(crate) fn names(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    names.rev().collect()
}

/// Who owns a file, by name as it stands in `/etc/passwd` and `/etc/group`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// User name.
    pub user: String,
    /// Group name.
    pub group: String,
}

impl Owner {
    /// `user:group`.
    pub fn new(user: &str, group: &str) -> Self {
        Self { user: user.into(), group: group.into() }
    }

    /// `root:root`.
    pub fn root() -> Self {
        Self::new("root", "root")
    }

    /// The numbers behind the names; none while the user or group does not exist.
    pub fn ids(&self) -> Result<Option<(u32, u32)>> {
        let failed = |errno: nix::errno::Errno| {
            Error::host("user-lookup-failed", format!("cannot look up `{self}`")).because(errno)
        };
        if *self == Self::root() {
            return Ok(Some((0, 0)));
        }
        let user = nix::unistd::User::from_name(&self.user).map_err(failed)?;
        let group = nix::unistd::Group::from_name(&self.group).map_err(failed)?;
        Ok(user.zip(group).map(|(user, group)| (user.uid.as_raw(), group.gid.as_raw())))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.user, self.group)
    }
}

impl Host {
    /// A host whose `/` is `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Where the host's absolute path `path` lies on this machine. In a tree, a link on the way
    /// leads to where it would after chroot(2), and never out of the tree; one at the end of the
    /// path is not followed.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        if self.is_live() {
            return self.root.join(path.strip_prefix("/").unwrap_or(path));
        }
        self.inside(path, false)
    }

    /// The same, with a link at the end followed.
    pub fn path_to(&self, path: impl AsRef<Path>) -> PathBuf {
        if self.is_live() { self.path(path) } else { self.inside(path.as_ref(), true) }
    }

    fn inside(&self, path: &Path, to_the_end: bool) -> PathBuf {
        let mut real = self.root.clone();
        let mut depth = 0_usize;
        let mut links = 0;
        let mut todo = names(path);
        while let Some(name) = todo.pop() {
            if name == ".." {
                if depth > 0 {
                    real.pop();
                    depth -= 1;
                }
                continue;
            }
            real.push(name);
            depth += 1;
            if todo.is_empty() && !to_the_end {
                break;
            }
            let Ok(target) = std::fs::read_link(&real) else { continue };
            links += 1;
            if links > MOST_LINKS {
                return self
                    .root
                    .join("too-many-links")
                    .join(path.strip_prefix("/").unwrap_or(path));
            }
            let up = if target.is_absolute() { depth } else { 1 };
            for _ in 0..up {
                real.pop();
            }
            depth -= up;
            todo.extend(names(&target));
        }
        real
    }

    /// Whether this is the running machine and not a tree.
    pub fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// The numeric owner to give a file: none in a tree, where files belong to whoever runs.
    pub fn ids(&self, owner: &Owner) -> Result<Option<(u32, u32)>> {
        if !self.is_live() {
            return Ok(None);
        }
        owner.ids()?.map(Some).ok_or_else(|| {
            Error::host("owner-unknown", format!("there is no user and group `{owner}` yet"))
                .hint("run `kprep apply`, which makes the users Kubernetes needs")
        })
    }

    /// Whether this process may change the machine.
    pub fn is_root() -> bool {
        nix::unistd::geteuid().is_root()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::Host;

    #[test]
    fn no_link_leads_out_of_a_tree() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        for (name, target) in [
            ("var", "/srv/var"),
            ("up", "../../../../etc"),
            ("twice", "up/../var"),
            ("around", "/around"),
            ("run", "var/run"),
        ] {
            symlink(target, root.path().join(name)).unwrap();
        }
        for (path, real) in [
            ("/etc/hosts", "etc/hosts"),
            ("etc/hosts", "etc/hosts"),
            ("/var/lib/x", "srv/var/lib/x"),
            ("/up/shadow", "etc/shadow"),
            ("/twice/x", "srv/var/x"),
            ("/run/x", "srv/var/run/x"),
            ("/../../etc/shadow", "etc/shadow"),
            ("/around/x", "too-many-links/around/x"),
            ("/var", "var"),
            ("/", ""),
        ] {
            assert_eq!(host.path(path), root.path().join(real), "{path}");
        }
        assert_eq!(host.path_to("/var"), root.path().join("srv/var"));
        assert_eq!(host.path_to("/up"), root.path().join("etc"));
        assert_eq!(Host::new("/").path_to("/var"), std::path::Path::new("/var"));
    }
}
