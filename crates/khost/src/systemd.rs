//! systemd, by its own program.

use std::path::PathBuf;

use crate::{Cmd, Host, Result, fs};

/// Where unit files are, those that win first (systemd.unit(5)).
const UNIT_DIRS: [&str; 5] = [
    kspec::paths::UNIT_DIR,
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// A unit as `systemctl show` has it (systemctl(1)).
#[derive(Debug)]
pub struct Unit {
    /// `UnitFileState`: `enabled`, `disabled`, `masked`, `static`, or empty when there is none.
    pub enabled: String,
    /// `ActiveState` is `active`, `activating` or `reloading`.
    pub active: bool,
    /// `ActiveState` and `SubState`, for people.
    pub state: String,
    /// The unit file changed since systemd read it.
    pub needs_reload: bool,
    /// `MainPID`, while it has a main process.
    pub pid: Option<u32>,
    /// systemd has yet to start, stop or restart it.
    pub busy: bool,
}

/// The unit file of `name` that wins, as a path on the host; none when there is none.
pub fn unit_file(host: &Host, name: &str) -> Option<PathBuf> {
    let mut paths = UNIT_DIRS.iter().map(|dir| PathBuf::from(dir).join(name));
    paths.find(|path| fs::exists(&host.path(path)))
}

/// How the unit `name` is; a unit that does not exist is disabled and inactive.
pub fn show(name: &str) -> Result<Unit> {
    let properties = "--property=UnitFileState,ActiveState,SubState,NeedDaemonReload,MainPID,Job";
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
        busy: !value("Job").is_empty(),
        pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
    })
}

/// Have a unit started, stopped or restarted, as `verb` says, without waiting until it is.
pub fn queue(verb: &str, name: &str) -> Result<()> {
    systemctl(&["--no-block", verb, name]).map(drop)
}

/// Stop a unit, and let no boot start it.
pub fn switch_off(name: &str) -> Result<()> {
    systemctl(&["disable", "--now", name]).map(drop)
}

/// Make systemd read its unit files again.
pub(crate) fn reload() -> Result<()> {
    systemctl(&["daemon-reload"]).map(drop)
}

/// Run `systemctl` and return what it prints.
pub(crate) fn systemctl(args: &[&str]) -> Result<String> {
    Ok(Cmd::new("systemctl").args(args).run()?.stdout)
}

/// Make systemd forget that a unit failed, and how often it was started lately: a failed unit stays
/// listed after its file is gone, and one that was started five times in ten seconds is refused a
/// start that somebody asked for (systemd.unit(5), `StartLimitBurst=`).
pub(crate) fn forget_failures(name: &str) -> Result<()> {
    // 1: it is not loaded
    Cmd::new("systemctl").args(["reset-failed", name]).accept(&[0, 1]).run().map(drop)
}

/// Start `name` anew, however often it was started lately.
pub fn restart(name: &str) -> Result<()> {
    forget_failures(name)?;
    systemctl(&["restart", name]).map(drop)
}

/// Give a unit back the enablement and activity it had. Where it is disabled by that, somebody has
/// to [`reload`] when all units are back: it takes a tenth of a second each time.
pub(crate) fn restore(name: &str, enabled: &str, active: bool) -> Result<()> {
    let mut now = show(name)?;
    if now.needs_reload {
        reload()?; // its file went, and whoever put it away was killed before systemd was told
        now = show(name)?;
    }
    if now.active && !active {
        systemctl(&["stop", name])?;
    }
    if now.enabled != enabled {
        match (now.enabled.as_str(), enabled) {
            (_, "enabled") => {
                systemctl(&["unmask", name])?;
                systemctl(&["enable", name])?;
            }
            ("enabled", _) => drop(systemctl(&["--no-reload", "disable", name])?),
            ("masked", _) => drop(systemctl(&["unmask", name])?),
            _ => {}
        }
    }
    forget_failures(name)?;
    if active && !now.active {
        systemctl(&["start", name])?;
    }
    Ok(())
}
