//! How systemd sees etcd, and what etcd said last.

use khost::{Cmd, Result};

use crate::service;

/// How systemd sees etcd, with the last thing etcd said when it is not running.
pub(crate) fn unit_state() -> Result<String> {
    let properties = "--property=ActiveState,SubState,Result";
    let shown = Cmd::new("systemctl").args(["show", properties, service::NAME]).run()?.stdout;
    let value = |key: &str| {
        let found = shown.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.unwrap_or_default().to_owned()
    };
    let state = format!("{} is {} ({})", service::NAME, value("ActiveState"), value("SubState"));
    let result = value("Result");
    if result.is_empty() || result == "success" {
        return Ok(state);
    }
    Ok(match telling_line(&log()?) {
        Some(line) => format!("{state}, {result}; it said last: {line}"),
        None => format!("{state}, {result}"),
    })
}

/// The last lines of etcd and of systemd about it.
pub(super) fn log() -> Result<String> {
    let journal = ["-u", service::NAME, "-n", "60", "-o", "cat", "--no-pager"];
    Ok(Cmd::new("journalctl").args(journal).accept(&[0, 1]).run()?.stdout)
}

/// The line of `log` that says why: the last that complains, else the last of all. Of etcd's own
/// JSON lines, message and error. What systemd says about every unit that ends is passed over.
pub(super) fn telling_line(log: &str) -> Option<String> {
    let complains = |line: &&str| {
        [
            "\"level\":\"fatal\"",
            "\"level\":\"panic\"",
            "\"level\":\"error\"",
            "panic:",
            "Failed at step",
        ]
        .iter()
        .any(|sign| line.contains(sign))
    };
    let routine = |line: &&str| {
        let about = ["Starting ", "Started ", "Stopping ", "Stopped ", "Failed to start "];
        line.trim().is_empty()
            || about.iter().any(|verb| line.starts_with(&format!("{verb}{}", service::NAME)))
            || line.starts_with(service::NAME) && !line.contains("Failed at step")
    };
    let lines = || log.lines().filter(|line| !routine(line));
    let line = lines().rfind(complains).or_else(|| lines().next_back())?;
    let Ok(said) = serde_json::from_str::<serde_json::Value>(line) else {
        return Some(line.to_owned());
    };
    match (said["msg"].as_str(), said["error"].as_str()) {
        (Some(message), Some(error)) => Some(format!("{message}: {error}")),
        (Some(message), None) => Some(message.to_owned()),
        _ => Some(line.to_owned()),
    }
}
