//! A file or tree that a phase made and wants no more.

use std::path::PathBuf;

use crate::{Change, Context, Result, Status, Step, Thing, journal::Journal};

/// The path as the journal of the phase has it from before. What the phase never touched is left.
#[derive(Debug, Clone)]
pub struct Withdrawn {
    phase: &'static str,
    path: PathBuf,
}

impl Withdrawn {
    /// The host's absolute `path`, no longer of `phase`'s making.
    pub fn new(phase: &'static str, path: impl Into<PathBuf>) -> Self {
        Self { phase, path: path.into() }
    }
}

impl Step for Withdrawn {
    fn id(&self) -> String {
        format!("withdraw:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let journal = Journal::open(context.host, self.phase)?;
        Ok(match journal.original(&self.path) {
            Some(original) if !original.is_back(context.host)? => {
                Status::Differs(Change::new(original.describe()))
            }
            _ => Status::Done,
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // the journal has it already
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let journal = Journal::open(context.host, self.phase)?;
        match journal.original(&self.path) {
            Some(original) => original.restore(context.host, &journal).map(drop),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Withdrawn;
    use crate::{
        Context, Host, Status, Step as _, StepList, engine, fs,
        report::{Loudness, Report},
        steps::file::File,
    };

    #[test]
    fn it_is_as_it_was_before_the_phase() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = || Context::new(&host, &report, None);
        fs::make_dirs(&host.path("/run"), 0o755).unwrap();
        for (path, text) in [("/theirs", "before"), ("/untouched", "before")] {
            File::new(path).text(text).apply(&context()).unwrap();
        }
        let mut steps = StepList::new();
        steps.extend(["/ours", "/theirs"].map(|path| File::new(path).text("ours")));
        engine::apply("test", &steps, &context()).unwrap();

        for path in ["/ours", "/theirs", "/untouched"] {
            let step = Withdrawn::new("test", path);
            step.apply(&context()).unwrap();
            assert_eq!(step.check(&context()).unwrap(), Status::Done, "{path}");
        }
        assert!(!fs::exists(&host.path("/ours")));
        for path in ["/theirs", "/untouched"] {
            assert_eq!(fs::read_text(&host.path(path)).unwrap().as_deref(), Some("before"));
        }
        let other = Withdrawn::new("other", "/theirs");
        assert_eq!(other.check(&context()).unwrap(), Status::Done, "another phase's journal");
    }
}
