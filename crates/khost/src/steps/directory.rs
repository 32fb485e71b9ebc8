//! A directory with this mode and this owner.

use std::path::PathBuf;

use crate::{
    Change, Context, Error, Owner, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::file::{attributes_differ, make_parents, missing_parents},
};

/// A directory. Missing parents are made, 0755.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    mode: u32,
    owner: Owner,
    filled: bool,
}

impl Directory {
    /// A directory at the host's absolute `path`, 0755, owned by root. Reset removes it if it was
    /// not there and is empty.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o755, owner: Owner::root(), filled: false }
    }

    /// Programs fill it while the node runs, and all of that is ours: reset removes the whole
    /// tree if the directory was not there before.
    #[must_use]
    pub fn filled(mut self) -> Self {
        self.filled = true;
        self
    }

    /// Its permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Its owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }
}

impl Step for Directory {
    fn id(&self) -> String {
        format!("directory:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let path = self.path.display();
        let real = context.host.path(&self.path);
        let leads_to = context.host.path_to(&self.path);
        match fs::look(&real)? {
            None => {
                let what = format!("make directory {path} ({:04o} {})", self.mode, self.owner);
                Ok(Status::Differs(Change::new(what)))
            }
            Some(found) if found.is_dir() || leads_to.is_dir() => {
                attributes_differ(context.host, &self.path, self.mode, &self.owner)
            }
            Some(_) => Err(Error::host("not-a-directory", format!("`{path}` is in the way"))
                .because("a directory is needed there and something else exists")
                .hint(format!("move `{path}` away and run again"))),
        }
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        let absent = fs::look(&context.host.path(&self.path))?.is_none();
        things.push(if self.filled && absent {
            Thing::Tree(self.path.clone())
        } else {
            Thing::Directory(self.path.clone())
        });
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        make_parents(host, &self.path)?;
        let attributes = Attributes { mode: self.mode, owner: host.ids(&self.owner)? };
        fs::make_dir(&host.path_to(&self.path), attributes)
    }
}
