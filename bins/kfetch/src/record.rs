//! `artifacts.json`: what is in the store, for the other phases.

use std::rc::Rc;

use khost::{Change, Context, Host, Result, Status, Step, Thing, Tool, fs, steps::file::File};
use kspec::{
    SCHEMA,
    state::{Artifacts, State as _},
};

use crate::fetcher::Fetcher;

/// What an earlier run left; none when that is missing or damaged, for this run makes it anew.
pub(crate) fn read(host: &Host) -> Result<Option<Artifacts>> {
    let text = fs::read_text(&host.path(Artifacts::PATH))?;
    let record: Option<Artifacts> = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(record.filter(|record| record.schema == SCHEMA))
}

/// The step that leaves `artifacts.json`. What it says is known only once everything is there, so
/// it is put together when it is looked at.
#[derive(Debug)]
pub(crate) struct Record {
    fetcher: Rc<Fetcher>,
}

impl Record {
    pub(crate) fn new(fetcher: &Rc<Fetcher>) -> Self {
        Self { fetcher: Rc::clone(fetcher) }
    }

    fn file(&self) -> Result<Option<File>> {
        self.fetcher.artifacts()?.map(|artifacts| Tool::leave(&artifacts)).transpose()
    }
}

impl Step for Record {
    fn id(&self) -> String {
        format!("file:{}", Artifacts::PATH)
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if let Some(file) = self.file()? {
            return file.check(context);
        }
        let path = Artifacts::PATH;
        Ok(Status::Differs(Change::new(if fs::exists(&context.host.path(path)) {
            format!("change {path}")
        } else {
            format!("create {path} (0644 root:root)")
        })))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        File::new(Artifacts::PATH).touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        match self.file()? {
            Some(file) => file.apply(context),
            None => Ok(()), // the check that follows says what is still missing
        }
    }
}
