//! `cluster.toml`: the cluster as its operator describes it.
//!
//! Every field has a default, so an empty file with one `[[node]]` is a cluster. The defaults are
//! those of the recorded kubespray v2.29.1 run. The doc comment of a field is the comment that
//! `kprep init` writes beside it.

mod components;
mod containerd;
mod control_plane;
mod download;
mod extra;
mod host;
mod no_proxy;
mod validate;

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use components::{
    Addon, AddonProgram, Addons, CgroupDriver, Etcd, EtcdBackup, KeyAlgorithm, KubeProxy,
    KubeProxyMode, Kubeadm, Kubelet, Pki,
};
pub use containerd::{Capability, ClientPair, Containerd, Registry, RegistryHost};
pub use control_plane::{Audit, CipherProvider, ControlPlane, Encryption, Volume};
pub use download::{ArtifactMirrors, Download};
pub use extra::{Extra, merge};
pub use host::{Host, Proxy, Resolver, Selinux, Swap};
pub use validate::{ACCEPTABLE, Problem, SUPPORTED};

use crate::{Cidr, ParseError, SCHEMA};

/// The whole description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Cluster {
    /// The format of this file
    pub schema: u32,
    /// What is installed
    pub kubernetes: Kubernetes,
    /// The networks of the cluster
    pub network: Network,
    /// The operating system of a node
    pub host: Host,
    /// How to reach the internet through an HTTP proxy
    pub proxy: Proxy,
    /// Where artifacts come from
    pub download: Download,
    /// Certificates that these tools issue (etcd's; kubeadm issues its own)
    pub pki: Pki,
    /// The etcd members
    pub etcd: Etcd,
    /// The container runtime
    pub containerd: Containerd,
    /// The kubelet
    pub kubelet: Kubelet,
    /// kube-proxy
    pub kube_proxy: KubeProxy,
    /// API server, controller manager and scheduler
    pub control_plane: ControlPlane,
    /// How kubeadm is called
    pub kubeadm: Kubeadm,
    /// What runs on top
    pub addons: Addons,
    /// The machines; every node of the cluster stands here, on every node
    #[serde(rename = "node")]
    pub nodes: Vec<Node>,
}

/// Which Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Release, without a leading v
    pub version: semver::Version,
    /// Name of the cluster, as kubeconfigs show it
    pub cluster_name: String,
    /// DNS domain of services and pods
    pub dns_domain: String,
    /// Feature gates of all components: their names, and true or false
    pub feature_gates: BTreeMap<String, bool>,
}

/// Addresses inside the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Network {
    /// Addresses of Services; must not overlap pods or machines
    pub service_cidr: Cidr,
    /// Addresses of Pods; must not overlap services or machines
    pub pod_cidr: Cidr,
    /// Prefix length of each node's share of pod-cidr
    pub node_prefix: u8,
    /// Address of the DNS service; without it, the fourth of service-cidr (10.233.0.3)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_dns: Option<IpAddr>,
    /// Ports of `NodePort` services, first and last; kept free of other use
    pub node_ports: String,
    /// The pod network
    pub flannel: Flannel,
}

/// flannel's choices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Flannel {
    /// vxlan, or host-gw where all nodes share one network segment
    pub backend: Backend,
    /// VXLAN network identifier
    pub vni: u32,
    /// VXLAN UDP port
    pub port: u16,
    /// Route directly to nodes of the same segment instead of through VXLAN
    pub direct_routing: bool,
    /// Network interface to use, by its name or address; empty: the one with the default route
    pub interface: String,
    /// The same where the nodes' differ: a Go regular expression of names or addresses
    pub interface_regex: String,
    /// Largest packet in bytes that the network between the nodes carries, with vxlan; 0: the
    /// interface's. A pod's packets are 50 bytes smaller
    pub mtu: u32,
    /// Filter and translate pods' packets with nftables instead of iptables
    pub nftables: bool,
}

/// How flannel carries packets between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Backend {
    /// In UDP, through any network.
    Vxlan,
    /// By routes, within one segment.
    HostGw,
}

/// One machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Node {
    /// Name of the node, and the host name the machine gets
    pub name: String,
    /// Address its services listen at; one of the machine's own
    pub address: IpAddr,
    /// Address the other nodes reach it at, where that is another one (as behind NAT)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_address: Option<IpAddr>,
    /// What it does: any of control-plane, etcd, worker
    pub roles: Vec<Role>,
    /// Node labels to set
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Node taints to set, written key=value:Effect
    #[serde(default)]
    pub taints: Vec<String>,
}

/// What a node does.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the API server, controller manager and scheduler.
    ControlPlane,
    /// Is a member of the etcd cluster.
    Etcd,
    /// Runs the pods of users.
    Worker,
}

