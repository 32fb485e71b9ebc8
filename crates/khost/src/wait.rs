//! Waiting, with a limit and a reason.

use std::{
    cell::RefCell,
    thread,
    time::{Duration, Instant},
};

use crate::{Change, Context, Error, Result, report::Event};

/// What a look at the awaited thing showed.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// It works.
    Ready,
    /// Not yet; what was seen, and the likely cause.
    NotYet(String),
}

impl Seen {
    /// Not yet, because of `reason`.
    pub fn not_yet(reason: impl Into<String>) -> Self {
        Self::NotYet(reason.into())
    }
}

/// A reason that is costly to find out, and wanted in every turn of a wait.
#[derive(Debug, Default)]
pub struct Told(RefCell<Option<(Instant, String)>>);

impl Told {
    /// What `find` says; it is asked again only when its last answer is older than three seconds.
    pub fn every_few_seconds(&self, find: impl FnOnce() -> String) -> String {
        let mut told = self.0.borrow_mut();
        match &*told {
            Some((at, words)) if at.elapsed() < Duration::from_secs(3) => words.clone(),
            _ => told.insert((Instant::now(), find())).1.clone(),
        }
    }
}

/// Something to wait for.
#[derive(Debug, Clone)]
pub struct Awaited {
    /// A stable name, e.g. `etcd-healthy`.
    pub id: String,
    /// What is waited for, e.g. `etcd on https://192.0.2.1:2379`.
    pub what: String,
    /// How long at most.
    pub limit: Duration,
    /// The command to look further when it does not come.
    pub look: String,
}

/// Ask `probe` until it is ready. An error of the probe itself ends the wait.
///
/// Every ten seconds people are told what is being waited for and what was seen last.
///
/// # Errors
/// `timeout` when the limit (or `--timeout`) passes.
pub fn until(
    context: &Context<'_>,
    awaited: &Awaited,
    mut probe: impl FnMut() -> Result<Seen>,
) -> Result<()> {
    let limit = context.limit.unwrap_or(awaited.limit);
    let started = Instant::now();
    let mut told = started;
    let mut pause = Duration::from_millis(20);
    loop {
        let asked = Instant::now();
        let seen = match probe()? {
            Seen::Ready => return Ok(()),
            Seen::NotYet(seen) => seen,
        };
        if started.elapsed() >= limit {
            return Err(Error::host(
                "timeout",
                format!("{} did not come within {} s", awaited.what, limit.as_secs()),
            )
            .because(format!("last seen: {seen}"))
            .hint(format!("look with `{}`, then run again", awaited.look)));
        }
        if told.elapsed() >= Duration::from_secs(10) {
            told = Instant::now();
            let passed = started.elapsed().as_secs();
            let what = format!("{} ({passed} s so far): {seen}", awaited.what);
            context.report.step(Event::Waiting, &awaited.id, &Change::new(what));
        }
        // A question that costs much is asked less often: who waits is not to keep what it waits
        // for from the processor.
        let pause_now = pause.max((asked.elapsed() * 2).min(Duration::from_secs(1)));
        nap(pause_now.min(limit.saturating_sub(started.elapsed())));
        pause = (pause * 3 / 2).min(Duration::from_millis(300));
    }
}

/// The one sleep: between two looks at something that is being waited for, or between attempts.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub fn nap(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use super::Told;

    #[test]
    fn what_is_costly_is_not_asked_in_every_turn() {
        let told = Told::default();
        assert_eq!(told.every_few_seconds(|| "one".into()), "one");
        assert_eq!(told.every_few_seconds(|| "two".into()), "one");
    }
}
