//! What kubectl does for us in the cluster. To read and to apply, `crate::api` does without it.

mod delete;

use std::time::Duration;

use crate::{Cmd, api::Api};

pub(crate) use delete::{is_going, still_going, still_there};

/// kubectl with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: String,
    kubeconfig: String,
}

impl Kubectl {
    /// kubectl where kcp put it, as the administrator of this cluster.
    pub fn admin() -> Self {
        Self {
            program: format!("{}/kubectl", kspec::paths::BIN_DIR),
            kubeconfig: kspec::paths::ADMIN_CONF.into(),
        }
    }

    /// As this node's kubelet, which may read its own node, and the pods on it.
    pub fn kubelet() -> Self {
        Self { kubeconfig: kspec::paths::KUBELET_CONF.into(), ..Self::admin() }
    }

    /// As the administrator on a control plane, as the kubelet on a worker.
    pub fn here() -> Self {
        if Api::is_admin() { Self::admin() } else { Self::kubelet() }
    }

    /// `kubectl ARGS`, to be run. It keeps no cache: what it would keep below the user's home is no
    /// file of ours.
    pub fn cmd(&self, args: &[&str]) -> Cmd {
        Cmd::new(&self.program)
            .arg(format!("--kubeconfig={}", self.kubeconfig))
            .arg("--cache-dir=/dev/null")
            .arg("--request-timeout=10s")
            .args(args)
            .limit(Duration::from_secs(60))
    }
}
