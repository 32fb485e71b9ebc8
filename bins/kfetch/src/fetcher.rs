//! The steps that fetch: one for every file and image, all downloads at the same time.
//!
//! The first of them that is applied fetches what any of them lacks; the others then only take
//! what is theirs. What each lacks is looked at once, before anything is fetched, so that `apply`
//! reports exactly the steps that `plan` did.

use std::{cell::RefCell, rc::Rc, thread};

use khost::{Change, Context, Error, Result, Status, Step, Thing, report::Report};
use kspec::{
    SCHEMA,
    state::{Artifacts, FileArtifact, ImageArtifact},
};

use crate::{
    download::{Downloads, STOPPED},
    image, layout, pool,
    progress::Progress,
    source::Sources,
    store::Store,
    wanted::Wanted,
    what::{self, Got, What},
};

/// Everything that is wanted, and how far it is.
#[derive(Debug)]
pub(crate) struct Fetcher {
    store: Store,
    wanted: Wanted,
    sources: Sources,
    record: Option<Artifacts>,
    states: RefCell<Vec<State>>,
}

#[derive(Debug)]
enum State {
    /// It is in the store.
    Here,
    /// It is not; this would change.
    Lacking(Change),
    /// It has been fetched, and its step not been applied.
    Fetched(Change, Got),
    /// It could not be fetched.
    Failed(Change, Error),
    /// Its step has been applied: look again.
    Applied(Got),
}

impl Fetcher {
    pub(crate) fn new(
        store: Store,
        wanted: Wanted,
        sources: Sources,
        record: Option<Artifacts>,
    ) -> Self {
        Self { store, wanted, sources, record, states: RefCell::default() }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Files first, in the order of the lock.
    pub(crate) fn all(&self) -> Vec<What<'_>> {
        let files = self.wanted.files.iter().map(What::File);
        files.chain(self.wanted.images.iter().map(What::Image)).collect()
    }

    /// What applying the step of the thing `at` would change.
    pub(crate) fn lacks(&self, at: usize) -> Result<Option<Change>> {
        self.survey()?;
        match &self.states.borrow()[at] {
            State::Here => Ok(None),
            State::Lacking(change) | State::Fetched(change, _) | State::Failed(change, _) => {
                Ok(Some(change.clone()))
            }
            State::Applied(got) => match (self.all()[at], got) {
                (What::Image(image), Some(manifest)) => {
                    image::look(&self.store, &image.pinned_to(manifest.digest))
                }
                (what, _) => what.look(&self.store),
            },
        }
    }

    /// Look at everything once. Hashing half a gigabyte is shared by all processors.
    fn survey(&self) -> Result<()> {
        if !self.states.borrow().is_empty() {
            return Ok(());
        }
        let threads = thread::available_parallelism().map_or(1, Into::into);
        let (store, all) = (&self.store, self.all());
        let found = pool::each(threads, &all, |what| what.look(store));
        let state = |change: Option<Change>| change.map_or(State::Here, State::Lacking);
        let states = found.into_iter().map(|change| change.map(state)).collect::<Result<_>>()?;
        *self.states.borrow_mut() = states;
        Ok(())
    }

    /// Put the thing `at` in its place, fetching everything that lacks if that has not been done.
    fn apply(&self, at: usize, context: &Context<'_>) -> Result<()> {
        self.survey()?;
        if matches!(self.states.borrow()[at], State::Lacking(_)) {
            self.fetch_all(context)?;
        }
        let mut states = self.states.borrow_mut();
        let got = match std::mem::replace(&mut states[at], State::Here) {
            State::Fetched(_, got) => got,
            State::Failed(_, error) if error.code() != STOPPED => return Err(error),
            State::Failed(_, stopped) => return Err(first_error(&mut states).unwrap_or(stopped)),
            other => {
                states[at] = other;
                return Ok(());
            }
        };
        if let (What::Image(image), Some(manifest)) = (self.all()[at], &got) {
            image::name(&self.store, image, manifest.clone(), self.wanted.arch)?;
        }
        states[at] = State::Applied(got);
        Ok(())
    }

