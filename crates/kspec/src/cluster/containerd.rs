//! `[containerd]` of `cluster.toml`, with the registries that kfetch uses as well.
#![expect(clippy::doc_markdown, reason = "these comments are cluster.toml's own, for people")]
#![expect(rustdoc::bare_urls, reason = "the same")]

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Extra;

/// `[containerd]`: the runtime.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Containerd {
    /// Open files a container may have; lowered to the machine's hard limit where that is less
    pub nofile: u64,
    /// Remove the distribution's runc package, whose program is in the way of ours; false: refuse
    pub remove_distribution_runc: bool,
    /// Stop and disable another container engine that runs here; false: refuse
    pub stop_other_engines: bool,
    /// Further keys for config.toml, merged over the generated ones
    pub extra: Extra,
    /// Registry mirrors, one [[containerd.registry]] each
    #[serde(rename = "registry")]
    pub registries: Vec<Registry>,
}

/// One registry and the hosts that serve it; used by kfetch and by containerd.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Registry {
    /// The registry as image references name it, e.g. docker.io
    pub prefix: String,
    /// Where to ask when no host answers; without it, https://PREFIX (for docker.io, the host
    /// that serves it: https://registry-1.docker.io)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Hosts to ask first, in order
    #[serde(default, rename = "host")]
    pub hosts: Vec<RegistryHost>,
}

impl Registry {
    /// Where `registry` is asked when no mirror answers, unless its section says otherwise.
    ///
    /// Docker's images have a name of their own for the host that serves them.
    pub fn home(registry: &str) -> String {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        format!("https://{host}")
    }
}

/// One host that serves a registry, with the keys of containerd's hosts.toml.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistryHost {
    /// Its address, e.g. https://mirror.example or http://10.0.0.1:5000; a path goes before /v2
    pub url: String,
    /// What it is asked for: pull (layers, and manifests by digest), resolve (what a tag means),
    /// push; kfetch asks only those that can pull, and for tags only those that resolve
    #[serde(default = "Capability::usual")]
    pub capabilities: Vec<Capability>,
    /// The path of url is all of it: no /v2 is put after it
    #[serde(default)]
    pub override_path: bool,
    /// Accept any certificate
    #[serde(default)]
    pub skip_verify: bool,
    /// A PEM file with the certificate authority of this host
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Certificates to show to this host, e.g. { certificate = "/etc/k8steps/client.pem", key =
    /// "/etc/k8steps/client.key" }; containerd shows the one the host asks for, kfetch the first
    #[serde(default, rename = "client", skip_serializing_if = "Vec::is_empty")]
    pub clients: Vec<ClientPair>,
    /// Headers to send with each request, each with its values; passwords and tokens belong into
    /// docker-config of [download]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Vec<String>>,
    /// Seconds a connection may take; without it, the usual 30
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dial_timeout_seconds: Option<u32>,
}

impl RegistryHost {
    /// The host at `url`, with nothing special about it.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            capabilities: Capability::usual(),
            override_path: false,
            skip_verify: false,
            ca: None,
            clients: Vec::new(),
            headers: BTreeMap::new(),
            dial_timeout_seconds: None,
        }
    }

    /// Whether it is spoken to without TLS.
    pub fn is_plain(&self) -> bool {
        self.url.starts_with("http://")
    }
}

/// What a registry host can do (containerd: `docs/hosts.md`, capabilities).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// Serve manifests by digest, and layers.
    Pull,
    /// Say what a tag means.
    Resolve,
    /// Take images.
    Push,
}

impl Capability {
    /// As kubespray's default mirror has it (`containerd_registries_mirrors`).
    fn usual() -> Vec<Self> {
        vec![Self::Pull, Self::Resolve]
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Resolve => "resolve",
            Self::Push => "push",
        }
    }
}

/// A certificate that is shown to a registry host, and its private key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClientPair {
    /// A PEM file with the certificate, and those it comes from
    pub certificate: PathBuf,
    /// A PEM file with its private key, for its owner alone; without it, the key is in the file
    /// of the certificate
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

impl ClientPair {
    /// The file with the private key.
    pub fn key_file(&self) -> &PathBuf {
        self.key.as_ref().unwrap_or(&self.certificate)
    }
}

impl Default for Containerd {
    fn default() -> Self {
        Self {
            nofile: 65535,
            remove_distribution_runc: false,
            stop_other_engines: false,
            extra: Extra::new(),
            registries: Vec::new(),
        }
    }
}
