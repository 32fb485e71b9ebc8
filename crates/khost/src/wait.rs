//! Waiting, with a limit and a reason.

use std::{
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
        let over = started.elapsed() >= limit;
        let tell = over || told.elapsed() >= Duration::from_secs(10);
        let seen = match context.explaining(tell, &mut probe)? {
            Seen::Ready => return Ok(()),
            Seen::NotYet(seen) => seen,
        };
        if over {
            return Err(Error::host(
                "timeout",
                format!("{} did not come within {} s", awaited.what, limit.as_secs()),
            )
            .because(format!("last seen: {seen}"))
            .hint(format!("look with `{}`, then run again", awaited.look)));
        }
        if tell {
            told = Instant::now();
            let passed = started.elapsed().as_secs();
            let what = format!("{} ({passed} s so far): {seen}", awaited.what);
            context.report.step(Event::Waiting, &awaited.id, &Change::new(what));
        }
        // A question that costs much is asked less often: who waits is not to keep what it waits
        // for from the processor.
        let pause_now = pause.max((asked.elapsed() * 4).min(Duration::from_secs(1)));
        nap(pause_now.min(limit.saturating_sub(started.elapsed())));
        pause = (pause * 3 / 2).min(Duration::from_millis(100));
    }
}

/// The one sleep: between two looks at something that is being waited for, or between attempts.
#[expect(clippy::disallowed_methods, reason = "the one place that sleeps")]
pub fn nap(time: Duration) {
    thread::sleep(time);
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::{Awaited, Seen, until};
    use crate::{
        Context, Host,
        report::{Loudness, Report},
    };

    #[test]
    fn a_costly_reason_is_looked_for_when_somebody_reads_it() {
        let (host, report) = (Host::new("/"), Report::new("test", false, Loudness::Quiet));
        let awaited = Awaited {
            id: "never".into(),
            what: "what never comes".into(),
            limit: Duration::from_secs(1),
            look: "true".into(),
        };
        let (turns, found) = (Cell::new(0), Cell::new(0));
        let context = Context::new(&host, &report, None);
        let error = until(&context, &awaited, || {
            turns.set(turns.get() + 1);
            Ok(Seen::NotYet(context.explained(|| {
                found.set(found.get() + 1);
                "because".into()
            })))
        })
        .unwrap_err();
        assert!(error.chain().contains("last seen: because"), "{}", error.chain());
        assert!(turns.get() > 1 && found.get() == 1, "{} in {}", found.get(), turns.get());
        assert_eq!(context.explained(|| "as ever".into()), "as ever");
    }
}
