//! A systemd unit that is enabled, runs, and was started with the files it has now.

use std::path::PathBuf;

use kspec::Sha256;

use crate::{
    Change, Context, Host, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::program::Program,
    systemd,
};

/// Where the stamps are. Phases share it; whose reset leaves it empty removes it.
pub(crate) const STAMP_DIR: &str = "/var/lib/k8steps/started";

/// A unit. That it must be restarted is derived from state: a stamp holds the digest of all its
/// inputs at its last start, so dying between a change and the restart loses nothing.
#[derive(Debug, Clone)]
pub struct Unit {
    name: String,
    inputs: Vec<PathBuf>,
    leaves: Vec<Thing>,
    running: bool,
}

impl Unit {
    /// The unit `name`, e.g. `etcd.service`; its unit file in `/etc/systemd/system` is an input.
    pub fn new(name: &str) -> Self {
        let file = PathBuf::from(kspec::paths::UNIT_DIR).join(name);
        Self { name: name.into(), inputs: vec![file], leaves: Vec::new(), running: true }
    }

    /// Files that it reads at its start: a change of any restarts it.
    #[must_use]
    pub fn reads<P: Into<PathBuf>>(mut self, paths: impl IntoIterator<Item = P>) -> Self {
        self.inputs.extend(paths.into_iter().map(Into::into));
        self
    }

    /// What it makes while it runs. Reset undoes these, the last first, once the unit is stopped.
    #[must_use]
    pub fn leaves(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.leaves.extend(things);
        self
    }

    /// Enable it, but leave its start to something else; restart it only if it runs already.
    #[must_use]
    pub fn started_elsewhere(mut self) -> Self {
        self.running = false;
        self
    }

    fn stamp(&self, host: &Host) -> PathBuf {
        host.path(STAMP_DIR).join(&self.name)
    }

    /// The digest of all inputs, by name and content.
    fn digest(&self, host: &Host) -> Result<Sha256> {
        let mut all = Vec::new();
        for input in &self.inputs {
            let digest = fs::digest(&host.path(input))?;
            let digest = digest.map_or_else(|| "absent".into(), |digest| digest.to_string());
            all.push(format!("{} {digest}", input.display()));
        }
        Ok(Sha256::of(all.join("\n")))
    }

    /// Why a running unit must start again, if it must: its inputs differ from those of its last
    /// start, or (in a plan, where nothing is written) an earlier step would change one.
    fn stale(&self, context: &Context<'_>) -> Result<Option<String>> {
        let stamp = fs::read_text(&self.stamp(context.host))?.unwrap_or_default();
        let changing = self.inputs.iter().find(|input| {
            let path = input.display();
            context.changes(&format!("file:{path}")) || context.changes(&Program::id_of(path))
        });
        let acted = context.changes(&self.id());
        Ok(match changing {
            Some(input) if !acted => Some(format!("{} changes", input.display())),
            _ if stamp.trim() == self.digest(context.host)?.hex() => None,
            _ => Some("its files changed since it was started".into()),
        })
    }
}

impl Step for Unit {
    fn id(&self) -> String {
        format!("unit:{}", self.name)
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let (name, unit) = (&self.name, systemd::show(&self.name)?);
        let stale = self.stale(context)?;
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
        let stamp = self.stamp(&Host::new("/")); // as the journal wants it: a path on the host
        let mut things = self.leaves.clone();
        things.extend([Thing::File(stamp), Thing::Unit(self.name.clone())]);
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let digest = self.digest(host)?; // before the start: what changes after it is not in it
        systemd::reload()?;
        let unit = systemd::show(&self.name)?;
        if unit.enabled != "enabled" {
            systemd::systemctl(&["enable", &self.name])?;
        }
        if unit.active {
            if self.stale(context)?.is_some() {
                systemd::systemctl(&["restart", &self.name])?;
            }
        } else if self.running {
            systemd::systemctl(&["start", &self.name])?;
        }
        let stamp = self.stamp(host);
        if let Some(dir) = stamp.parent() {
            fs::make_dirs(dir, 0o755)?;
        }
        let attributes = Attributes { mode: 0o644, owner: None };
        fs::write(&stamp, format!("{}\n", digest.hex()).as_bytes(), attributes)
    }
}
