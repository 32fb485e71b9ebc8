//! The sections of `cluster.toml` that each belong to one or two tools.
#![expect(clippy::doc_markdown, reason = "these comments are cluster.toml's own, for people")]
#![expect(clippy::doc_link_with_quotes, reason = "the same")]
#![expect(rustdoc::bare_urls, reason = "the same")]

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Extra;

/// `[pki]`: certificates issued by kpki.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Pki {
    /// rsa-2048 as kubespray, or ecdsa-p256
    pub key_algorithm: KeyAlgorithm,
    /// Days an etcd certificate is valid
    pub validity_days: u32,
    /// Days before its end at which apply issues a certificate anew
    pub renew_before_days: u32,
    /// Renew all certificates of the node by a timer, on the first Monday of each month
    pub auto_renew: bool,
    /// Further names and addresses for the etcd certificates
    pub extra_sans: Vec<String>,
    /// Make the machine trust the etcd CA
    pub trust_ca: bool,
}

/// The kind of key in a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits.
    #[serde(rename = "rsa-2048")]
    Rsa2048,
    /// NIST P-256.
    EcdsaP256,
}

/// `[etcd]`: the members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Etcd {
    /// Milliseconds between heartbeats
    pub heartbeat_ms: u32,
    /// Milliseconds without a heartbeat before an election
    pub election_ms: u32,
    /// Commits between snapshots
    pub snapshot_count: u32,
    /// Bytes the database may grow to
    pub quota_bytes: u64,
    /// Bytes of the largest request
    pub max_request_bytes: u32,
    /// Hours of history kept
    pub compaction_hours: u32,
    /// Further ETCD_ variables for etcd.env
    pub extra_env: BTreeMap<String, String>,
    /// Snapshots of what etcd holds
    pub backup: EtcdBackup,
}

/// `[etcd.backup]`: where snapshots go, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EtcdBackup {
    /// Directory for the snapshots that ketcd takes before it restarts etcd, and of `ketcd backup`
    pub dir: PathBuf,
    /// How many are kept there, the oldest go first; 0: all
    pub keep: u32,
    /// When to take one, as OnCalendar= of systemd.timer(5) has it, such as "daily"; empty: never
    pub schedule: String,
}

/// `[kubelet]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Kubelet {
    /// Pods a node may run
    pub max_pods: u32,
    /// Resources kept for Kubernetes' own programs
    pub kube_reserved: BTreeMap<String, String>,
    /// Resources kept for the operating system
    pub system_reserved: BTreeMap<String, String>,
    /// auto: systemd where systemd is at work, else cgroupfs; or either by name
    pub cgroup_driver: CgroupDriver,
    /// Have the cluster's CA sign the certificate that kubelet serves with, so that metrics-server
    /// can verify it; kapps approves what the nodes of this file ask for
    pub rotate_server_certificates: bool,
    /// Further command line flags, e.g. ["--v=4"]
    pub extra_args: Vec<String>,
    /// Further KubeletConfiguration fields, merged over the generated ones
    pub extra: Extra,
}

/// Who makes the control groups of containers; kubelet and containerd must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupDriver {
    /// systemd where it is at work, on cgroup v1 and v2 alike; else cgroupfs.
    Auto,
    /// systemd, as slices and scopes.
    Systemd,
    /// containerd itself, as directories.
    Cgroupfs,
}

/// `[kube-proxy]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct KubeProxy {
    /// iptables, ipvs or nftables
    pub mode: KubeProxyMode,
    /// Further KubeProxyConfiguration fields, merged over the generated ones
    pub extra: Extra,
}

/// How kube-proxy programs the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KubeProxyMode {
    /// iptables rules.
    Iptables,
    /// The kernel's virtual server.
    Ipvs,
    /// nftables rules.
    Nftables,
}

