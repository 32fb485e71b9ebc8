//! A file whose content is known only once something before it has been made.

use std::path::PathBuf;

use khost::{Change, Context, Result, Status, Step, Thing, steps::file::File};

type Make = Box<dyn Fn(&Context<'_>) -> Result<Option<File>>>;

/// A [`File`] that is made out of other files of the machine.
pub(crate) struct Deferred {
    path: PathBuf,
    after: &'static str,
    make: Make,
}

impl Deferred {
    /// The file at `path`; `make` gives it, or none while what it is made of is not there. The
    /// step with the id `after` makes that: a plan that has it makes this file too.
    pub(crate) fn new(
        path: &str,
        after: &'static str,
        make: impl Fn(&Context<'_>) -> Result<Option<File>> + 'static,
    ) -> Self {
        Self { path: path.into(), after, make: Box::new(make) }
    }
}

impl std::fmt::Debug for Deferred {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Deferred").field(&self.path).finish()
    }
}

impl Step for Deferred {
    fn id(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        match (self.make)(context)? {
            Some(file) => file.check(context),
            None if context.changes(self.after) => {
                Ok(Status::Differs(Change::new(format!("create {}", self.path.display()))))
            }
            None => Ok(Status::Done), // in a tree, where the step before it is passed over
        }
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        (self.make)(context)?.map_or(Ok(Vec::new()), |file| file.touches(context))
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        (self.make)(context)?.map_or(Ok(()), |file| file.apply(context))
    }
}
