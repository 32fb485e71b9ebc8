//! The certificates that kubelets serve with, signed by the cluster's CA, so that metrics-server
//! can tell a kubelet from an impostor.
//!
//! kubelet makes its own key, asks the API server for a certificate, and asks again before it ends
//! (`serverTLSBootstrap`, knode's). The controller manager signs what is approved; nobody approves
//! these by itself (Kubernetes, "TLS bootstrapping", "Certificate rotation"). kapps does, for the
//! nodes of `cluster.toml` alone: when it is applied, and every few minutes by a timer.

mod request;
mod step;

use std::time::Duration;

use khost::{
    Result, StepList,
    api::Api,
    kubectl::Kubectl,
    steps::{absent::Absent, file::File, unit::Unit, unit_off::UnitOff},
};
use kspec::{
    Cluster,
    paths::{BIN_DIR, UNIT_DIR},
};

use step::Signed;

const TIMER: &str = "kapps-approve.timer";
const SERVICE: &str = "kapps-approve.service";
/// How long a node that has joined, or whose certificate is about to end, waits at most.
const EVERY: Duration = Duration::from_secs(300);

/// This node's kubelet has its certificate, and no other node waits for one.
pub(crate) fn signed(cluster: &Cluster) -> Option<Signed> {
    cluster.kubelet.rotate_server_certificates.then(|| Signed::new(cluster))
}

/// Go on approving what is asked for; or stop that.
pub(crate) fn add_timer(steps: &mut StepList, cluster: &Cluster) {
    let [service, timer] = [SERVICE, TIMER].map(|name| format!("{UNIT_DIR}/{name}"));
    if cluster.kubelet.rotate_server_certificates {
        steps.add(File::new(service).text(service_text()));
        steps.add(File::new(timer).text(timer_text()));
        steps.add(Unit::new(TIMER));
    } else {
        steps.add(UnitOff::new(TIMER));
        steps.extend([timer, service].map(Absent::new));
    }
}

/// What became of the requests that were pending.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Nodes whose request was approved.
    pub(crate) approved: Vec<String>,
    /// Why others were not.
    pub(crate) refused: Vec<String>,
}

/// Approve every pending request that `cluster` allows. The others stay pending: they are for
/// their sender to take back, or for an administrator to look at.
///
/// # Errors
/// `api-unreadable` when the API server does not answer.
pub(crate) fn approve(cluster: &Cluster) -> Result<Answer> {
    let mut answer = Answer::default();
    let mut granted = Vec::new();
    for request in pending()? {
        match request.allowed(cluster) {
            Ok(node) => {
                granted.push(request.name);
                answer.approved.push(node);
            }
            Err(why) => answer.refused.push(format!("{}: {why}", request.name)),
        }
    }
    if !granted.is_empty() {
        Kubectl::admin().cmd(&["certificate", "approve"]).args(&granted).run()?;
    }
    Ok(answer)
}

fn pending() -> Result<Vec<request::Request>> {
    let of_kubelets = format!("spec.signerName={}", request::SIGNER);
    let path = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    Ok(request::pending(&Api::admin().list(path, &[("fieldSelector", &of_kubelets)])?))
}

fn service_text() -> String {
    format!(
        "[Unit]
Description=Approve the certificates that kubelets of this cluster serve with
Documentation=man:kapps(8)
After=kubelet.service

[Service]
Type=oneshot
ExecStart={BIN_DIR}/kapps --quiet approve
"
    )
}

fn timer_text() -> String {
    let every = EVERY.as_secs();
    format!(
        "[Unit]
Description=Look for certificates that kubelets ask for
Documentation=man:kapps(8)

[Timer]
OnActiveSec={every}
OnUnitActiveSec={every}

[Install]
WantedBy=timers.target
"
    )
}
