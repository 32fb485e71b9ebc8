//! systemd units of others that give way to ours.

use crate::{Change, Context, Result, Status, Step, Thing, systemd};

/// Units of others, stopped and disabled together: one may need another, and how all of them were
/// is remembered before any stops. Reset enables and starts them again, the last first. One may
/// have the name of a unit of ours: what becomes of the one is remembered apart from the other.
#[derive(Debug, Clone)]
pub struct GiveWay {
    names: Vec<String>,
}

impl GiveWay {
    /// The units `names`, a socket before the service that it starts.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        Self { names: names.into_iter().map(Into::into).collect() }
    }

    /// Those that run or start at boot.
    fn remaining(&self) -> Result<Vec<&String>> {
        let mut remaining = Vec::new();
        for name in &self.names {
            let unit = systemd::show(name)?;
            if unit.active || unit.enabled == "enabled" {
                remaining.push(name);
            }
        }
        Ok(remaining)
    }
}

impl Step for GiveWay {
    fn id(&self) -> String {
        format!("give-way:{}", self.names.join(","))
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let names: Vec<_> = self.remaining()?.into_iter().map(String::as_str).collect();
        Ok(if names.is_empty() {
            Status::Done
        } else {
            Status::Differs(Change::new(format!("stop and disable {}", names.join(", "))))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(self.names.iter().map(|name| Thing::OthersUnit(name.clone())).collect())
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        let names = self.remaining()?.into_iter().map(String::as_str);
        let args: Vec<_> = ["disable", "--now"].into_iter().chain(names).collect();
        systemd::systemctl(&args).map(drop)
    }
}
