//! `CoreDNS` (kubespray: `kubernetes-apps/ansible/templates/coredns-*`).

use khost::{Result, template};
use kspec::{
    Cluster, Sha256,
    cluster::Addons,
    state::{Artifacts, ControlPlaneState},
};
use serde_json::json;

use crate::{addon::Addon, image};

/// What it is called, as an add-on and as an image.
pub(crate) const NAME: &str = "coredns";

pub(crate) fn addon(
    cluster: &Cluster,
    artifacts: &Artifacts,
    control_plane: &ControlPlaneState,
) -> Result<Addon> {
    let addon = &cluster.addons.coredns;
    let image = image::reference(artifacts, &cluster.download, addon, NAME)?;
    let corefile = corefile(cluster)?;
    let corefile_digest = Sha256::of(&corefile).hex();
    // Where dns-autoscaler runs, the number is its own.
    let replicas = if cluster.addons.dns_autoscaler.enabled { 0 } else { least(cluster) };
    let values = json!({
        "image": image,
        "corefile": corefile.trim_end(),
        "corefile_digest": corefile_digest,
        "cluster_dns": control_plane.cluster_dns,
        "replicas": replicas,
    });
    Addon::new(NAME, &image, include_str!("../templates/coredns.yaml"), &values)
}

/// How many there are at least (`dns_min_replicas`): two where there are two nodes for them.
pub(crate) fn least(cluster: &Cluster) -> usize {
    cluster.nodes.len().min(2)
}

fn corefile(cluster: &Cluster) -> Result<String> {
    let domain = &cluster.kubernetes.dns_domain;
    let values = json!({ "domain": domain, "upstream": upstream(&cluster.addons) });
    template::render("Corefile", include_str!("../templates/Corefile"), &values)
}

/// What the operator named, or the resolver that kubelet gives the pod (`resolvConf` of kubelet's
/// configuration, by kprep's choice never one that names the cluster's own DNS).
fn upstream(addons: &Addons) -> String {
    match addons.upstream_dns.as_slice() {
        [] => "/etc/resolv.conf".into(),
        servers => servers.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::corefile;

    fn cluster() -> Cluster {
        Cluster::example("node1", [192, 0, 2, 11].into())
    }

    #[test]
    fn the_corefile_is_the_recorded_one() {
        insta::assert_snapshot!(corefile(&cluster()).unwrap(), @r"
        .:53 {
            errors
            health {
                lameduck 5s
            }
            ready
            kubernetes cluster.local in-addr.arpa ip6.arpa {
                pods insecure
                fallthrough in-addr.arpa ip6.arpa
            }
            prometheus :9153
            forward . /etc/resolv.conf {
                prefer_udp
                max_concurrent 1000
            }
            cache 30
            loop
            reload
            loadbalance
        }
        ");
    }

    #[test]
    fn named_servers_replace_the_nodes_resolver() {
        let mut cluster = cluster();
        cluster.addons.upstream_dns = vec!["192.0.2.53".into(), "[2001:db8::53]:5353".into()];
        let corefile = corefile(&cluster).unwrap();
        assert!(corefile.contains("forward . 192.0.2.53 [2001:db8::53]:5353 {"), "{corefile}");
    }
}