    fn fetch_all(&self, context: &Context<'_>) -> Result<()> {
        let all = self.all();
        let mut states = self.states.borrow_mut();
        let lacking: Vec<_> =
            (0..all.len()).filter(|at| matches!(states[*at], State::Lacking(_))).collect();
        if self.sources.is_offline() {
            let mut missing = Vec::new();
            for at in &lacking {
                if !all[*at].is_here(&self.store)? {
                    missing.push(all[*at].id());
                }
            }
            if !missing.is_empty() {
                return Err(not_here(&missing));
            }
        }
        warn_of_tags(&lacking.iter().map(|at| all[*at]).collect::<Vec<_>>(), context.report);

        let stall = context.limit.unwrap_or(self.sources.stall());
        let downloads = Downloads::new(&self.store, &self.sources, stall)?;
        let progress = Progress::new(context.report);
        let (sources, arch) = (&self.sources, self.wanted.arch);
        let came = pool::each(self.sources.parallel(), &lacking, |at| {
            let got = all[*at].fetch(sources, arch, &downloads, &progress);
            if got.is_err() {
                downloads.stop();
            }
            got
        });
        for (at, got) in lacking.into_iter().zip(came) {
            if let State::Lacking(change) = &states[at] {
                let change = change.clone();
                states[at] = match got {
                    Ok(got) => State::Fetched(change, got),
                    Err(error) => State::Failed(change, error),
                };
            }
        }
        Ok(())
    }

    /// `artifacts.json` as it should be; none while that cannot be known, because an archive was
    /// never unpacked or a tag never resolved.
    pub(crate) fn artifacts(&self) -> Result<Option<Artifacts>> {
        self.survey()?;
        let mut artifacts = Artifacts {
            schema: SCHEMA,
            arch: self.wanted.arch,
            files: [].into(),
            images: [].into(),
        };
        for (at, what) in self.all().into_iter().enumerate() {
            match what {
                What::File(file) => {
                    let Some(members) = what::members(&self.store, file, self.record.as_ref())?
                    else {
                        return Ok(None);
                    };
                    let version = file.version.clone();
                    artifacts.files.insert(file.name.clone(), FileArtifact { version, members });
                }
                What::Image(image) => {
                    let resolved = match &self.states.borrow()[at] {
                        State::Applied(Some(manifest)) => Some(manifest.digest),
                        _ => image.digest,
                    };
                    let Some(digest) = resolved else { return Ok(None) };
                    let reference = image.text.clone();
                    artifacts
                        .images
                        .insert(image.name.clone(), ImageArtifact { reference, digest });
                }
            }
        }
        Ok(Some(artifacts))
    }
}

/// Everything that an offline machine lacks, at once.
fn not_here(ids: &[String]) -> Error {
    let names = ids.join(", ");
    Error::input("offline-missing", format!("not in the store: {names}"))
        .because("--offline, or [download] offline = true: no connection is opened")
        .hint(
            "run `kfetch apply` and `kfetch bundle FILE` with the same artifacts.lock on a machine \
             that has a network, and `kfetch load FILE` here",
        )
}

/// The error that stopped the others.
fn first_error(states: &mut [State]) -> Option<Error> {
    let failed = |state: &&mut State| matches!(state, State::Failed(_, e) if e.code() != STOPPED);
    let state = states.iter_mut().find(failed)?;
    match std::mem::replace(state, State::Here) {
        State::Failed(_, error) => Some(error),
        _ => None,
    }
}

fn warn_of_tags(lacking: &[What<'_>], report: &Report) {
    let tags: Vec<_> = lacking
        .iter()
        .filter_map(|what| match what {
            What::Image(image) if image.digest.is_none() => Some(image.name.as_str()),
            _ => None,
        })
        .collect();
    if !tags.is_empty() {
        report.say(&format!(
            "not pinned, taking what the tags mean now: {}; `kfetch lock` writes their digests",
            tags.join(", ")
        ));
    }
}

/// The step of one thing that is wanted.
#[derive(Debug)]
pub(crate) struct Item {
    fetcher: Rc<Fetcher>,
    at: usize,
}

impl Item {
    /// A step for everything.
    pub(crate) fn all(fetcher: &Rc<Fetcher>) -> Vec<Self> {
        (0..fetcher.all().len()).map(|at| Self { fetcher: Rc::clone(fetcher), at }).collect()
    }
}

impl Step for Item {
    fn id(&self) -> String {
        self.fetcher.all()[self.at].id()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        Ok(self.fetcher.lacks(self.at)?.map_or(Status::Done, Status::Differs))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        layout::touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.fetcher.apply(self.at, context)
    }
}
