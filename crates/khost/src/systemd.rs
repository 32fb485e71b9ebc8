//! systemd, by its own program.

use crate::{Cmd, Result};

/// A unit as `systemctl show` has it (systemctl(1)).
#[derive(Debug)]
pub(crate) struct Unit {
    /// `UnitFileState`: `enabled`, `disabled`, `masked`, `static`, or empty when there is none.
    pub(crate) enabled: String,
    /// `ActiveState` is `active`, `activating` or `reloading`.
    pub(crate) active: bool,
    /// `ActiveState` and `SubState`, for people.
    pub(crate) state: String,
    /// The unit file changed since systemd read it.
    pub(crate) needs_reload: bool,
}

/// How the unit `name` is; a unit that does not exist is disabled and inactive.
pub(crate) fn show(name: &str) -> Result<Unit> {
    let properties = "--property=UnitFileState,ActiveState,SubState,NeedDaemonReload";
    let output = systemctl(&["show", properties, name])?;
    let value = |key: &str| {
        let found = output.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let active = value("ActiveState");
    Ok(Unit {
        enabled: value("UnitFileState"),
        active: matches!(active.as_str(), "active" | "activating" | "reloading"),
        state: format!("{active} ({})", value("SubState")),
        needs_reload: value("NeedDaemonReload") == "yes",
    })
}

/// Make systemd read its unit files again.
pub(crate) fn reload() -> Result<()> {
    systemctl(&["daemon-reload"]).map(drop)
}

/// Run `systemctl` and return what it prints.
pub(crate) fn systemctl(args: &[&str]) -> Result<String> {
    Ok(Cmd::new("systemctl").args(args).run()?.stdout)
}

/// Give a unit back the enablement and activity it had.
pub(crate) fn restore(name: &str, enabled: &str, active: bool) -> Result<()> {
    let now = show(name)?;
    if now.active && !active {
        systemctl(&["stop", name])?;
    }
    if now.enabled != enabled {
        match (now.enabled.as_str(), enabled) {
            (_, "enabled") => {
                systemctl(&["unmask", name])?;
                systemctl(&["enable", name])?;
            }
            ("enabled", _) => drop(systemctl(&["disable", name])?),
            ("masked", _) => drop(systemctl(&["unmask", name])?),
            _ => {}
        }
    }
    // A failed unit stays listed after its file is gone, until it is told to forget.
    Cmd::new("systemctl").args(["reset-failed", name]).accept(&[0, 1]).run()?;
    if active && !now.active {
        systemctl(&["start", name])?;
    }
    Ok(())
}
