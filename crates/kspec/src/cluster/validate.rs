//! What a `cluster.toml` must mean, beyond its types: kubespray's `validate_inventory`, with the
//! gaps it leaves closed.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::Serialize;

use super::{Cluster, Role};

/// Kubernetes versions these tools can install: first included, last excluded.
///
/// The lower end is kubespray v2.29.1's (`kubelet_checksums`), the upper end the newest minor
/// whose kubeadm still reads v1beta4 and whose checksums the catalogue has.
pub const SUPPORTED: (semver::Version, semver::Version) =
    (semver::Version::new(1, 31, 0), semver::Version::new(1, 36, 0));

/// One thing that is wrong with the description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// A stable name for the rule.
    pub code: &'static str,
    /// Where: the key, e.g. `network.pod-cidr`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Cluster {
    /// Everything that is wrong, not only the first thing; empty when the description is sound.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_version(&mut found);
        self.check_proxy(&mut found);
        self.check_networks(&mut found);
        self.check_nodes(&mut found);
        self.check_roles(&mut found);
        found
    }

    fn check_version(&self, found: &mut Vec<Problem>) {
        let (first, end) = &SUPPORTED;
        let version = &self.kubernetes.version;
        if version < first || version >= end {
            found.push(Problem {
                code: "version-unsupported",
                key: "kubernetes.version".into(),
                message: format!("Kubernetes {version} is outside {first} to below {end}"),
                remedy: format!("choose a release from {first} up to, not including, {end}"),
            });
        }
        if !is_dns_name(&self.kubernetes.dns_domain) {
            found.push(Problem {
                code: "dns-domain-invalid",
                key: "kubernetes.dns-domain".into(),
                message: format!("`{}` is not a DNS name", self.kubernetes.dns_domain),
                remedy: "use lower-case letters, digits, dashes and dots".into(),
            });
        }
    }

    fn check_proxy(&self, found: &mut Vec<Problem>) {
        for (key, url) in [("http", &self.proxy.http), ("https", &self.proxy.https)] {
            if url.is_empty() || is_proxy(url) {
                continue;
            }
            found.push(Problem {
                code: "proxy-invalid",
                key: format!("proxy.{key}"),
                message: "this is not the address of a proxy".into(), // it may hold a password
                remedy: "write http://HOST:PORT, without a user or password: \
                         every user of the node can read where it goes"
                    .into(),
            });
        }
    }

    fn check_networks(&self, found: &mut Vec<Problem>) {
        let network = &self.network;
        let (services, pods) = (&network.service_cidr, &network.pod_cidr);
        let mut wrong = |code, key: &str, message: String, remedy: &str| {
            found.push(Problem { code, key: key.into(), message, remedy: remedy.into() });
        };
        if services.overlaps(pods) {
            wrong(
                "networks-overlap",
                "network.pod-cidr",
                format!("pods ({pods}) and services ({services}) share addresses"),
                "give them networks of which neither contains the other",
            );
        }
        for node in &self.nodes {
            for (what, cidr) in [("service", services), ("pod", pods)] {
                if cidr.contains(node.address) {
                    wrong(
                        "network-contains-node",
                        &format!("network.{what}-cidr"),
                        format!("{cidr} contains the address of node `{}`", node.name),
                        "choose a network that no machine is in",
                    );
                }
            }
        }
        match self.cluster_dns() {
            Some(dns) if services.contains(dns) && Some(dns) != self.service_address() => {}
            dns => wrong(
                "cluster-dns-invalid",
                "network.cluster-dns",
                match dns {
                    Some(dns) => format!("{dns} is not a free address of {services}"),
                    None => format!("{services} is too small to hold a DNS service"),
                },
                "choose an address of service-cidr other than its first",
            ),
        }
        let (prefix, bits) = (network.node_prefix, if network.pod_cidr.is_v4() { 32 } else { 128 });
        if prefix < pods.prefix() || prefix > bits - 2 {
            wrong(
                "node-prefix-invalid",
                "network.node-prefix",
                format!("a /{prefix} per node does not fit into {pods}"),
                "use a prefix between that of pod-cidr and two less than the address size",
            );
            return;
        }
        let shares = 1_u128.checked_shl(u32::from(prefix - pods.prefix())).unwrap_or(u128::MAX);
        if shares < self.nodes.len() as u128 {
            wrong(
                "pod-cidr-too-small",
                "network.pod-cidr",
                format!("{pods} has {shares} shares of /{prefix} for {} nodes", self.nodes.len()),
                "choose a larger network or a longer node-prefix",
            );
        }
        let addresses = 1_u128.checked_shl(u32::from(bits - prefix)).unwrap_or(u128::MAX) - 2;
        if u128::from(self.kubelet.max_pods) > addresses {
            wrong(
                "max-pods-too-many",
                "kubelet.max-pods",
                format!("a /{prefix} holds {addresses} pods, not {}", self.kubelet.max_pods),
                "lower max-pods or shorten node-prefix",
            );
        }
        if parse_ports(&network.node_ports).is_none() {
            wrong(
                "node-ports-invalid",
                "network.node-ports",
                format!("`{}` is not a range of ports", network.node_ports),
                "write the first and the last port, such as 30000-32767",
            );
        }
    }

    fn check_nodes(&self, found: &mut Vec<Problem>) {
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (at, node) in self.nodes.iter().enumerate() {
            let mut wrong = |code, field: &str, message: String, remedy: &str| {
                let key = format!("node[{at}].{field}");
                found.push(Problem { code, key, message, remedy: remedy.into() });
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
            if let Some(access) = access.filter(|access| !addresses.insert(*access)) {
                wrong(
                    "node-address-twice",
                    "access-address",
                    format!("{access} stands twice"),
                    "give every node its own address",
                );
            }
            if !addresses.insert(node.address) {
                wrong(
                    "node-address-twice",
                    "address",
                    format!("{} stands twice", node.address),
                    "give every node its own address",
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
        }
    }

    fn check_roles(&self, found: &mut Vec<Problem>) {
        let mut wrong = |code, message: String, remedy: &str| {
            found.push(Problem { code, key: "node".into(), message, remedy: remedy.into() });
        };
        if self.nodes.is_empty() {
            wrong("no-nodes", "no node is described".into(), "add a [[node]] section");
            return;
        }
        if self.with_role(Role::ControlPlane).next().is_none() {
            wrong(
                "no-control-plane",
                "no node is a control plane".into(),
                "give one node the role control-plane",
            );
        }
        let members = self.with_role(Role::Etcd).count();
        if members.is_multiple_of(2) {
            wrong(
                "etcd-even",
                format!("{members} etcd members: an even number survives no more failures"),
                "give the role etcd to one, three or five nodes",
            );
        }
    }
}

/// RFC 1123 subdomain, as Kubernetes requires of node names.
fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let ends = [label.bytes().next(), label.bytes().last()];
        ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// `http://HOST[:PORT][/]` or the same with https.
fn is_proxy(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else { return false };
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]_".contains(letter);
    !host.is_empty() && !host.starts_with(':') && host.chars().all(allowed)
}

fn parse_ports(range: &str) -> Option<(u16, u16)> {
    let (first, last) = range.split_once('-')?;
    let ports: (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    (ports.0 > 0 && ports.0 < ports.1).then_some(ports)
}

#[cfg(test)]
mod tests {
    use crate::Cluster;

    /// The codes of all problems of the example cluster after `change`.
    fn problems(change: impl FnOnce(&mut Cluster)) -> Vec<&'static str> {
        let mut cluster = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
        change(&mut cluster);
        cluster.problems().iter().map(|problem| problem.code).collect()
    }

    #[test]
    fn the_example_is_sound() {
        assert!(problems(|_| {}).is_empty());
    }

    #[test]
    fn each_rule_has_its_code() {
        type Change = fn(&mut Cluster);
        let cases: [(&str, Change); 17] = [
            ("version-unsupported", |c| c.kubernetes.version = semver::Version::new(1, 30, 9)),
            ("version-unsupported", |c| c.kubernetes.version = semver::Version::new(1, 36, 0)),
            ("dns-domain-invalid", |c| c.kubernetes.dns_domain = "Cluster_Local".into()),
            ("networks-overlap", |c| c.network.pod_cidr = "10.233.0.0/16".parse().unwrap()),
            ("networks-overlap", |c| c.network.pod_cidr = c.network.service_cidr),
            ("network-contains-node", |c| c.nodes[0].address = "10.233.64.9".parse().unwrap()),
            ("cluster-dns-invalid", |c| c.network.cluster_dns = "10.0.0.3".parse().ok()),
            ("node-prefix-invalid", |c| c.network.node_prefix = 16),
            ("max-pods-too-many", |c| c.kubelet.max_pods = 255),
            ("node-ports-invalid", |c| c.network.node_ports = "32767".into()),
            ("node-name-invalid", |c| c.nodes[0].name = "Node_1".into()),
            ("node-without-role", |c| c.nodes[0].roles.clear()),
            ("proxy-invalid", |c| c.proxy.http = "proxy.example:3128".into()),
            ("proxy-invalid", |c| c.proxy.https = "http://me:secret@proxy.example".into()),
            ("node-address-twice", |c| {
                let mut second = c.nodes[0].clone();
                second.access_address = Some(second.address);
                second.address = "192.168.10.101".parse().unwrap();
                c.nodes.push(second);
            }),
            ("no-nodes", |c| c.nodes.clear()),
            ("etcd-even", |c| {
                let mut second = c.nodes[0].clone();
                second.name = "n2".into();
                second.address = "192.168.10.101".parse().unwrap();
                c.nodes.push(second);
            }),
        ];
        for (code, change) in cases {
            assert!(problems(change).contains(&code), "{code}: {:?}", problems(change));
        }
    }

    #[test]
    fn every_problem_is_listed() {
        let found = problems(|c| {
            c.nodes.push(c.nodes[0].clone());
            c.network.node_ports = "a-b".into();
        });
        let expected = ["node-ports-invalid", "node-name-twice", "node-address-twice", "etcd-even"];
        assert_eq!(found, expected);
    }
}
