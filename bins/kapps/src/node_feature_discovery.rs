//! Node Feature Discovery (kubespray: `kubernetes-apps/node_feature_discovery`).

use khost::{Result, Thing};
use kspec::{Cluster, state::Artifacts};
use serde_json::{Value, json};

use crate::{addon::Addon, image};

/// What it is called, as an add-on and as an image.
pub(crate) const NAME: &str = "node-feature-discovery";

/// Made on every node for those who describe features by hand.
pub(crate) const FEATURES_DIR: &str = "/etc/kubernetes/node-feature-discovery";

const SOURCE: &str = concat!(
    include_str!("../templates/node-feature-discovery-crds.yaml"),
    "---\n",
    include_str!("../templates/node-feature-discovery-base.yaml"),
    "---\n",
    include_str!("../templates/node-feature-discovery.yaml"),
);

pub(crate) fn addon(cluster: &Cluster, artifacts: &Artifacts) -> Result<Addon> {
    let addon = &cluster.addons.node_feature_discovery;
    let image = image::reference(artifacts, &cluster.download, addon, NAME)?;
    let values = json!({ "image": image, "flags": flags(image::tag(&image)) });
    let addon = Addon::new(NAME, &image, SOURCE, &values)?;
    Ok(addon.causing([Thing::Tree(FEATURES_DIR.into())]))
}

/// Version 0.17 took away the workers' own protocol (`-port`, `-server`) and `-crd-controller`: a
/// program that is given a flag it does not know ends at once. A tag that is no version is taken
/// for a new one.
fn flags(tag: &str) -> Value {
    if has_grpc(tag) {
        json!({
            "grpc": true,
            "master": ["-port=8080", "-crd-controller=true", "-metrics=8081"],
            "worker": ["-server=node-feature-discovery-master:8080", "-metrics=8081"],
        })
    } else {
        json!({ "grpc": false, "master": ["-metrics=8081"], "worker": ["-metrics=8081"] })
    }
}

fn has_grpc(tag: &str) -> bool {
    let mut numbers = tag.trim_start_matches('v').split('.').map(str::parse::<u32>);
    matches!((numbers.next(), numbers.next()), (Some(Ok(0)), Some(Ok(..=16))))
}

#[cfg(test)]
mod tests {
    #[test]
    fn flags_go_by_the_version() {
        assert!(super::has_grpc("v0.16.4"));
        for tag in ["v0.17.3", "v1.0.0", "latest", ""] {
            assert!(!super::has_grpc(tag), "{tag}");
        }
    }
}
