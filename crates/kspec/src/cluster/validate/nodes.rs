//! `[[node]]`: names, addresses, labels, taints, and who does what.

use std::{collections::BTreeSet, net::IpAddr};

use super::{
    super::{Cluster, Role},
    Found,
    syntax::{is_dns_name, is_label_value, is_qualified_name},
};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for (at, node) in cluster.nodes.iter().enumerate() {
        let mut wrong = |code, field: &str, message: String, remedy: &str| {
            found.add(code, format!("node[{at}].{field}"), message, remedy);
        };
        if !is_dns_name(&node.name) {
            wrong(
                "node-name-invalid",
                "name",
                format!("`{}` cannot be a node's name", node.name),
                "use at most 253 lower-case letters, digits, dashes and dots, \
                 with a letter or digit at each end",
            );
        }
        if !names.insert(&node.name) {
            wrong(
                "node-name-twice",
                "name",
                format!("`{}` stands twice", node.name),
                "give every node its own name",
            );
        }
        let access = node.access_address.filter(|access| *access != node.address);
        for (field, address) in [("access-address", access), ("address", Some(node.address))] {
            let Some(address) = address else { continue };
            if is_nobodys(address) {
                wrong(
                    "node-address-invalid",
                    field,
                    format!("{address} cannot be a machine's own address"),
                    "write the address that the other nodes reach it at",
                );
            }
            if !addresses.insert(address) {
                wrong(
                    "node-address-twice",
                    field,
                    format!("{address} stands twice"),
                    "give every node its own address",
                );
            }
        }
        // kube-apiserver ends with "service IP family must match public address family".
        let services = cluster.network.service_cidr;
        if node.is(Role::ControlPlane) && services.is_v4() != node.address.is_ipv4() {
            wrong(
                "address-family-differs",
                "address",
                format!("{} is not of the family of the services ({services})", node.address),
                "give services and control planes addresses of one family",
            );
        }
        if node.roles.is_empty() {
            wrong(
                "node-without-role",
                "roles",
                format!("`{}` has nothing to do", node.name),
                "give it some of control-plane, etcd, worker",
            );
        }
        for (key, value) in &node.labels {
            if !is_qualified_name(key) || !is_label_value(value) {
                wrong(
                    "node-label-invalid",
                    "labels",
                    format!("`{key} = \"{value}\"` cannot be a label"),
                    "name it NAME or DOMAIN/NAME; name and value are at most 63 letters, digits, \
                     dashes, underscores and dots",
                );
            }
        }
        for taint in node.taints.iter().filter(|taint| !is_taint(taint)) {
            wrong(
                "node-taint-invalid",
                "taints",
                format!("`{taint}` is not a taint"),
                "write key=value:Effect, with NoSchedule, PreferNoSchedule or NoExecute",
            );
        }
    }
}

pub(super) fn check_roles(cluster: &Cluster, found: &mut Found) {
    let mut wrong = |code, message: String, remedy: &str| found.add(code, "node", message, remedy);
    if cluster.nodes.is_empty() {
        wrong("no-nodes", "no node is described".into(), "add a [[node]] section");
        return;
    }
    if cluster.with_role(Role::ControlPlane).next().is_none() {
        wrong(
            "no-control-plane",
            "no node is a control plane".into(),
            "give one node the role control-plane",
        );
    }
    let remedy = "give the role etcd to one, three or five nodes";
    match cluster.with_role(Role::Etcd).count() {
        0 => wrong("no-etcd", "no node is an etcd member".into(), remedy),
        members if members.is_multiple_of(2) => wrong(
            "etcd-even",
            format!("{members} etcd members: an even number survives no more failures"),
            remedy,
        ),
        _ => {}
    }
}

/// Addresses that stand for no machine, or for many.
fn is_nobodys(address: IpAddr) -> bool {
    let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
    address.is_unspecified() || address.is_multicast() || broadcast
}

/// `key[=value]:Effect`, as kubectl takes it.
fn is_taint(taint: &str) -> bool {
    let Some((pair, effect)) = taint.rsplit_once(':') else { return false };
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    EFFECTS.contains(&effect) && is_qualified_name(key) && is_label_value(value)
}

#[cfg(test)]
mod tests {
    use super::is_taint;

    #[test]
    fn taints() {
        for taint in ["gpu=yes:NoSchedule", "example.com/slow:NoExecute", "a=:PreferNoSchedule"] {
            assert!(is_taint(taint), "{taint}");
        }
        for taint in ["gpu", "gpu=yes", "gpu=yes:Never", "=yes:NoExecute", "a b:NoExecute", ""] {
            assert!(!is_taint(taint), "{taint}");
        }
    }
}
