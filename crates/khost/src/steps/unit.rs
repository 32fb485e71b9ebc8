//! A systemd unit that is enabled, runs, and was started with the files it has now.

use std::path::PathBuf;

use crate::{Change, Context, Result, Status, Step, Thing, steps::stamp::Stamp, systemd};

/// A unit. That it must be restarted is derived from state: a stamp holds the digest of all its
/// inputs at its last start, so dying between a change and the restart loses nothing.
#[derive(Debug, Clone)]
pub struct Unit {
    name: String,
    stamp: Stamp,
    leaves: Vec<Thing>,
    running: bool,
}

impl Unit {
    /// The unit `name`, e.g. `etcd.service`; its unit file in `/etc/systemd/system` is an input.
    pub fn new(name: &str) -> Self {
        let file = PathBuf::from(kspec::paths::UNIT_DIR).join(name);
        let stamp = Stamp { name: name.into(), inputs: vec![file] };
        Self { name: name.into(), stamp, leaves: Vec::new(), running: true }
    }

    /// Files that it reads at its start: a change of any restarts it.
    #[must_use]
    pub fn reads<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.stamp.inputs.extend(paths.into_iter().map(Into::into));
        self
    }

    /// What it makes while it runs. Reset undoes these, the last first, once the unit is stopped.
    #[must_use]
    pub fn leaves(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.leaves.extend(things);
        self
    }

    /// Why the running unit is about to be restarted, if it is: for what must be done before.
    pub fn restart_due(&self, context: &Context<'_>) -> Result<Option<String>> {
        let unit = systemd::show(&self.name)?;
        if unit.active { self.stamp.stale(context, &self.id()) } else { Ok(None) }
    }

    /// As [`Step::apply`], with `run` to do what `systemctl VERB NAME` would: `start` or `restart`.
    pub fn apply_by(
        &self,
        context: &Context<'_>,
        run: impl FnOnce(&str) -> Result<()>,
    ) -> Result<()> {
        let host = context.host;
        let digest = self.stamp.digest(host)?;
        let unit = systemd::show(&self.name)?;
        if unit.enabled != "enabled" {
            // It goes by the unit's file, and would have all be read again.
            systemd::systemctl(&["enable", "--no-reload", &self.name])?;
        }
        systemd::reload()?;
        systemd::forget_failures(&self.name)?;
        if unit.active {
            if self.stamp.stale(context, &self.id())?.is_some() {
                run("restart")?;
            }
        } else if self.running {
            run("start")?;
        }
        self.stamp.write(host, digest)
    }

    /// Enable it, but leave its start to something else; restart it only if it runs already.
    #[must_use]
    pub fn started_elsewhere(mut self) -> Self {
        self.running = false;
        self
    }
}

impl Step for Unit {
    fn id(&self) -> String {
        format!("unit:{}", self.name)
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let (name, unit) = (&self.name, systemd::show(&self.name)?);
        let stale = self.stamp.stale(context, &self.id())?;
        Ok(if unit.enabled != "enabled" {
            let verb = if self.running { "enable and start" } else { "enable" };
            Status::Differs(Change::new(format!("{verb} {name}")))
        } else if self.running && !unit.active {
            Status::Differs(Change::values(format!("start {name}"), unit.state, "active (running)"))
        } else if let Some(why) = stale {
            let verb = if unit.active { "restart" } else { "note the files of" };
            Status::Differs(Change::new(format!("{verb} {name}: {why}")))
        } else if unit.needs_reload {
            Status::Differs(Change::new(format!("reload systemd's view of {name}")))
        } else {
            Status::Done
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = self.leaves.clone();
        things.extend([self.stamp.thing(), Thing::Unit(self.name.clone())]);
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.apply_by(context, |verb| systemd::systemctl(&[verb, &self.name]).map(drop))
    }
}
