//! `[control-plane]`: API server, controller manager and scheduler. The defaults are kubespray's
//! (`roles/kubernetes/control-plane/defaults`).
#![expect(clippy::doc_markdown, reason = "these comments are cluster.toml's own, for people")]

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Extra;

/// `[control-plane]`: what is passed on to the static pods. Arguments are kubeadm's `extraArgs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ControlPlane {
    /// Name or address the API server is reached at by all nodes; without it, the first
    /// control plane's address
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Further names and addresses for the API server's certificate
    pub extra_sans: Vec<String>,
    /// Admission plugins to switch on beside the API server's own choice
    pub admission_plugins: Vec<String>,
    /// Admission plugins to switch off
    pub disabled_admission_plugins: Vec<String>,
    /// How long events are kept
    pub event_ttl: String,
    /// How long the API server works at one request
    pub request_timeout: String,
    /// Seconds that pods stay on a node that is not ready, unless they say otherwise
    pub not_ready_toleration_seconds: u32,
    /// Seconds that pods stay on a node that is unreachable, unless they say otherwise
    pub unreachable_toleration_seconds: u32,
    /// How long a node may be silent before it counts as not ready
    pub node_monitor_grace_period: String,
    /// Pods that have ended are kept up to this number
    pub terminated_pod_gc_threshold: u32,
    /// Oldest TLS that is spoken, e.g. "VersionTLS13"; empty: the components' own choice
    pub tls_min_version: String,
    /// Cipher suites that are spoken; empty: the components' own choice
    pub tls_cipher_suites: Vec<String>,
    /// Further kube-apiserver arguments, without the leading dashes
    pub api_server_args: BTreeMap<String, String>,
    /// Further kube-controller-manager arguments
    pub controller_manager_args: BTreeMap<String, String>,
    /// Further kube-scheduler arguments
    pub scheduler_args: BTreeMap<String, String>,
    /// Further KubeSchedulerConfiguration fields, merged over the generated ones
    pub scheduler_extra: Extra,
    /// What the API server writes down of each request
    pub audit: Audit,
    /// Encryption of what etcd stores
    pub encryption: Encryption,
    /// Files and directories of the machine that kube-apiserver sees
    #[serde(rename = "api-server-volume")]
    pub api_server_volumes: Vec<Volume>,
    /// Files and directories of the machine that kube-controller-manager sees
    #[serde(rename = "controller-manager-volume")]
    pub controller_manager_volumes: Vec<Volume>,
    /// Files and directories of the machine that kube-scheduler sees
    #[serde(rename = "scheduler-volume")]
    pub scheduler_volumes: Vec<Volume>,
}

/// `[control-plane.audit]`: the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Audit {
    /// Write it
    pub enabled: bool,
    /// Your own policy (audit.k8s.io/v1), a file on each control plane; without it kubespray's:
    /// secrets by their names alone, noise left out
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_file: Option<PathBuf>,
    /// Directory of kube-apiserver-audit.log on the machine
    pub log_dir: PathBuf,
    /// Days that old files are kept
    pub max_age_days: u32,
    /// Old files that are kept
    pub max_backups: u32,
    /// Megabytes at which a new file begins
    pub max_size_mb: u32,
    /// A kubeconfig file on each control plane, of a server that is sent the events as well
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_config: Option<PathBuf>,
}

/// `[control-plane.encryption]`: encryption at rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Encryption {
    /// Encrypt; the key is made once and stays on the control planes
    pub enabled: bool,
    /// secretbox, aescbc or aesgcm
    pub provider: CipherProvider,
    /// Which resources
    pub resources: Vec<String>,
}

/// How the API server encrypts (`EncryptionConfiguration`, `providers`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CipherProvider {
    /// XSalsa20 and Poly1305.
    Secretbox,
    /// AES-CBC with PKCS#7 padding: weak against padding oracles.
    Aescbc,
    /// AES-GCM with a random nonce: its key must be changed every 200000 writes.
    Aesgcm,
}

/// A directory or file of the machine inside a static pod (kubeadm's `extraVolumes`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Volume {
    /// Its name within the pod
    pub name: String,
    /// Where it is on the machine
    pub host_path: PathBuf,
    /// Where the program finds it
    pub mount_path: PathBuf,
    /// Whether the program may write there
    #[serde(default)]
    pub writable: bool,
}

impl ControlPlane {
    /// `HOST` of an endpoint `HOST:PORT`, without the brackets of an IPv6 address.
    pub fn endpoint_host(&self) -> Option<&str> {
        let given = self.endpoint.as_deref()?;
        if given.parse::<std::net::IpAddr>().is_ok() {
            return Some(given);
        }
        let host = match given.rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => host,
            _ => given,
        };
        Some(host.trim_start_matches('[').trim_end_matches(']'))
    }
}

impl CipherProvider {
    /// As `EncryptionConfiguration` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Secretbox => "secretbox",
            Self::Aescbc => "aescbc",
            Self::Aesgcm => "aesgcm",
        }
    }
}

impl Default for ControlPlane {
    fn default() -> Self {
        Self {
            endpoint: None,
            extra_sans: Vec::new(),
            admission_plugins: Vec::new(),
            disabled_admission_plugins: Vec::new(),
            event_ttl: "1h0m0s".into(),
            request_timeout: "1m0s".into(),
            not_ready_toleration_seconds: 300,
            unreachable_toleration_seconds: 300,
            node_monitor_grace_period: "40s".into(),
            terminated_pod_gc_threshold: 12500,
            tls_min_version: String::new(),
            tls_cipher_suites: Vec::new(),
            api_server_args: BTreeMap::new(),
            controller_manager_args: BTreeMap::new(),
            scheduler_args: BTreeMap::new(),
            scheduler_extra: Extra::new(),
            audit: Audit::default(),
            encryption: Encryption::default(),
            api_server_volumes: Vec::new(),
            controller_manager_volumes: Vec::new(),
            scheduler_volumes: Vec::new(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: false,
            policy_file: None,
            log_dir: "/var/log/kubernetes/audit".into(),
            max_age_days: 30,
            max_backups: 10,
            max_size_mb: 100,
            webhook_config: None,
        }
    }
}

impl Default for Encryption {
    fn default() -> Self {
        let resources = vec!["secrets".into()];
        Self { enabled: false, provider: CipherProvider::Secretbox, resources }
    }
}
