//! Starting etcd, and saying what keeps it while it starts, and why when it does not.

use std::time::Duration;

use khost::{
    Context, Error, Result, Status, Step, Thing,
    steps::unit::Unit,
    systemd,
    wait::{Awaited, Seen, until},
};

use crate::{
    health::{self, Illness, Kind, Probe},
    service,
};

/// A [`Unit`] whose start is watched: systemctl itself says nothing while it waits, and only that
/// it failed when it did.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    unit: Unit,
    probe: Probe,
}

impl Launch {
    /// `unit`, whose health `probe` asks for.
    pub(crate) fn new(unit: Unit, probe: Probe) -> Self {
        Self { unit, probe }
    }

    /// `systemctl VERB`, to its end. etcd tells systemd that it has started once it is one of a
    /// cluster that decides; systemd gives it 90 s for that.
    fn run(&self, context: &Context<'_>, verb: &str) -> Result<()> {
        let awaited = Awaited {
            id: "etcd-started".into(),
            what: "the start of etcd".into(),
            limit: Duration::from_secs(180),
            look: health::LOOK.into(),
        };
        systemd::queue(verb, service::NAME)?;
        until(context, &awaited, || {
            let unit = systemd::show(service::NAME)?;
            if unit.busy {
                return self.probe.ask(context.host).map(|seen| match seen {
                    Seen::Ready => Seen::not_yet("it answers, and systemd has yet to hear of it"),
                    not_yet @ Seen::NotYet(_) => not_yet,
                });
            }
            match unit.state.split(' ').next() {
                Some("active") => Ok(Seen::Ready),
                _ => Err(self.failed(context)),
            }
        })
    }

    fn failed(&self, context: &Context<'_>) -> Error {
        let state = health::unit_state().unwrap_or_else(|error| error.chain());
        let seen = match self.probe.look(context.host) {
            Ok(Some(seen)) => seen,
            Ok(None) => Illness::new(Kind::Closed, "etcd answers all the same"),
            Err(error) => Illness::new(Kind::Closed, error.chain()),
        };
        let words = if seen.words.contains(&state) {
            seen.words
        } else {
            format!("{state}\nits health: {}", seen.words)
        };
        Illness::new(seen.kind, words).error("etcd.service did not start")
    }
}

impl Step for Launch {
    fn id(&self) -> String {
        self.unit.id()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        self.unit.check(context)
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        self.unit.touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.unit.apply_by(context, |verb| self.run(context, verb))
    }
}
