//! etcdctl with the right certificates: for people, and for what ketcd itself asks.

use khost::{Cmd, Error, Result, Tool, error::Exit};
use kspec::state::EtcdState;
use serde::Deserialize;

use crate::{
    inputs::Inputs,
    members::{CLIENT_PORT, url},
};

/// The wrapper, where kubespray has it.
pub(crate) const WRAPPER: &str = "/usr/local/bin/etcdctl.sh";

/// The wrapper's text. Endpoints are left to etcdctl, whose default is this node.
pub(crate) fn wrapper(inputs: &Inputs) -> String {
    let Inputs { ca, admin, .. } = inputs;
    format!(
        "#!/bin/sh
# etcdctl with this node's administrator certificate, for example:
#   etcdctl.sh get --keys-only --prefix /registry/namespaces
exec /usr/local/bin/etcdctl --cacert {ca} --cert {} --key {} \"$@\"
",
        admin.cert, admin.key
    )
}

/// What the earlier `ketcd apply` left, for `ketcd VERB`, which asks a running member as root.
///
/// # Errors
/// `needs-machine`, `not-root`, `input-missing`, `not-a-member`.
pub(crate) fn on_member(tool: &Tool, verb: &str) -> Result<EtcdState> {
    if !tool.host.is_live() {
        return Err(Error::input("needs-machine", format!("`ketcd {verb}` asks a running etcd"))
            .because("in a tree nothing runs")
            .hint("leave out `--root`"));
    }
    tool.needs_root(verb)?;
    let state: EtcdState = tool.state()?;
    if state.member.is_none() {
        return Err(Error::input("not-a-member", "this node is no etcd member")
            .hint(format!("run `ketcd {verb}` on one of {}", state.endpoints.join(", "))));
    }
    Ok(state)
}

/// etcdctl, about to ask this node's member and no other.
pub(crate) fn local() -> Cmd {
    Cmd::new(WRAPPER)
        .arg(format!("--endpoints={}", url([127, 0, 0, 1].into(), CLIENT_PORT)))
        .arg("--dial-timeout=5s")
}

/// How this node's member is, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    /// The revision of the latest change.
    pub(crate) revision: u64,
    /// Bytes of the database file.
    pub(crate) db_size: u64,
}

/// The JSON of `etcdctl endpoint status` (`etcdctl/ctlv3/command/ep_command.go`).
#[derive(Deserialize)]
struct Endpoint {
    #[serde(rename = "Status")]
    status: EndpointStatus,
}

#[derive(Deserialize)]
struct EndpointStatus {
    header: Header,
    #[serde(rename = "dbSize")]
    db_size: u64,
}

#[derive(Deserialize)]
struct Header {
    revision: u64,
}

/// Ask this node's member how it is.
///
/// # Errors
/// `etcd-unreachable` when it does not answer within ten seconds.
pub(crate) fn status() -> Result<Status> {
    let unreachable = || Error::host("etcd-unreachable", "the etcd of this node does not answer");
    let hint = "run `ketcd check`, which says what is wrong with it";
    let ask = local().args(["--command-timeout=10s", "endpoint", "status", "-w", "json"]);
    let answer = ask.run().map_err(|error| unreachable().because(error).hint(hint))?;
    let told = parse_status(&answer.stdout);
    told.map_err(|error| unreachable().because(error).hint(hint))
}

fn parse_status(json: &str) -> serde_json::Result<Status> {
    let [Endpoint { status }]: [Endpoint; 1] = serde_json::from_str(json)?;
    Ok(Status { revision: status.header.revision, db_size: status.db_size })
}

/// `ketcd member list`.
pub(crate) fn list_members(tool: &Tool) -> Result<Exit> {
    let state = on_member(tool, "member list")?;
    let format = if tool.report.is_json() { "json" } else { "table" };
    // All members are asked, so that one that is down does not keep the others from answering.
    let endpoints = format!("--endpoints={}", state.endpoints.join(","));
    let answer = Cmd::new(WRAPPER)
        .arg(endpoints)
        .args(["--command-timeout=10s", "member", "list", "-w", format])
        .run()
        .map_err(|error| {
            Error::host("etcd-unreachable", "no etcd member answered")
                .because(error)
                .hint("run `ketcd check` on each member, which says what is wrong with it")
        })?;
    tool.report.data(&answer.stdout);
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::{Status, parse_status};

    #[test]
    fn the_answer_of_etcdctl_is_read() {
        // As etcdctl 3.5.34 wrote it.
        let json = r#"[{"Endpoint":"https://127.0.0.1:2379","Status":{"header":{"cluster_id":14841639068965178418,"member_id":10276657743932975437,"revision":1234,"raft_term":2},"version":"3.5.34","dbSize":20480,"leader":10276657743932975437,"raftIndex":4,"raftTerm":2,"raftAppliedIndex":4,"dbSizeInUse":16384}}]"#;
        assert_eq!(parse_status(json).unwrap(), Status { revision: 1234, db_size: 20480 });
        assert!(parse_status("[]").is_err());
    }

    #[test]
    fn fuzz_etcdctl() {
        let seed = r#"[{"Endpoint":"e","Status":{"header":{"revision":1},"dbSize":2}}]"#;
        fuzz::text_target([seed], |text| drop(parse_status(text)));
    }
}
