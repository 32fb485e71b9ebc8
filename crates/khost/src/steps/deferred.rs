//! A file whose content is known only once something before it in the list has been made.

use std::path::PathBuf;

use crate::{Change, Context, Result, Status, Step, Thing, fs, steps::file::File};

type Make = Box<dyn Fn(&Context<'_>) -> Result<Option<File>>>;

/// A [`File`] that is made out of what other steps leave on the machine.
pub struct Deferred {
    path: PathBuf,
    make: Make,
}

impl Deferred {
    /// The file at `path`; `make` gives it, or none while what it is made of is not there.
    pub fn new(
        path: impl Into<PathBuf>,
        make: impl Fn(&Context<'_>) -> Result<Option<File>> + 'static,
    ) -> Self {
        Self { path: path.into(), make: Box::new(make) }
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
            // In a tree, the step that makes what it is made of is passed over; so is this one.
            None if !context.host.is_live() || fs::exists(&context.host.path(&self.path)) => {
                Ok(Status::Done)
            }
            None => Ok(Status::Differs(Change::new(format!("create {}", self.path.display())))),
        }
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        (self.make)(context)?.map_or(Ok(Vec::new()), |file| file.touches(context))
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        (self.make)(context)?.map_or(Ok(()), |file| file.apply(context))
    }
}

#[cfg(test)]
mod tests {
    use super::Deferred;
    use crate::{
        Context, Host, Status, Step as _, fs,
        report::{Loudness, Report},
        steps::file::File,
    };

    #[test]
    fn it_waits_for_what_it_is_made_of() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let copy = Deferred::new("/k8steps-copy", |context| {
            let text = fs::read_text(&context.host.path("/k8steps-source"))?;
            Ok(text.map(|text| File::new("/k8steps-copy").text(text)))
        });
        let what = |context: &Context<'_>| match copy.check(context).unwrap() {
            Status::Done => "done".to_owned(),
            Status::Differs(change) => change.what,
        };

        assert_eq!(what(&context), "done", "in a tree it is not expected");
        let machine = Host::new("/");
        assert_eq!(what(&Context::new(&machine, &report, None)), "create /k8steps-copy");
        File::new("/k8steps-source").text("one").apply(&context).unwrap();
        assert_eq!(what(&context), "create /k8steps-copy (0644 root:root)");
        copy.apply(&context).unwrap();
        assert_eq!(what(&context), "done");
    }
}