impl Node {
    /// Whether the node has `role`.
    pub fn is(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The address the other nodes reach it at (kubespray: `main_access_ip`).
    pub fn access(&self) -> IpAddr {
        self.access_address.unwrap_or(self.address)
    }

    /// The name up to its first dot, as it stands in certificate subjects.
    pub fn short_name(&self) -> &str {
        self.name.split('.').next().unwrap_or(&self.name)
    }
}

impl Cluster {
    /// Read `cluster.toml`: its syntax, keys and types. What it means is [`Cluster::problems`].
    ///
    /// # Errors
    /// When `text` is not TOML of this shape; the message holds the line.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let cluster: Self = toml::from_str(text).map_err(|error| ParseError::toml(&error))?;
        match cluster.schema {
            SCHEMA => Ok(cluster),
            found => Err(ParseError::Schema { found }),
        }
    }

    /// The nodes with `role`, in the order of the file.
    pub fn with_role(&self, role: Role) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(move |node| node.is(role))
    }

    /// Whether `node` is the control plane that makes the cluster and speaks for all others.
    pub fn is_first_control_plane(&self, node: &Node) -> bool {
        self.with_role(Role::ControlPlane).next().is_some_and(|first| first.name == node.name)
    }

    /// The node called `name`.
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// The address of the DNS service (kubespray: fourth of the service network, offset 3).
    pub fn cluster_dns(&self) -> Option<IpAddr> {
        self.network.cluster_dns.or_else(|| self.network.service_cidr.address(3))
    }

    /// The address of the `kubernetes` Service: the first after the network's own.
    pub fn service_address(&self) -> Option<IpAddr> {
        self.network.service_cidr.address(1)
    }

    /// The default description, with one node as an example: what `kprep init` starts from.
    pub fn example(name: &str, address: IpAddr) -> Self {
        let roles = vec![Role::ControlPlane, Role::Etcd, Role::Worker];
        let node = Node {
            name: name.into(),
            address,
            access_address: None,
            roles,
            labels: BTreeMap::new(),
            taints: Vec::new(),
        };
        Self { nodes: vec![node], ..Self::default() }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            kubernetes: Kubernetes::default(),
            network: Network::default(),
            host: Host::default(),
            proxy: Proxy::default(),
            download: Download::default(),
            pki: Pki::default(),
            etcd: Etcd::default(),
            containerd: Containerd::default(),
            kubelet: Kubelet::default(),
            kube_proxy: KubeProxy::default(),
            control_plane: ControlPlane::default(),
            kubeadm: Kubeadm::default(),
            addons: Addons::default(),
            nodes: Vec::new(),
        }
    }
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            version: semver::Version::new(1, 33, 3),
            cluster_name: "cluster.local".into(),
            dns_domain: "cluster.local".into(),
            feature_gates: BTreeMap::new(),
        }
    }
}

impl Default for Network {
    #[expect(clippy::unwrap_used, reason = "constants, parsed by the tests below")]
    fn default() -> Self {
        Self {
            service_cidr: "10.233.0.0/18".parse().unwrap(),
            pod_cidr: "10.233.64.0/18".parse().unwrap(),
            node_prefix: 24,
            cluster_dns: None,
            node_ports: "30000-32767".into(),
            flannel: Flannel::default(),
        }
    }
}

impl Default for Flannel {
    fn default() -> Self {
        Self {
            backend: Backend::Vxlan,
            vni: 1,
            port: 8472,
            direct_routing: false,
            interface: String::new(),
            interface_regex: String::new(),
            mtu: 0,
            nftables: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cluster, Role};
    use crate::ParseError;

    const NODE: &str = "[[node]]\nname = 'n1'\naddress = '192.0.2.1'\nroles = ['etcd']\n";

    #[test]
    fn one_node_is_a_cluster() {
        let cluster = Cluster::parse(&format!("schema = 1\n{NODE}")).unwrap();
        assert_eq!(cluster.cluster_dns().unwrap().to_string(), "10.233.0.3");
        assert_eq!(cluster.service_address().unwrap().to_string(), "10.233.0.1");
        assert_eq!(cluster.with_role(Role::Etcd).count(), 1);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let error = Cluster::parse("[network]\npod-cdir = '10.0.0.0/16'").unwrap_err();
        let ParseError::Toml { message, did_you_mean } = error else { panic!("{error}") };
        assert_eq!(did_you_mean.as_deref(), Some("pod-cidr"));
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn a_wrong_type_names_its_line() {
        let error = Cluster::parse("schema = 1\n[network]\nnode-prefix = 'big'").unwrap_err();
        assert!(error.to_string().contains("line 3"), "{error}");
    }
}
