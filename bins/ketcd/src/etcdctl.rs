//! etcdctl with the right certificates: for people, and for `ketcd member`.

use khost::{Cmd, Error, Result, Tool, error::Exit};
use kspec::state::EtcdState;

use crate::inputs::Inputs;

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

/// `ketcd member list`.
pub(crate) fn list_members(tool: &Tool) -> Result<Exit> {
    if !tool.host.is_live() {
        return Err(Error::input("needs-machine", "`ketcd member` asks a running etcd")
            .because("in a tree nothing runs")
            .hint("leave out `--root`"));
    }
    tool.needs_root("member list")?;
    let state: EtcdState = tool.state()?;
    if state.member.is_none() {
        return Err(Error::input("not-a-member", "this node is no etcd member")
            .hint(format!("run `ketcd member list` on one of {}", state.endpoints.join(", "))));
    }
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
