//! The machine being worked on, or a tree that stands for it.

use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// The machine itself (`/`), or with `--root` a directory that is treated as its root.
///
/// In a tree only files exist: no owner is set, no program run, no unit started.
#[derive(Debug, Clone)]
pub struct Host {
    root: PathBuf,
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

    /// Where the host's absolute path `path` lies on this machine.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
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
