//! One idempotent change: check, apply, check again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use crate::{Host, Result, Thing, lock::Lock, report::Report};

/// How the machine compares with what a step wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    /// Nothing to do.
    Done,
    /// Something to do.
    Differs(Change),
}

/// What a step would do, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// An imperative: "create /etc/crictl.yaml".
    pub what: String,
    /// More, when there is more to show.
    pub detail: Option<Detail>,
}

/// The change itself. Secrets are shown as digests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// A unified diff.
    Diff(String),
    /// A value before and after.
    Values {
        /// As it is.
        before: String,
        /// As it will be.
        after: String,
    },
}

impl Change {
    /// A change described by its imperative alone.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), detail: None }
    }

    /// A change from one value to another.
    pub fn values(
        what: impl Into<String>,
        before: impl Into<String>,
        after: impl Into<String>,
    ) -> Self {
        let detail = Detail::Values { before: before.into(), after: after.into() };
        Self { what: what.into(), detail: Some(detail) }
    }
}

/// What kind of thing a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It changes the machine.
    Change,
    /// It waits for something to work: `apply` waits, `check` asks once, `plan` passes it over.
    Wait,
}

/// What a step may look at.
#[derive(Debug)]
pub struct Context<'a> {
    /// The machine.
    pub host: &'a Host,
    /// Tells people what goes on.
    pub report: &'a Report,
    /// `--timeout`, which replaces the limit of every wait.
    pub limit: Option<Duration>,
    /// Steps before this one that change, or in a plan would change, something.
    pub(crate) changed: RefCell<BTreeSet<String>>,
    /// Whether reasons are wanted that cost something to find out.
    explain: Cell<bool>,
    /// What the tool holds of the machine already.
    pub(crate) lock: Option<&'a Lock>,
}

impl<'a> Context<'a> {
    /// A context in which nothing has changed yet.
    pub fn new(host: &'a Host, report: &'a Report, limit: Option<Duration>) -> Self {
        let (changed, explain) = (RefCell::default(), Cell::new(true));
        Self { host, report, limit, changed, explain, lock: None }
    }

    /// Whether the step with this id, earlier in the list, changes something in this run.
    pub fn changes(&self, id: &str) -> bool {
        self.changed.borrow().contains(id)
    }

    /// The reason that `find` finds, where somebody will read it; nothing in those turns of a wait
    /// that nobody is told of. Looking into pods costs the processor that they wait for.
    pub fn explained(&self, find: impl FnOnce() -> String) -> String {
        if self.explain.get() { find() } else { String::new() }
    }

    /// Do `look`, with or without reasons.
    pub(crate) fn explaining<T>(&self, wanted: bool, look: impl FnOnce() -> T) -> T {
        let before = self.explain.replace(wanted);
        let seen = look();
        self.explain.set(before);
        seen
    }
}

/// A change that is safe to run any number of times.
pub trait Step {
    /// A stable name: the kind of thing and which, e.g. `file:/etc/crictl.yaml`.
    fn id(&self) -> String;

    /// Whether it changes something or waits for something.
    fn kind(&self) -> Kind {
        Kind::Change
    }

    /// Whether it means the running machine, and nothing in a tree (`--root`).
    fn needs_machine(&self) -> bool {
        true
    }

    /// Compare; never writes.
    fn check(&self, context: &Context<'_>) -> Result<Status>;

    /// What `apply` will touch, so that the journal can remember how it was.
    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>>;

    /// Make it so.
    fn apply(&self, context: &Context<'_>) -> Result<()>;
}

/// The steps of a phase, in order. [`StepList::add`] takes any step.
#[derive(Default)]
pub struct StepList(pub(crate) Vec<Box<dyn Step>>);

impl StepList {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Append `step`.
    pub fn add(&mut self, step: impl Step + 'static) {
        self.0.push(Box::new(step));
    }

    /// Append all of `steps`.
    pub fn extend<S: Step + 'static>(&mut self, steps: impl IntoIterator<Item = S>) {
        for step in steps {
            self.add(step);
        }
    }
}

impl std::fmt::Debug for StepList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|step| step.id())).finish()
    }
}
