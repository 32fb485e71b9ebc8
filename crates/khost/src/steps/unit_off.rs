//! A systemd unit that neither runs nor starts at boot.

use crate::{Change, Context, Result, Status, Step, Thing, systemd};

/// A unit of others that is stopped and disabled. Fine when there is no such unit; reset enables
/// and starts it again if it was so.
#[derive(Debug, Clone)]
pub struct UnitOff {
    name: String,
}

impl UnitOff {
    /// The unit `name`, e.g. `fapolicyd.service`.
    pub fn new(name: &str) -> Self {
        Self { name: name.into() }
    }
}

impl Step for UnitOff {
    fn id(&self) -> String {
        format!("unit:{}", self.name)
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let (name, unit) = (&self.name, systemd::show(&self.name)?);
        Ok(if unit.active {
            Status::Differs(Change::values(format!("stop {name}"), unit.state, "stopped, disabled"))
        } else if unit.enabled == "enabled" {
            Status::Differs(Change::new(format!("disable {name}")))
        } else {
            Status::Done
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Unit(self.name.clone())])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        let unit = systemd::show(&self.name)?;
        if unit.enabled == "enabled" {
            systemd::systemctl(&["disable", &self.name])?;
        }
        if unit.active {
            systemd::systemctl(&["stop", &self.name])?;
        }
        Ok(())
    }
}
