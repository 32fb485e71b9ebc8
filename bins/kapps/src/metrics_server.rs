//! metrics-server (kubespray: `kubernetes-apps/metrics_server`).

use khost::Result;
use kspec::state::Artifacts;
use serde_json::json;

use crate::{addon::Addon, image};

pub(crate) fn addon(artifacts: &Artifacts) -> Result<Addon> {
    let image = image::reference(artifacts, "metrics-server")?;
    let values = json!({ "image": image, "version": image::tag(image) });
    Addon::new("metrics-server", image, include_str!("../templates/metrics-server.yaml"), &values)
}
