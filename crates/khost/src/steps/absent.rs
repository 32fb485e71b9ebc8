//! A file that shall not be there.

use std::path::PathBuf;

use crate::{Change, Context, Result, Status, Step, Thing, fs};

/// No file or link at a path. Reset brings back the one that was there.
#[derive(Debug, Clone)]
pub struct Absent {
    path: PathBuf,
}

impl Absent {
    /// Nothing at the host's absolute `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }
}

impl Step for Absent {
    /// That of a file: whoever reads the file must start again when it goes, as when it changes.
    fn id(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match fs::look(&context.host.path(&self.path))? {
            None => Status::Done,
            Some(_) => Status::Differs(Change::new(format!("remove {}", self.path.display()))),
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::File(self.path.clone())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        fs::remove(&context.host.path(&self.path))
    }
}
