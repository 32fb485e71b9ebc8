//! Whether the member works, and if not, why.

use std::time::Duration;

use khost::{
    Cmd, Host, Result, fs,
    http::{self, Answer, Trust},
    wait::{Awaited, Seen},
};

use crate::{
    inputs::Inputs,
    members::{CLIENT_PORT, url},
    service,
};

/// The command to look further.
pub(crate) const LOOK: &str = "journalctl -u etcd -n 50";

/// Asks the member of this node for its health, as an administrator.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    url: String,
    ca: String,
    cert: String,
    key: String,
    members: usize,
}

impl Probe {
    /// A probe with the certificates of `inputs`, of a cluster with so many `members`.
    pub(crate) fn new(inputs: &Inputs, members: usize) -> Self {
        Self {
            url: format!("{}/health", url([127, 0, 0, 1].into(), CLIENT_PORT)),
            ca: inputs.ca.clone(),
            cert: inputs.admin.cert.clone(),
            key: inputs.admin.key.clone(),
            members,
        }
    }

    /// What is waited for, and how long.
    pub(crate) fn awaited() -> Awaited {
        Awaited {
            id: "etcd-healthy".into(),
            what: format!("a healthy etcd on {}", url([127, 0, 0, 1].into(), CLIENT_PORT)),
            limit: Duration::from_secs(60),
            look: LOOK.into(),
        }
    }

    /// Ask once.
    pub(crate) fn ask(&self, host: &Host) -> Result<Seen> {
        let mut files = Vec::new();
        for path in [&self.ca, &self.cert, &self.key] {
            let Some(bytes) = fs::read(&host.path(path))? else {
                return Ok(Seen::not_yet(format!("`{path}` does not exist: run `kpki apply`")));
            };
            files.push(bytes);
        }
        let identity = Some(files.split_off(1).concat());
        let client = http::client(&Trust { ca: files.pop(), identity })?;
        match http::get(&client, &self.url) {
            Ok(answer) => Ok(self.judge(&answer)),
            Err(why) if why.contains("refused") => {
                Ok(Seen::not_yet(format!("the port is closed: {}", unit_state()?)))
            }
            Err(why) if why.contains("no answer within") => {
                Ok(Seen::not_yet(format!("the port is open, but {why}: {}", self.quorum())))
            }
            Err(why) => Ok(Seen::not_yet(explain(&why))),
        }
    }

    /// What it takes for etcd to decide anything.
    fn quorum(&self) -> String {
        match (self.members, self.members / 2 + 1) {
            (1, _) => "its disk may be slow".into(),
            (all, needed) => format!("{needed} of its {all} members must run and reach each other"),
        }
    }

    /// What etcd itself says (`server/etcdserver/api/etcdhttp/health.go`): 200, or 503 with
    /// `{"health":"false","reason":"..."}`.
    fn judge(&self, answer: &Answer) -> Seen {
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status == 200 && said["health"] == "true" {
            return Seen::Ready;
        }
        let reason = said["reason"].as_str().unwrap_or_default();
        Seen::NotYet(if reason.contains("NO LEADER") {
            format!("etcd has no leader: {}", self.quorum())
        } else if reason.contains("NOSPACE") {
            "its database is full: compact and defragment it with etcdctl.sh, or raise \
             etcd.quota-bytes; then run `etcdctl.sh alarm disarm`"
                .into()
        } else if reason.is_empty() {
            format!("it answers with HTTP {}: {}", answer.status, answer.body.trim())
        } else {
            format!("etcd says that it is not healthy: {reason}")
        })
    }
}

/// Why nothing was answered, from the words of the TLS library.
fn explain(why: &str) -> String {
    if why.contains("not valid for name") {
        format!("etcd's certificate lacks a name (`kpki apply` issues it anew): {why}")
    } else if why.contains("expired") {
        format!("etcd's certificate has expired (`kpki apply` issues it anew): {why}")
    } else if why.contains("not valid yet") || why.contains("NotValidYet") {
        format!("etcd's certificate is not valid yet; is the clock right? {why}")
    } else if why.contains("invalid peer certificate") {
        format!("what answers is not the etcd of our CA: {why}")
    } else if why.contains("fatal alert") {
        format!("etcd refuses our certificate: {why}")
    } else {
        format!("the connection failed: {why}")
    }
}

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
    let journal = ["-u", service::NAME, "-n", "60", "-o", "cat", "--no-pager"];
    let log = Cmd::new("journalctl").args(journal).accept(&[0, 1]).run()?.stdout;
    Ok(match telling_line(&log) {
        Some(line) => format!("{state}, {result}; it said last: {line}"),
        None => format!("{state}, {result}"),
    })
}

/// The line of `log` that says why: the last that complains, else the last of all. Of etcd's own
/// JSON lines, message and error. What systemd says about every unit that ends is passed over.
fn telling_line(log: &str) -> Option<String> {
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

#[cfg(test)]
mod tests;
