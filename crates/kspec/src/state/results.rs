//! The state files of the phases that build the cluster.

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state;
use crate::Sha256;

/// `pki.json`, by kpki: the certificates it looks after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct PkiState {
    /// The format of this file: 1.
    pub schema: u32,
    /// Issuer of the others.
    pub ca: Certificate,
    /// etcd's server and peer certificate; only on members.
    pub member: Option<Certificate>,
    /// etcdctl's client certificate; only on members.
    pub admin: Option<Certificate>,
    /// The API server's client certificate; only on control planes.
    pub node: Option<Certificate>,
}

/// One certificate on disk. Its key is never read into a state file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Certificate {
    /// PEM file with the certificate.
    pub cert: String,
    /// PEM file with the key.
    pub key: String,
    /// Digest of the certificate file, for those who must restart when it changes.
    pub sha256: Sha256,
    /// Subject, as RFC 4514 text.
    pub subject: String,
    /// End of validity, RFC 3339 in UTC.
    pub not_after: String,
}

state!(PkiState, "pki.json", "kpki apply");

/// `etcd.json`, by ketcd: how to reach etcd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct EtcdState {
    /// The format of this file: 1.
    pub schema: u32,
    /// Version of the member on this node, when it is one.
    pub version: Option<String>,
    /// This member's name (`ETCD_NAME`), when it is one.
    pub member: Option<String>,
    /// Client URLs of all members.
    pub endpoints: Vec<String>,
    /// Data directory.
    pub data_dir: String,
}

state!(EtcdState, "etcd.json", "ketcd apply");

/// `node.json`, by knode: the container runtime and the kubelet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct NodeState {
    /// The format of this file: 1.
    pub schema: u32,
    /// Socket of the container runtime, as a CRI endpoint.
    pub cri_socket: String,
    /// Version of containerd.
    pub containerd: String,
    /// Version of runc.
    pub runc: String,
    /// Version of the kubelet.
    pub kubelet: String,
    /// cgroup driver of runtime and kubelet.
    pub cgroup_driver: String,
    /// Open files a container may have.
    pub nofile: u64,
    /// Images imported into containerd: reference to manifest digest.
    pub images: BTreeMap<String, Sha256>,
}

state!(NodeState, "node.json", "knode apply");

/// `control-plane.json`, by kcp: how to reach the API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ControlPlaneState {
    /// The format of this file: 1.
    pub schema: u32,
    /// Kubernetes version of the control plane.
    pub version: String,
    /// Address of the API server for this node's own clients.
    pub local_endpoint: String,
    /// Address of the API server for everyone.
    pub endpoint: String,
    /// The administrator's kubeconfig.
    pub kubeconfig: String,
    /// Digest of the cluster CA certificate file.
    pub ca_sha256: Sha256,
    /// Address of the DNS service.
    pub cluster_dns: IpAddr,
}

state!(ControlPlaneState, "control-plane.json", "kcp apply");

/// `cni.json`, by kcni: the pod network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Cni {
    /// The format of this file: 1.
    pub schema: u32,
    /// `flannel`.
    pub plugin: String,
    /// Version of the plugin's image.
    pub version: String,
    /// Network of all pods.
    pub network: String,
    /// This node's share of it, as flannel was given it.
    pub subnet: String,
    /// Largest packet a pod may send, in bytes.
    pub mtu: u32,
}

state!(Cni, "cni.json", "kcni apply");

/// `apps.json`, by kapps: the add-ons.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Apps {
    /// The format of this file: 1.
    pub schema: u32,
    /// Add-ons that are installed, by name.
    pub apps: BTreeMap<String, App>,
}

/// One installed add-on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct App {
    /// Its image, or the version of its program.
    pub version: String,
    /// Objects it has in the cluster.
    pub objects: Vec<String>,
}

state!(Apps, "apps.json", "kapps apply");
