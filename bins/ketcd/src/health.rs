//! Whether the member works, and if not, why.

mod disk;
mod illness;
mod unit;
mod wait;

use std::time::Duration;

use khost::{
    Host, Result, fs,
    http::{self, Answer, Trust},
    sockets,
    wait::{Awaited, Seen},
};

pub(crate) use illness::{Illness, Kind};
pub(crate) use unit::unit_state;
pub(crate) use wait::Healthy;

use crate::{
    inputs::Inputs,
    members::{CLIENT_PORT, PEER_PORT, url},
};

/// The command to look further.
pub(crate) const LOOK: &str = "journalctl -u etcd -n 50";
/// Where etcd listens.
const PORTS: [u16; 2] = [CLIENT_PORT, PEER_PORT];
/// Seconds from which a disk is slow enough to keep etcd from working: elections take 5 s, and
/// take several writes.
const SLOW: f64 = 0.5;

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
            url: url([127, 0, 0, 1].into(), CLIENT_PORT),
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
        Ok(self.look(host)?.map_or(Seen::Ready, |illness| Seen::NotYet(illness.words)))
    }

    /// Ask once; none when it is well.
    pub(crate) fn look(&self, host: &Host) -> Result<Option<Illness>> {
        let mut files = Vec::new();
        for path in [&self.ca, &self.cert, &self.key] {
            let Some(bytes) = fs::read(&host.path(path))? else {
                let words = format!("`{path}` does not exist: run `kpki apply`");
                return Ok(Some(Illness::new(Kind::Certificate, words)));
            };
            files.push(bytes);
        }
        let identity = Some(files.split_off(1).concat());
        let client = http::client(&Trust { ca: files.pop(), identity })?;
        let metrics = || http::get(&client, &format!("{}/metrics", self.url)).ok();
        match http::get(&client, &format!("{}/health", self.url)) {
            Ok(answer) => Ok(self.judge(&answer, || metrics().map(|answer| answer.body))),
            Err(why) if why.contains("refused") => closed(host).map(Some),
            Err(why) if why.contains(http::NO_ANSWER) => {
                let seen = format!("the port is open, but {why}");
                Ok(Some(self.stuck(&seen, || metrics().map(|answer| answer.body))))
            }
            Err(why) => match intruder(host, PORTS)? {
                Some(intruder) => Ok(Some(intruder)),
                None => Ok(Some(Illness::new(Kind::Certificate, explain(&why)))),
            },
        }
    }

    /// Why an etcd that runs decides nothing: `seen`, and what keeps it.
    fn stuck(&self, seen: &str, metrics: impl FnOnce() -> Option<String>) -> Illness {
        let log = unit::log().unwrap_or_default();
        if let Some(line) = log.lines().rfind(|line| line.contains("cluster ID mismatch")) {
            let said = unit::telling_line(line).unwrap_or_default();
            let words = format!("{seen}: another member is of another cluster: {said}");
            return Illness::new(Kind::OtherCluster, words);
        }
        if let Some(slowest) = disk::slowest(&metrics().unwrap_or_default())
            && slowest >= SLOW
        {
            let took = disk::shown(slowest);
            let words = format!("{seen}: its disk is slow: a write to its log takes {took}");
            return Illness::new(Kind::SlowDisk, words);
        }
        let refused = |line: &&str| line.contains("rejected") && line.contains("tls: ");
        if let Some(line) = log.lines().rfind(refused) {
            let said = unit::telling_line(line).unwrap_or_default();
            let words = format!("{seen}: members refuse each other's certificates: {said}");
            return Illness::new(Kind::Certificate, words);
        }
        match (self.members, self.members / 2 + 1) {
            (1, _) => Illness::new(Kind::Other, format!("{seen}: its disk may be slow")),
            (all, needed) => Illness::new(
                Kind::NoQuorum,
                format!("{seen}: {needed} of its {all} members must run and reach each other"),
            ),
        }
    }

    /// What etcd itself says (`server/etcdserver/api/etcdhttp/health.go`): 200, or 503 with
    /// `{"health":"false","reason":"..."}`.
    fn judge(&self, answer: &Answer, metrics: impl FnOnce() -> Option<String>) -> Option<Illness> {
        let said: serde_json::Value = serde_json::from_str(&answer.body).unwrap_or_default();
        if answer.status == 200 && said["health"] == "true" {
            return None;
        }
        let reason = said["reason"].as_str().unwrap_or_default();
        Some(if reason.contains("NO LEADER") {
            self.stuck("etcd has no leader", metrics)
        } else if reason.contains("NOSPACE") {
            Illness::new(Kind::Full, "its database is full")
        } else if reason.contains("timeout") || reason.contains("timed out") {
            self.stuck(&format!("etcd says that it is not healthy: {reason}"), metrics)
        } else if reason.is_empty() {
            let words = format!("it answers with HTTP {}: {}", answer.status, answer.body.trim());
            Illness::new(Kind::Other, words)
        } else {
            Illness::new(Kind::Other, format!("etcd says that it is not healthy: {reason}"))
        })
    }
}

/// Nobody listens where etcd would: how systemd sees it, and what etcd said last.
fn closed(host: &Host) -> Result<Illness> {
    let state = unit_state()?;
    let kind = Kind::told_by(&state);
    Ok(match intruder(host, PORTS)? {
        Some(intruder) => Illness::new(intruder.kind, format!("{}: {state}", intruder.words)),
        None => Illness::new(kind, format!("the port is closed: {state}")),
    })
}

/// Another program at one of etcd's `ports`.
fn intruder<const N: usize>(host: &Host, ports: [u16; N]) -> Result<Option<Illness>> {
    for port in ports {
        if let Some(holder) = sockets::holder(host, port)?.filter(|holder| holder.name != "etcd") {
            let words = format!("port {port} is taken by `{}` (pid {})", holder.name, holder.pid);
            return Ok(Some(Illness::new(Kind::PortTaken, words)));
        }
    }
    Ok(None)
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

#[cfg(test)]
mod tests;
