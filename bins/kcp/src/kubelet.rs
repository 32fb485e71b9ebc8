//! The kubelet of a node that is part of a cluster runs.

use khost::{
    Change, Cmd, Context, Result, Status, Thing, fs,
    http::{self, Trust},
    steps::command::Guarded,
};
use kspec::paths::KUBELET_CONF;

use crate::init;

/// The step's id.
const ID: &str = "command:kubelet-running";

const UNIT: &str = "kubelet.service";

/// knode owns the unit and leaves the first start to `kubeadm init`; a kubelet that was stopped
/// since then is started here, for without it there is no control plane.
pub(crate) fn running() -> Guarded {
    let start = |_: &Context<'_>| Cmd::new("systemctl").args(["start", UNIT]).run().map(drop);
    Guarded::new("kubelet-running", check, start).touching([Thing::Unit(UNIT.into())])
}

fn check(context: &Context<'_>) -> Result<Status> {
    let joined = fs::exists(&context.host.path(KUBELET_CONF));
    if !joined || init::comes(context) {
        return Ok(Status::Done); // in a plan: `kubeadm init` starts it
    }
    let asked = Cmd::new("systemctl").args(["is-active", UNIT]).accept(&[0, 1, 2, 3, 4]).run()?;
    Ok(match asked.stdout.trim() {
        "active" | "activating" | "reloading" => Status::Done,
        state => Status::Differs(Change::values(format!("start {UNIT}"), state, "active")),
    })
}

/// Whether it is started in this run, and the API server with it, which in a plan does not answer yet.
pub(crate) fn starts(context: &Context<'_>) -> bool {
    init::comes(context) || context.changes(ID)
}

/// What is wrong with it, as it says itself (`--healthz-port`); none when it works.
pub(crate) fn unhealthy() -> Option<String> {
    let url = "http://127.0.0.1:10248/healthz";
    let client = http::client(&Trust::default()).ok()?;
    match http::get(&client, url) {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(format!("{url} answers {}: {}", answer.status, answer.body.trim())),
        Err(why) => Some(why),
    }
}
