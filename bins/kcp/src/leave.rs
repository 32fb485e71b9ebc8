//! What the later phases need to know of the control plane.

use khost::{Tool, fs, steps::deferred::Deferred};
use kspec::{
    paths::{ADMIN_CONF, KUBE_CERT_DIR},
    state::{ControlPlaneState, State as _},
};

use crate::{credentials, inputs::Inputs};

/// `control-plane.json`, once there is a cluster authority.
pub(crate) fn state(inputs: &Inputs) -> Deferred {
    let inputs = inputs.clone();
    let deferred = Deferred::new(ControlPlaneState::PATH, move |context| {
        let ca = fs::digest(&context.host.path(format!("{KUBE_CERT_DIR}/ca.crt")))?;
        let (Some(ca_sha256), Some(cluster_dns)) = (ca, inputs.cluster.cluster_dns()) else {
            return Ok(None);
        };
        let state = ControlPlaneState {
            schema: kspec::SCHEMA,
            version: inputs.cluster.kubernetes.version.to_string(),
            local_endpoint: inputs.local.clone(),
            endpoint: format!("https://{}", inputs.endpoint),
            kubeconfig: ADMIN_CONF.into(),
            ca_sha256,
            cluster_dns,
        };
        Tool::leave(&state).map(Some)
    });
    deferred.after(credentials::ID)
}
