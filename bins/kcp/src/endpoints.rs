//! Under which names and addresses the API server is known.

use std::net::{IpAddr, SocketAddr};

use kspec::{Cluster, Node, Role};

/// The API server's port (`kube_apiserver_port`).
pub(crate) const PORT: u16 = 6443;

/// `HOST:PORT` that all nodes reach the API server at: what the operator says, or the first
/// control plane. A port the operator gave is kept.
pub(crate) fn for_everyone(cluster: &Cluster) -> String {
    match (&cluster.control_plane.endpoint, cluster.with_role(Role::ControlPlane).next()) {
        (Some(given), _) => match given.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, PORT).to_string(),
            Err(_) if cluster.control_plane.endpoint_host() == Some(given) => {
                format!("{given}:{PORT}")
            }
            Err(_) => given.clone(),
        },
        (None, Some(first)) => SocketAddr::new(first.access(), PORT).to_string(),
        (None, None) => String::new(), // no sound cluster is without a control plane
    }
}

/// Names and addresses in the API server's certificate, in kubespray's order
/// (`apiserver_sans`), each once.
pub(crate) fn certificate_names(
    cluster: &Cluster,
    node: &Node,
    extra: Option<IpAddr>,
) -> Vec<String> {
    let domain = &cluster.kubernetes.dns_domain;
    let planes: Vec<_> = cluster.with_role(Role::ControlPlane).collect();
    let mut names: Vec<String> =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(Into::into).into();
    names.push(format!("kubernetes.default.svc.{domain}"));
    names.extend(cluster.service_address().map(|address| address.to_string()));
    names.extend(["localhost", "127.0.0.1", "::1"].map(Into::into));
    names.extend(planes.iter().map(|plane| plane.name.clone()));
    names.push("lb-apiserver.kubernetes.local".into());
    names.extend(cluster.control_plane.endpoint_host().map(str::to_owned));
    names.extend(cluster.control_plane.extra_sans.iter().cloned());
    names.extend(planes.iter().map(|plane| plane.access().to_string()));
    names.extend(planes.iter().map(|plane| plane.address.to_string()));
    names.extend(extra.map(|address| address.to_string()));
    names.push(node.short_name().to_owned());

    let mut once = Vec::new();
    for name in names {
        if !once.contains(&name) {
            once.push(name);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::{certificate_names, for_everyone};

    fn cluster(endpoint: Option<&str>) -> Cluster {
        let mut cluster = Cluster::example("node1.example", "192.0.2.11".parse().unwrap());
        cluster.control_plane.endpoint = endpoint.map(Into::into);
        cluster
    }

    #[test]
    fn an_endpoint_has_a_port() {
        let cases = [
            (None, "192.0.2.11:6443"),
            (Some("api.example"), "api.example:6443"),
            (Some("api.example:8443"), "api.example:8443"),
            (Some("2001:db8::1"), "[2001:db8::1]:6443"),
            (Some("[2001:db8::1]:8443"), "[2001:db8::1]:8443"),
        ];
        for (given, expected) in cases {
            assert_eq!(for_everyone(&cluster(given)), expected);
        }
    }

    #[test]
    fn names_are_in_kubesprays_order_and_once() {
        let mut cluster = cluster(Some("api.example:8443"));
        cluster.control_plane.extra_sans = vec!["198.51.100.7".into(), "localhost".into()];
        let extra = "203.0.113.5".parse().ok();
        let names = certificate_names(&cluster, &cluster.nodes[0], extra);
        assert_eq!(
            names.join(" "),
            "kubernetes kubernetes.default kubernetes.default.svc \
             kubernetes.default.svc.cluster.local 10.233.0.1 localhost 127.0.0.1 ::1 \
             node1.example lb-apiserver.kubernetes.local api.example 198.51.100.7 192.0.2.11 \
             203.0.113.5 node1"
        );
    }
}
