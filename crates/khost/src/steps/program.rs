//! A program from the store, installed under its name.

use std::path::PathBuf;

use kspec::{paths::BIN_DIR, state::Member};

use crate::{
    Change, Context, Owner, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::file::{attributes_differ, make_parents, missing_parents},
};

/// A copy of a store member, 0755 and owned by root.
#[derive(Debug, Clone)]
pub struct Program {
    path: PathBuf,
    from: Member,
    owner: Owner,
}

impl Program {
    /// `from`, installed as `/usr/local/bin/NAME`.
    pub fn new(name: &str, from: &Member) -> Self {
        Self::at(format!("{BIN_DIR}/{name}"), from)
    }

    /// `from`, installed at the host's absolute `path`.
    pub fn at(path: impl Into<PathBuf>, from: &Member) -> Self {
        Self { path: path.into(), from: from.clone(), owner: Owner::root() }
    }

    /// Its owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    /// The id that a program at `path` has as a step.
    pub(crate) fn id_of(path: impl std::fmt::Display) -> String {
        format!("program:{path}")
    }
}

impl Step for Program {
    fn id(&self) -> String {
        Self::id_of(self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let (path, wanted) = (self.path.display(), self.from.sha256);
        match fs::digest(&context.host.path(&self.path))? {
            None => Ok(Status::Differs(Change::new(format!("install {path} ({wanted})")))),
            Some(found) if found == wanted => {
                attributes_differ(context.host, &self.path, 0o755, &self.owner)
            }
            Some(found) => {
                let what = format!("replace {path}");
                Ok(Status::Differs(Change::values(what, found.to_string(), wanted.to_string())))
            }
        }
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        things.push(Thing::File(self.path.clone()));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        make_parents(host, &self.path)?;
        let attributes = Attributes { mode: 0o755, owner: host.ids(&self.owner)? };
        let from = host.path(&self.from.path);
        fs::copy(&from, &host.path(&self.path), self.from.sha256, attributes)
    }
}
