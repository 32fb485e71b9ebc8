//! What the later phases need to know of the control plane.

use khost::{Tool, fs, steps::deferred::Deferred};
use kspec::{
    Cluster,
    paths::{ADMIN_CONF, KUBE_CERT_DIR, KUBELET_CONF},
    state::{ControlPlaneState, State as _},
};

use crate::{credentials, inputs::Inputs, join};

/// `control-plane.json`, once there is a cluster authority.
pub(crate) fn state(inputs: &Inputs) -> Deferred {
    of(&inputs.cluster, &inputs.local, &inputs.endpoint, ADMIN_CONF).after(credentials::ID)
}

/// Likewise on a worker, which has the kubelet's kubeconfig only.
pub(crate) fn state_of_worker(cluster: &Cluster, endpoint: &str) -> Deferred {
    of(cluster, &format!("https://{endpoint}"), endpoint, KUBELET_CONF).after(join::ID)
}

fn of(cluster: &Cluster, local: &str, endpoint: &str, kubeconfig: &'static str) -> Deferred {
    let (cluster, local, endpoint) = (cluster.clone(), local.to_owned(), endpoint.to_owned());
    Deferred::new(ControlPlaneState::PATH, move |context| {
        let ca = fs::digest(&context.host.path(format!("{KUBE_CERT_DIR}/ca.crt")))?;
        let (Some(ca_sha256), Some(cluster_dns)) = (ca, cluster.cluster_dns()) else {
            return Ok(None);
        };
        let state = ControlPlaneState {
            schema: kspec::SCHEMA,
            version: cluster.kubernetes.version.to_string(),
            local_endpoint: local.clone(),
            endpoint: format!("https://{endpoint}"),
            kubeconfig: kubeconfig.into(),
            ca_sha256,
            cluster_dns,
        };
        Tool::leave(&state).map(Some)
    })
}