/// `[kubeadm]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Kubeadm {
    /// Preflight checks whose failure kubeadm reports but does not stop at
    pub ignore_preflight_errors: Vec<String>,
    /// Seconds kubeadm init may take
    pub init_timeout_seconds: u64,
    /// How often kubeadm init is run before apply gives up
    pub init_attempts: u32,
    /// Kind of the keys kubeadm makes: RSA-2048, RSA-3072, RSA-4096 or ECDSA-P256
    pub key_algorithm: String,
    /// Hours a certificate of kubeadm's is valid
    pub certificate_validity_hours: u32,
    /// Hours an authority of kubeadm's is valid
    pub ca_validity_hours: u32,
}

/// `[addons]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Addons {
    /// Directory of your own manifests: every *.yaml, *.yml and *.json in it is applied
    pub manifests_dir: PathBuf,
    /// Where CoreDNS asks for names outside the cluster; empty: the node's own resolver
    pub upstream_dns: Vec<String>,
    /// Names of services and pods
    pub coredns: Addon,
    /// Scales CoreDNS with the cluster
    pub dns_autoscaler: Addon,
    /// kubectl top and autoscaling
    pub metrics_server: Addon,
    /// Labels nodes with what their hardware can do
    pub node_feature_discovery: Addon,
    /// The helm program
    pub helm: AddonProgram,
}

/// One add-on that runs in the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Addon {
    /// Install it
    pub enabled: bool,
    /// Tag of its image, such as "v1.12.1"; without it, the one of artifacts.lock
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Image to run, as "registry.example/dns/coredns:v1.12.1"; without it, that of artifacts.lock
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// One add-on that is a program on the machine. Its version is that of artifacts.lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct AddonProgram {
    /// Install it
    pub enabled: bool,
}

impl Default for Pki {
    fn default() -> Self {
        Self {
            key_algorithm: KeyAlgorithm::Rsa2048,
            validity_days: 36500,
            renew_before_days: 30,
            auto_renew: true,
            extra_sans: Vec::new(),
            trust_ca: true,
        }
    }
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            heartbeat_ms: 250,
            election_ms: 5000,
            snapshot_count: 100_000,
            quota_bytes: 2_147_483_648,
            max_request_bytes: 1_572_864,
            compaction_hours: 8,
            extra_env: BTreeMap::new(),
            backup: EtcdBackup::default(),
        }
    }
}

impl Default for EtcdBackup {
    fn default() -> Self {
        Self { dir: "/var/backups/etcd".into(), keep: 5, schedule: String::new() }
    }
}

impl Default for Kubelet {
    fn default() -> Self {
        let reserved = |cpu: &str, memory: &str| {
            [("cpu", cpu), ("memory", memory), ("ephemeral-storage", "500Mi"), ("pid", "1000")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into()
        };
        Self {
            max_pods: 110,
            kube_reserved: reserved("100m", "256Mi"),
            system_reserved: reserved("500m", "512Mi"),
            cgroup_driver: CgroupDriver::Auto,
            rotate_server_certificates: true,
            extra_args: Vec::new(),
            extra: Extra::new(),
        }
    }
}

impl Default for KubeProxy {
    fn default() -> Self {
        Self { mode: KubeProxyMode::Iptables, extra: Extra::new() }
    }
}

impl Default for Kubeadm {
    fn default() -> Self {
        Self {
            ignore_preflight_errors: Vec::new(),
            init_timeout_seconds: 300,
            init_attempts: 3,
            key_algorithm: "RSA-2048".into(),
            certificate_validity_hours: 8760,
            ca_validity_hours: 87600,
        }
    }
}

impl Default for Addons {
    fn default() -> Self {
        Self {
            manifests_dir: "/etc/k8steps/manifests".into(),
            upstream_dns: Vec::new(),
            coredns: Addon::default(),
            dns_autoscaler: Addon::default(),
            metrics_server: Addon::default(),
            node_feature_discovery: Addon::default(),
            helm: AddonProgram::default(),
        }
    }
}

impl Default for Addon {
    fn default() -> Self {
        Self { enabled: true, version: None, image: None }
    }
}

impl Default for AddonProgram {
    fn default() -> Self {
        Self { enabled: true }
    }
}
