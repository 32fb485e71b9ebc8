//! Walking a list of steps: plan, apply, check, and back again.

use crate::{
    Change, Context, Error, Host, Kind, Result, Status, StepList,
    error::Exit,
    events, fs,
    journal::Journal,
    lock::Lock,
    original::Restored,
    report::{Event, Report},
    steps::{selinux, stamp::STAMP_DIR},
    systemd,
};

/// Say what `apply` would do: the same steps and the same checks, without the writes.
pub fn plan(steps: &StepList, context: &Context<'_>) -> Result<Exit> {
    let mut planned = 0;
    for step in applicable(steps, context) {
        if step.kind() == Kind::Wait {
            continue;
        }
        let id = step.id();
        if let Status::Differs(change) = step.check(context)? {
            context.report.step(Event::Planned, &id, &change);
            context.changed.borrow_mut().insert(id);
            planned += 1;
        } else {
            context.report.step(Event::Unchanged, &id, &Change::new(&id));
        }
    }
    Ok(if planned == 0 {
        context.report.summary("nothing to do");
        Exit::Done
    } else {
        context.report.summary(&format!("{planned} to change"));
        Exit::Differs
    })
}

/// Make it so. Each step is journaled before and checked after; a second run changes nothing.
pub fn apply(phase: &str, steps: &StepList, context: &Context<'_>) -> Result<Exit> {
    let _lock = match context.lock {
        Some(_) => None,
        None => Some(Lock::take(context.host, phase)?),
    };
    let mut journal = Journal::open(context.host, phase)?;
    let mut changed = 0;
    for step in applicable(steps, context) {
        let id = step.id();
        let waits = step.kind() == Kind::Wait; // what it lacks at first needs no explanation
        let Status::Differs(change) = context.explaining(!waits, || step.check(context))? else {
            context.report.step(Event::Unchanged, &id, &Change::new(&id));
            continue;
        };
        if waits {
            context.report.step(Event::Waiting, &id, &change);
            step.apply(context)?;
            context.report.step(Event::Healthy, &id, &change);
            continue;
        }
        context.report.step(Event::Changing, &id, &change);
        let things = step.touches(context)?;
        journal.record(&id, &things)?;
        step.apply(context)?;
        selinux::relabel(context.host, &things)?;
        context.changed.borrow_mut().insert(id.clone());
        if let Status::Differs(remaining) = step.check(context)? {
            return Err(Error::host(
                "not-converged",
                format!("`{}` was done and did not last", change.what),
            )
            .because(format!("it still differs: {}", remaining.what))
            .hint("see whether another program manages the same thing"));
        }
        context.report.step(Event::Changed, &id, &change);
        changed += 1;
    }
    fs::keep(context.host, phase)?;
    context.report.summary(&match changed {
        0 => "nothing to do".into(),
        changed => format!("{changed} changed"),
    });
    Ok(Exit::Done)
}

/// Is it still so, and does it work? All steps are looked at, none stops at the first.
pub fn check(steps: &StepList, context: &Context<'_>) -> Result<Exit> {
    let (mut drifted, mut unhealthy) = (0, 0);
    for step in applicable(steps, context) {
        let id = step.id();
        match (step.check(context)?, step.kind()) {
            (Status::Done, Kind::Change) => {
                context.report.step(Event::Unchanged, &id, &Change::new(&id));
            }
            (Status::Done, Kind::Wait) => {
                context.report.step(Event::Healthy, &id, &Change::new(&id));
            }
            (Status::Differs(change), Kind::Change) => {
                context.report.step(Event::Drifted, &id, &change);
                context.changed.borrow_mut().insert(id);
                drifted += 1;
            }
            (Status::Differs(change), Kind::Wait) => {
                context.report.step(Event::Unhealthy, &id, &change);
                unhealthy += 1;
            }
        }
    }
    Ok(match (unhealthy, drifted) {
        (0, 0) => {
            context.report.summary("as wanted, and working");
            Exit::Done
        }
        (0, drifted) => {
            context.report.summary(&format!("{drifted} differ; `apply` puts them right"));
            Exit::Differs
        }
        (unhealthy, drifted) => {
            context.report.summary(&format!("{unhealthy} not working, {drifted} differ"));
            Exit::Failed
        }
    })
}

/// What `reset` would do, last change first.
pub fn undo_list(host: &Host, phase: &str) -> Result<Vec<String>> {
    let journal = Journal::open(host, phase)?;
    Ok(journal.entries().iter().rev().map(|entry| entry.original.describe()).collect())
}

/// Put everything back as the journal has it, last change first; then the programs that read what
/// is back are told. What cannot be put back is said,
/// the rest is done all the same, and the journal is kept for the next try.
pub fn reset(phase: &str, host: &Host, report: &Report) -> Result<Exit> {
    reset_alone(Lock::take_machine(host, phase)?, phase, host, report)
}

/// As [`reset`], for who has the machine already.
pub(crate) fn reset_alone(lock: Lock, phase: &str, host: &Host, report: &Report) -> Result<Exit> {
    let journal = Journal::open(host, phase)?;
    let mut failed = Vec::new();
    let (mut restored, mut left) = (0, 0);
    let mut reload = false;
    let (notices, things): (Vec<_>, Vec<_>) =
        journal.entries().iter().rev().partition(|entry| entry.original.is_notice());
    for entry in things.into_iter().chain(notices) {
        let what = Change::new(entry.original.describe());
        match entry.original.restore(host, &journal) {
            Ok(Restored::Done) => {
                report.step(Event::Restored, &entry.step, &what);
                restored += 1;
            }
            Ok(Restored::Left(why)) => {
                left += 1;
                report.step(Event::Left, &entry.step, &Change::new(why));
            }
            Err(error) => {
                report.step(Event::Unhealthy, &entry.step, &Change::new(error.chain()));
                failed.push(error);
            }
        }
        reload |= entry.original.is_unit_file();
    }
    if reload && host.is_live() {
        systemd::reload()?;
    }
    if let Some(first) = failed.into_iter().next() {
        return Err(Error::host("reset-incomplete", "not everything could be put back")
            .because(first.chain())
            .hint(format!("mend the cause and run `{phase} reset` again; nothing is forgotten")));
    }
    journal.forget()?;
    fs::forget(host, phase)?;
    for shared in [STAMP_DIR, kspec::paths::STATE_DIR] {
        fs::remove_empty_dir(&host.path(shared))?;
    }
    lock.remove()?;
    report.summary(&match (restored, left) {
        (0, 0) => "nothing to undo".into(),
        (restored, 0) => format!("{restored} undone"),
        (restored, left) => format!("{restored} undone, {left} left as said above"),
    });
    Ok(Exit::Done)
}

/// The steps that mean something here; those that need the machine are passed over in a tree.
fn applicable<'a>(
    steps: &'a StepList,
    context: &'a Context<'_>,
) -> impl Iterator<Item = &'a dyn crate::Step> {
    steps.steps.iter().map(AsRef::as_ref).filter(|step| {
        events::enter(&step.id());
        let here = context.host.is_live() || !step.needs_machine();
        if !here {
            let id = step.id();
            context.report.step(Event::Skipped, &id, &Change::new(&id));
        }
        here
    })
}
