//! dns-autoscaler (kubespray: `kubernetes-apps/ansible/templates/dns-autoscaler*`).

use khost::Result;
use kspec::{Cluster, state::Artifacts};
use serde_json::{Value, json};

use crate::{addon::Addon, coredns, image};

pub(crate) fn addon(cluster: &Cluster, artifacts: &Artifacts) -> Result<Addon> {
    let (addon, name) = (&cluster.addons.dns_autoscaler, "cluster-proportional-autoscaler");
    let image = image::reference(artifacts, &cluster.download, addon, name)?;
    let values = json!({ "image": image, "params": params(coredns::least(cluster)).to_string() });
    Addon::new("dns-autoscaler", &image, include_str!("../templates/dns-autoscaler.yaml"), &values)
}

/// One `CoreDNS` for sixteen nodes or 256 processors, and at least `min`.
fn params(min: usize) -> Value {
    json!({ "linear": {
        "preventSinglePointFailure": min > 1,
        "coresPerReplica": 256,
        "nodesPerReplica": 16,
        "min": min,
    } })
}

#[cfg(test)]
mod tests {
    #[test]
    fn one_node_needs_one() {
        assert_eq!(
            super::params(1).to_string(),
            r#"{"linear":{"preventSinglePointFailure":false,"coresPerReplica":256,"nodesPerReplica":16,"min":1}}"#
        );
        assert_eq!(super::params(2)["linear"]["preventSinglePointFailure"], true);
    }
}
