//! Roles and the priority class (kubespray: `kubernetes-apps/cluster_roles`).

use khost::Result;
use kspec::state::ControlPlaneState;
use serde_json::json;

use crate::addon::Addon;

pub(crate) fn addon(control_plane: &ControlPlaneState) -> Result<Addon> {
    let source = include_str!("../templates/cluster-roles.yaml");
    Addon::new("cluster-roles", &control_plane.version, source, &json!({}))
}
