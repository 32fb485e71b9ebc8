//! The etcd cluster as it is: who is in it, asked of those who answer.

use std::time::Duration;

use khost::{Cmd, Error, Host, Result, fs, http};
use kspec::{paths::BIN_DIR, state::Certificate};
use serde_json::Value;

/// Seconds etcd has to change its membership.
const PATIENCE: &str = "--command-timeout=10s";

/// One of the cluster's members, as etcd lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveMember {
    pub(crate) id: u64,
    /// Empty until it has started for the first time.
    pub(crate) name: String,
    pub(crate) peer_urls: Vec<String>,
    pub(crate) client_urls: Vec<String>,
    pub(crate) learner: bool,
}

impl LiveMember {
    /// The number as etcdctl takes and shows it.
    pub(crate) fn id(&self) -> String {
        format!("{:x}", self.id)
    }

    pub(crate) fn is_at(&self, peer_url: &str) -> bool {
        self.peer_urls.iter().any(|url| url == peer_url)
    }

    pub(crate) fn has_started(&self) -> bool {
        !self.name.is_empty()
    }
}

/// What asks: an administrator's certificate, and whom to ask.
#[derive(Debug, Clone)]
pub(crate) struct Living {
    ca: String,
    admin: Certificate,
    endpoints: Vec<String>,
}

impl Living {
    /// Ask the members at the client URLs `endpoints`.
    pub(crate) fn new(ca: &str, admin: &Certificate, endpoints: Vec<String>) -> Self {
        Self { ca: ca.into(), admin: admin.clone(), endpoints }
    }

    /// Whether there is nobody to ask.
    pub(crate) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// Whether it can be asked from here yet.
    pub(crate) fn can_ask(&self, host: &Host) -> bool {
        let etcdctl = format!("{BIN_DIR}/etcdctl");
        let needed = [&etcdctl, &self.ca, &self.admin.cert, &self.admin.key];
        host.is_live() && needed.iter().all(|path| fs::exists(&host.path(path)))
    }

    /// All members, in etcd's order.
    ///
    /// # Errors
    /// `etcd-unreachable`, with what each endpoint or etcdctl said.
    pub(crate) fn members(&self) -> Result<Vec<LiveMember>> {
        let output =
            self.cmd()?.args(["--command-timeout=5s", "member", "list", "-w", "json"]).run();
        let said = output.map_err(|error| unreachable(&self.endpoints, &error.chain()))?.stdout;
        parse(&said)
            .ok_or_else(|| unreachable(&self.endpoints, "etcdctl printed no list of members"))
    }

    /// Add a member that does not vote yet. etcd wants a name only to print it.
    pub(crate) fn add_learner(&self, name: &str, peer_url: &str) -> Result<()> {
        let peers = format!("--peer-urls={peer_url}");
        self.cmd()?.args([PATIENCE, "member", "add", name, "--learner", &peers]).run().map(drop)
    }

    /// Let a learner vote.
    pub(crate) fn promote(&self, member: &LiveMember) -> Result<()> {
        self.cmd()?.args([PATIENCE, "member", "promote", &member.id()]).run().map(drop)
    }

    /// Take a member out of the cluster.
    pub(crate) fn remove(&self, member: &LiveMember) -> Result<()> {
        self.cmd()?.args([PATIENCE, "member", "remove", &member.id()]).run().map(drop)
    }

    /// etcdctl with those endpoints that take connections: with one that does not, it would wait
    /// in vain for as long as it may.
    fn cmd(&self) -> Result<Cmd> {
        let mut reasons = Vec::new();
        let mut open = Vec::new();
        for url in &self.endpoints {
            match http::takes_connections(url) {
                Ok(()) => open.push(url.as_str()),
                Err(why) => reasons.push(format!("{url}: {why}")),
            }
        }
        if open.is_empty() {
            return Err(unreachable(&self.endpoints, &reasons.join("\n")));
        }
        Ok(Cmd::new(format!("{BIN_DIR}/etcdctl"))
            .arg(format!("--endpoints={}", open.join(",")))
            .arg(format!("--cacert={}", self.ca))
            .arg(format!("--cert={}", self.admin.cert))
            .arg(format!("--key={}", self.admin.key))
            .arg("--dial-timeout=2s")
            .limit(Duration::from_secs(20)))
    }
}

fn unreachable(endpoints: &[String], why: &str) -> Error {
    Error::host("etcd-unreachable", format!("no etcd member answers at {}", endpoints.join(", ")))
        .because(why.to_owned())
        .hint("run `ketcd check` on each member, which says what is wrong with it")
}

/// What `etcdctl member list -w json` prints.
fn parse(json: &str) -> Option<Vec<LiveMember>> {
    let list: Value = serde_json::from_str(json).ok()?;
    let urls = |value: &Value| -> Vec<String> {
        let all = value.as_array().into_iter().flatten();
        all.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let member = |value: &Value| {
        Some(LiveMember {
            id: value["ID"].as_u64()?,
            name: value["name"].as_str().unwrap_or_default().to_owned(),
            peer_urls: urls(&value["peerURLs"]),
            client_urls: urls(&value["clientURLs"]),
            learner: value["isLearner"].as_bool().unwrap_or_default(),
        })
    };
    list["members"].as_array()?.iter().map(member).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{LiveMember, parse};

    /// The member with this number at 192.0.2.NUMBER.
    pub(crate) fn member(number: u64, name: &str, learner: bool) -> LiveMember {
        LiveMember {
            id: number,
            name: name.into(),
            peer_urls: vec![format!("https://192.0.2.{number}:2380")],
            client_urls: if name.is_empty() {
                Vec::new()
            } else {
                vec![format!("https://192.0.2.{number}:2379")]
            },
            learner,
        }
    }

    /// What etcdctl 3.5 prints, with a learner that was added and has not started.
    #[test]
    fn the_list_of_etcdctl_is_read() {
        let json = r#"{"header":{"cluster_id":1,"member_id":11,"raft_term":2},"members":[
            {"ID":11,"name":"etcd1","peerURLs":["https://192.0.2.11:2380"],
             "clientURLs":["https://192.0.2.11:2379"]},
            {"ID":17446744073709551615,"name":"","peerURLs":["https://192.0.2.12:2380"],
             "isLearner":true}]}"#;
        let found = parse(json).unwrap();
        assert_eq!(found[0], member(11, "etcd1", false));
        assert_eq!(found[1].id(), "f21f494c589bffff");
        assert!(found[1].learner && !found[1].has_started());
        assert!(
            found[1].is_at("https://192.0.2.12:2380") && !found[0].is_at("https://192.0.2.12:2380")
        );
        assert_eq!(parse("{}"), None);
        assert_eq!(parse("Error: context deadline exceeded"), None);
    }
}
