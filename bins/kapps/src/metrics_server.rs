//! metrics-server (kubespray: `kubernetes-apps/metrics_server`).

use khost::Result;
use kspec::{Cluster, state::Artifacts};
use serde_json::json;

use crate::{addon::Addon, image};

pub(crate) fn addon(cluster: &Cluster, artifacts: &Artifacts) -> Result<Addon> {
    let addon = &cluster.addons.metrics_server;
    let image = image::reference(artifacts, &cluster.download, addon, "metrics-server")?;
    let values = json!({ "image": image, "version": image::tag(&image) });
    Addon::new("metrics-server", &image, include_str!("../templates/metrics-server.yaml"), &values)
}
