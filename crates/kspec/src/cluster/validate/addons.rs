//! `[addons]`: what `CoreDNS` asks, what runs in place of the lock's images, where more stands.

use std::net::{IpAddr, SocketAddr};

use super::{
    super::Cluster,
    Found,
    syntax::{is_image, is_tag},
};

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    check_upstream(cluster, found);
    check_images(cluster, found);
    if cluster.addons.manifests_dir.is_relative() {
        found.add(
            "path-not-absolute",
            "addons.manifests-dir",
            "kapps runs in other directories than you",
            "write the whole path, from /",
        );
    }
}

fn check_upstream(cluster: &Cluster, found: &mut Found) {
    for server in &cluster.addons.upstream_dns {
        let address = server
            .parse::<IpAddr>()
            .or_else(|_| server.parse::<SocketAddr>().map(|server| server.ip()));
        let Ok(address) = address else {
            found.add(
                "upstream-dns-invalid",
                "addons.upstream-dns",
                format!("`{server}` is not the address of a DNS server"),
                "write addresses, such as \"192.0.2.53\" or \"192.0.2.54:5353\"",
            );
            continue;
        };
        // In a pod, loopback is the pod; and the cluster's own DNS is CoreDNS.
        let own = cluster.network.service_cidr.contains(address);
        if own || address.is_loopback() || address.is_unspecified() {
            found.add(
                "upstream-dns-loops",
                "addons.upstream-dns",
                format!("CoreDNS would ask itself at {server}"),
                "name servers outside the cluster, or none: then it asks the node's own",
            );
        }
    }
}

fn check_images(cluster: &Cluster, found: &mut Found) {
    let addons = &cluster.addons;
    for (name, addon) in [
        ("coredns", &addons.coredns),
        ("dns-autoscaler", &addons.dns_autoscaler),
        ("metrics-server", &addons.metrics_server),
        ("node-feature-discovery", &addons.node_feature_discovery),
    ] {
        let key = |field: &str| format!("addons.{name}.{field}");
        if let Some(image) = addon.image.as_deref().filter(|image| !is_image(image)) {
            found.add(
                "addon-image-invalid",
                key("image"),
                format!("`{image}` is not the full name of an image"),
                "write REGISTRY/REPOSITORY:TAG, such as \"registry.example/dns/coredns:v1.12.1\"",
            );
        }
        if let Some(version) = addon.version.as_deref().filter(|version| !is_tag(version)) {
            found.add(
                "addon-version-invalid",
                key("version"),
                format!("`{version}` cannot be the tag of an image"),
                "write it as the image has it, such as \"v1.12.1\"",
            );
        }
        if addon.image.is_some() && addon.version.is_some() {
            found.add(
                "addon-version-twice",
                key("version"),
                "the image has a version of its own",
                "keep one of image and version",
            );
        }
    }
}
