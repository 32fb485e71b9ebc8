//! A snapshot before etcd is restarted, as kubespray's handler takes one (`roles/etcd/handlers`),
//! and only then.

use std::{cell::Cell, rc::Rc};

use khost::{Change, Context, Result, Status, Step, Thing, steps::unit::Unit, wait::Seen};
use kspec::cluster::EtcdBackup;

use crate::{backup, etcdctl, health::Probe, upgrade};

/// The revision of an etcd that nothing was ever written to (etcd, "Data model").
const EMPTY: u64 = 1;

/// A snapshot that must be there before the unit is restarted. Clones know of each other's.
#[derive(Debug, Clone)]
pub(crate) struct Safeguard {
    unit: Unit,
    probe: Probe,
    place: EtcdBackup,
    saved: Rc<Cell<bool>>,
}

impl Safeguard {
    /// Before `unit` is restarted, a snapshot in `place`.
    pub(crate) fn new(unit: &Unit, probe: &Probe, place: &EtcdBackup) -> Self {
        let (unit, probe, place) = (unit.clone(), probe.clone(), place.clone());
        Self { unit, probe, place, saved: Rc::default() }
    }

    /// Save it now.
    pub(crate) fn save(&self, context: &Context<'_>) -> Result<()> {
        let (saved, _) = backup::save(context.host, &self.place)?;
        self.saved.set(true);
        context.report.say(&format!("saved {}", saved.path.display()));
        Ok(())
    }

    /// Where it goes.
    pub(crate) fn dir(&self) -> std::path::Display<'_> {
        self.place.dir.display()
    }
}

impl Step for Safeguard {
    fn id(&self) -> String {
        "snapshot:before-restart".into()
    }

    /// An etcd that is not healthy cannot be asked for a snapshot, and may need the restart to
    /// become so: that is said, and the restart goes on. It touches no data.
    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let saved = self.saved.get() || context.changes(upgrade::ID);
        if saved || self.unit.restart_due(context)?.is_none() {
            return Ok(Status::Done);
        }
        match self.probe.ask(context.host)? {
            Seen::Ready if etcdctl::status()?.revision <= EMPTY => Ok(Status::Done),
            Seen::Ready => {
                let what = format!("save a snapshot of etcd in {} before its restart", self.dir());
                Ok(Status::Differs(Change::new(what)))
            }
            Seen::NotYet(why) => {
                let why = format!("no snapshot before the restart: etcd is not healthy: {why}");
                context.report.say(&why);
                Ok(Status::Done)
            }
        }
    }

    /// Nothing that reset takes away: a snapshot is the operator's.
    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.save(context)
    }
}
