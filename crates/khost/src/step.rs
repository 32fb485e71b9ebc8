//! One idempotent change: check, apply, check again.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    time::Duration,
};

use crate::{Error, Host, Result, Thing, app::Part, lock::Lock, report::Report};

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
pub struct StepList {
    pub(crate) steps: Vec<Box<dyn Step>>,
    /// Names, each with how many steps come before it.
    milestones: Vec<(&'static str, usize)>,
}

impl StepList {
    /// No steps.
    pub fn new() -> Self {
        Self::default()
    }

    /// Append `step`.
    pub fn add(&mut self, step: impl Step + 'static) {
        self.steps.push(Box::new(step));
    }

    /// Append all of `steps`.
    pub fn extend<S: Step + 'static>(&mut self, steps: impl IntoIterator<Item = S>) {
        for step in steps {
            self.add(step);
        }
    }

    /// With the steps so far, what `name` promises is there: others may go on from it, and `apply
    /// --until NAME` ends here.
    pub fn milestone(&mut self, name: &'static str) {
        self.milestones.push((name, self.steps.len()));
    }

    /// The steps before the milestone that `part` names; all of them where it names none. A node
    /// that has no part in a phase has no milestones either: there is nothing to do.
    ///
    /// # Errors
    /// `milestone-unknown`, with those there are.
    pub(crate) fn only(mut self, part: &Part) -> Result<Self> {
        let Some(wanted) = part.until.as_deref().filter(|_| !self.steps.is_empty()) else {
            return Ok(self);
        };
        let Some(&(_, end)) = self.milestones.iter().find(|(name, _)| *name == wanted) else {
            let names: Vec<_> = self.milestones.iter().map(|(name, _)| *name).collect();
            let error = Error::input("milestone-unknown", format!("there is no `{wanted}` here"));
            return Err(error.hint(match names.as_slice() {
                [] => "leave out `--until`: this phase is done in one go".into(),
                _ => format!("choose one of: {}", names.join(", ")),
            }));
        };
        self.steps.truncate(end);
        Ok(self)
    }
}

impl std::fmt::Debug for StepList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.steps.iter().map(|step| step.id())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Part, StepList};
    use crate::steps::directory::Directory;

    fn until(steps: StepList, milestone: &str) -> crate::Result<StepList> {
        steps.only(&Part { until: Some(milestone.into()) })
    }

    fn two_parts() -> StepList {
        let mut steps = StepList::new();
        steps.add(Directory::new("/a"));
        steps.milestone("begun");
        steps.add(Directory::new("/b"));
        steps
    }

    #[test]
    fn a_list_ends_where_it_is_told() {
        let all = two_parts().only(&Part::default()).unwrap();
        assert_eq!(format!("{all:?}"), r#"["directory:/a", "directory:/b"]"#);
        assert_eq!(format!("{:?}", until(two_parts(), "begun").unwrap()), r#"["directory:/a"]"#);
    }

    #[test]
    fn an_unknown_end_is_no_end() {
        let error = until(two_parts(), "begin").unwrap_err();
        assert_eq!(error.code(), "milestone-unknown");
        assert_eq!(error.next(), Some("choose one of: begun"));
        let mut whole = StepList::new();
        whole.add(Directory::new("/a"));
        assert!(until(whole, "begun").unwrap_err().next().unwrap().contains("in one go"));
    }

    #[test]
    fn a_node_without_a_part_in_it_has_nothing_to_do() {
        assert_eq!(format!("{:?}", until(StepList::new(), "begun").unwrap()), "[]");
    }
}
