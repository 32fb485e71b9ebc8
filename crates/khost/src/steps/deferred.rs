//! A file whose content is known only once something before it in the list has been made.

use std::path::PathBuf;

use crate::{Change, Context, Result, Status, Step, Thing, fs, steps::file::File};

type Make = Box<dyn Fn(&Context<'_>) -> Result<Option<File>>>;

/// A [`File`] that is made out of what other steps leave on the machine.
pub struct Deferred {
    path: PathBuf,
    after: Option<&'static str>,
    make: Make,
}

impl Deferred {
    /// The file at `path`; `make` gives it, or none while what it is made of is not there.
    pub fn new(
        path: impl Into<PathBuf>,
        make: impl Fn(&Context<'_>) -> Result<Option<File>> + 'static,
    ) -> Self {
        Self { path: path.into(), after: None, make: Box::new(make) }
    }

    /// The step with the id `step` makes what it is made of: where that one changes something,
    /// this file changes too, even if an earlier one is there.
    #[must_use]
    pub fn after(mut self, step: &'static str) -> Self {
        self.after = Some(step);
        self
    }

    /// Whether a file that cannot be made yet will be made in this run. In a tree the step that
    /// makes what it is made of is passed over; so is this one.
    fn is_to_come(&self, context: &Context<'_>) -> bool {
        let host = context.host;
        self.after.is_some_and(|step| context.changes(step))
            || (host.is_live() && !fs::exists(&host.path(&self.path)))
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
            None if self.is_to_come(context) => {
                Ok(Status::Differs(Change::new(format!("create {}", self.path.display()))))
            }
            None => Ok(Status::Done),
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

    #[test]
    fn an_earlier_one_stays_unless_the_step_before_changes() {
        let (machine, report) = (Host::new("/"), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&machine, &report, None);
        let never = || Deferred::new("/proc/self/comm", |_| Ok(None)); // a file that is there
        assert_eq!(never().check(&context).unwrap(), Status::Done);
        assert_eq!(never().after("source").check(&context).unwrap(), Status::Done);
        context.changed.borrow_mut().insert("source".into());
        let Status::Differs(change) = never().after("source").check(&context).unwrap() else {
            panic!("it would be made from another source");
        };
        assert_eq!(change.what, "create /proc/self/comm");
        assert_eq!(never().check(&context).unwrap(), Status::Done);
    }
}
