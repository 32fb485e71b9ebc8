//! Starting etcd, and saying why when it does not start.

use khost::{Context, Error, Result, Status, Step, Thing, steps::unit::Unit, wait::Seen};

use crate::health::{self, Probe};

/// A [`Unit`] whose start, when it fails, is explained by what the probe then sees: systemctl
/// itself only says that it failed.
#[derive(Debug)]
pub(crate) struct Launch {
    unit: Unit,
    probe: Probe,
}

impl Launch {
    /// `unit`, whose health `probe` asks for.
    pub(crate) fn new(unit: Unit, probe: Probe) -> Self {
        Self { unit, probe }
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
        self.unit.apply(context).map_err(|error| {
            let state = health::unit_state().unwrap_or_else(|error| error.chain());
            let seen = match self.probe.ask(context.host) {
                Ok(Seen::NotYet(seen)) => seen,
                Ok(Seen::Ready) => "etcd answers all the same".into(),
                Err(error) => error.chain(),
            };
            Error::host("etcd-not-started", "etcd.service did not start")
                .because(if seen.contains(&state) {
                    format!("{seen}\n{}", error.chain())
                } else {
                    format!("{state}\nits health: {seen}\n{}", error.chain())
                })
                .hint(format!("look with `{}`, then run again", health::LOOK))
        })
    }
}
