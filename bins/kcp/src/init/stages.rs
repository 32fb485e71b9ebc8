//! `kubeadm init` in parts, the API server alone first.
//!
//! A controller manager or scheduler that starts beside the API server asks it too early, and again
//! only 2 to 4 seconds later (client-go's `leaderelection`, `RetryPeriod` and `JitterFactor`); until
//! then it only takes processor time from what it waits for. One that finds it ready is at work at
//! once.
//!
//! A second after its first answer the API server begins to write what a cluster begins with. All but
//! the hundred roles, without which the others can do nothing, is soon there; that is when the two are
//! let go, for they take as long to come up as the roles take to be written.

use std::time::{Duration, Instant};

use khost::{
    Context, Result, Step as _,
    static_pod::{Component, StaticPod},
    steps::wait::Wait,
};

use crate::kubeadm;

/// What `kubeadm init --help` of 1.33 has, each done by one part, or by none:
///
/// - `wait-control-plane` and `kubelet-finalize`, which makes kubelet.conf name the certificate that
///   the kubelet renews, are steps of kcp's own; kubeadm would start the kubelet anew.
/// - `upload-certs` is for further control planes: its key is a secret, and what it uploads is gone
///   after two hours.
/// - `addon/coredns` is kapps' part.
/// - `show-join-command` prints a secret token.
const PHASES: [&str; 17] = [
    "preflight",
    "certs",
    "kubeconfig",
    "etcd",
    "control-plane/apiserver",
    "control-plane/controller-manager",
    "control-plane/scheduler",
    "kubelet-start",
    "wait-control-plane",
    "upload-config",
    "upload-certs",
    "mark-control-plane",
    "bootstrap-token",
    "kubelet-finalize",
    "addon/coredns",
    "addon/kube-proxy",
    "show-join-command",
];

/// What it is then still at (`pkg/registry/rbac/rest`).
const ROLES: &str = "rbac/bootstrap-roles";

const API_SERVER: [&str; 6] =
    ["preflight", "certs", "kubeconfig", "etcd", "control-plane/apiserver", "kubelet-start"];
const CONTROLLERS: [&str; 2] = ["control-plane/controller-manager", "control-plane/scheduler"];
/// A kubeadm asks the API server ten things at once, then only five a second (client-go's default):
/// what the cluster has to know is more than ten, so two of them write it.
const CLUSTER: [&str; 3] = ["upload-config", "mark-control-plane", "addon/kube-proxy"];
const TOKENS: [&str; 1] = ["bootstrap-token"];

/// All of it within `limit`. `ignored` are preflight checks that may fail.
///
/// # Errors
/// kubeadm's, and `timeout` for an API server that does not become ready.
pub(super) fn run(
    context: &Context<'_>,
    pods: &[StaticPod; 3],
    ignored: &[String],
    limit: Duration,
) -> Result<()> {
    let begun = Instant::now();
    let left = || limit.saturating_sub(begun.elapsed()).max(Duration::from_secs(1));
    let kubeadm = |phases: &[&str], flag: &str| {
        kubeadm::run(context, &["init", &only(phases), flag], left().as_secs())
    };
    kubeadm(&API_SERVER, &format!("--ignore-preflight-errors={}", ignored.join(",")))?;
    let api_server = &pods[Component::ApiServer as usize];
    let wait = |until: Wait| until.apply(&Context::new(context.host, context.report, Some(left())));
    wait(api_server.healthy_but_for(ROLES))?;
    kubeadm(&CONTROLLERS, "--skip-token-print")?;
    wait(api_server.healthy())?;
    kubeadm(&CLUSTER, "--skip-token-print")?;
    kubeadm(&TOKENS, "--skip-token-print")
}

/// Every other phase is passed over.
fn only(wanted: &[&str]) -> String {
    let others = PHASES.iter().filter(|phase| !wanted.contains(phase)).copied();
    format!("--skip-phases={}", others.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::{API_SERVER, CLUSTER, CONTROLLERS, PHASES, TOKENS};

    #[test]
    fn a_phase_is_done_once_or_by_nobody() {
        let mut done = [&API_SERVER[..], &CONTROLLERS, &CLUSTER, &TOKENS].concat();
        assert!(done.iter().all(|phase| PHASES.contains(phase)));
        let count = done.len();
        done.sort_unstable();
        done.dedup();
        assert_eq!(done.len(), count, "one is done twice");
    }
}
