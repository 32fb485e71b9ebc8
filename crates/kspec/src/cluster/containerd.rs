//! `[containerd]` of `cluster.toml`, with the registries that kfetch uses as well.
#![expect(clippy::doc_markdown, reason = "these comments are cluster.toml's own, for people")]
#![expect(rustdoc::bare_urls, reason = "the same")]

use std::path::PathBuf;

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

/// One host that serves a registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistryHost {
    /// Its address, e.g. https://mirror.example or http://10.0.0.1:5000
    pub url: String,
    /// Accept any certificate
    #[serde(default)]
    pub skip_verify: bool,
    /// A PEM file with the certificate authority of this host
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
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
