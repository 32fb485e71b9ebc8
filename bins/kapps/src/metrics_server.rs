//! metrics-server (kubespray: `kubernetes-apps/metrics_server`).

use khost::Result;
use kspec::{Cluster, state::Artifacts};
use serde_json::json;

use crate::{addon::Addon, image};

pub(crate) fn addon(cluster: &Cluster, artifacts: &Artifacts) -> Result<Addon> {
    let addon = &cluster.addons.metrics_server;
    let image = image::reference(artifacts, &cluster.download, addon, "metrics-server")?;
    // Without the flag it trusts the CA of its ServiceAccount, which is the cluster's: the one
    // that signs kubelets' serving certificates (`serving`).
    let insecure = !cluster.kubelet.rotate_server_certificates;
    let values = json!({ "image": image, "version": image::tag(&image), "insecure": insecure });
    Addon::new("metrics-server", &image, include_str!("../templates/metrics-server.yaml"), &values)
}
