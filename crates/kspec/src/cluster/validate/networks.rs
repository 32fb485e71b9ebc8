//! `[network]`: addresses inside the cluster that collide with nothing and suffice.

use super::{
    super::{Backend, Cluster, Flannel},
    Found,
    syntax::ports,
};

/// Ports that the node's own programs listen at.
const TAKEN: [u16; 9] = [2379, 2380, 6443, 10248, 10249, 10250, 10256, 10257, 10259];
/// A VXLAN network identifier has 24 bits (RFC 7348), but flannel calls its interface
/// `flannel.VNI` (`pkg/backend/vxlan`), and Linux has room for 15 characters (`IFNAMSIZ`).
const LARGEST_VNI: u32 = 9_999_999;
/// What a VXLAN header takes (flannel, `encapOverhead`), and the least that every IPv4 host takes
/// (RFC 791).
const LEAST_MTU: u32 = 50 + 576;
/// An IPv4 packet's length has 16 bits.
const LARGEST_MTU: u32 = 65_535;

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    check_addresses(cluster, found);
    check_sizes(cluster, found);
    check_ports(cluster, found);
}

fn check_addresses(cluster: &Cluster, found: &mut Found) {
    let (services, pods) = (&cluster.network.service_cidr, &cluster.network.pod_cidr);
    if services.overlaps(pods) {
        found.add(
            "networks-overlap",
            "network.pod-cidr",
            format!("pods ({pods}) and services ({services}) share addresses"),
            "give them networks of which neither contains the other",
        );
    }
    for node in &cluster.nodes {
        let access = node.access_address.filter(|access| *access != node.address);
        for (what, cidr) in [("service", services), ("pod", pods)] {
            for (whose, address) in [("address", Some(node.address)), ("access-address", access)] {
                if address.is_some_and(|address| cidr.contains(address)) {
                    found.add(
                        "network-contains-node",
                        format!("network.{what}-cidr"),
                        format!("{cidr} contains the {whose} of node `{}`", node.name),
                        "choose a network that no machine is in",
                    );
                }
            }
        }
    }
    match cluster.cluster_dns() {
        Some(dns) if services.contains(dns) && Some(dns) != cluster.service_address() => {}
        dns => found.add(
            "cluster-dns-invalid",
            "network.cluster-dns",
            match dns {
                Some(dns) => format!("{dns} is not a free address of {services}"),
                None => format!("{services} is too small to hold a DNS service"),
            },
            "choose an address of service-cidr other than its first",
        ),
    }
}

fn check_sizes(cluster: &Cluster, found: &mut Found) {
    let pods = &cluster.network.pod_cidr;
    let (prefix, bits) = (cluster.network.node_prefix, if pods.is_v4() { 32 } else { 128 });
    if prefix < pods.prefix() || prefix > bits - 2 {
        found.add(
            "node-prefix-invalid",
            "network.node-prefix",
            format!("a /{prefix} per node does not fit into {pods}"),
            "use a prefix between that of pod-cidr and two less than the address size",
        );
        return;
    }
    let (nodes, most) = (cluster.nodes.len(), cluster.kubelet.max_pods);
    let shares = 1_u128.checked_shl(u32::from(prefix - pods.prefix())).unwrap_or(u128::MAX);
    if shares < nodes as u128 {
        found.add(
            "pod-cidr-too-small",
            "network.pod-cidr",
            format!("{pods} has {shares} shares of /{prefix} for {nodes} nodes"),
            "choose a larger network or a longer node-prefix",
        );
    }
    let addresses = 1_u128.checked_shl(u32::from(bits - prefix)).unwrap_or(u128::MAX) - 2;
    if u128::from(most) > addresses {
        found.add(
            "max-pods-too-many",
            "kubelet.max-pods",
            format!("a /{prefix} holds {addresses} pods, not {most}"),
            "lower max-pods or shorten node-prefix",
        );
    }
}

fn check_ports(cluster: &Cluster, found: &mut Found) {
    let (range, flannel) = (&cluster.network.node_ports, &cluster.network.flannel);
    match ports(range) {
        None => found.add(
            "node-ports-invalid",
            "network.node-ports",
            format!("`{range}` is not a range of ports"),
            "write the first and the last port, such as 30000-32767",
        ),
        Some((first, last)) => {
            let within = |port: &u16| (first..=last).contains(port);
            if let Some(port) = TAKEN.iter().find(|port| within(port)) {
                found.add(
                    "node-ports-overlap",
                    "network.node-ports",
                    format!("{range} contains {port}, which a program of the node listens at"),
                    "choose a range without the ports of Kubernetes, such as 30000-32767",
                );
            }
        }
    }
    check_flannel(flannel, found);
}

fn check_flannel(flannel: &Flannel, found: &mut Found) {
    if !flannel.interface.is_empty() && !flannel.interface_regex.is_empty() {
        found.add(
            "flannel-interface-twice",
            "network.flannel.interface-regex",
            "flannel would take whichever of the two it finds",
            "keep one of interface and interface-regex",
        );
    }
    if flannel.backend != Backend::Vxlan {
        for (key, set) in [("mtu", flannel.mtu != 0), ("direct-routing", flannel.direct_routing)] {
            if set {
                found.add(
                    "flannel-needs-vxlan",
                    format!("network.flannel.{key}"),
                    "without vxlan flannel has no such choice: packets go as they are",
                    format!("take {key} out, or set backend = \"vxlan\""),
                );
            }
        }
        return;
    }
    if flannel.vni == 0 || flannel.vni > LARGEST_VNI {
        found.add(
            "flannel-vni-invalid",
            "network.flannel.vni",
            format!("{} cannot be the VXLAN network of an interface `flannel.VNI`", flannel.vni),
            format!("choose a number from 1 to {LARGEST_VNI}"),
        );
    }
    if flannel.port == 0 {
        found.add(
            "flannel-port-invalid",
            "network.flannel.port",
            "0 is not a port",
            "choose a UDP port that is free on all nodes, such as 8472",
        );
    }
    if flannel.mtu != 0 && !(LEAST_MTU..=LARGEST_MTU).contains(&flannel.mtu) {
        found.add(
            "flannel-mtu-invalid",
            "network.flannel.mtu",
            format!("no network carries pods in packets of {} bytes", flannel.mtu),
            format!("choose a size from {LEAST_MTU} to {LARGEST_MTU}, or 0 for the interface's"),
        );
    }
}
