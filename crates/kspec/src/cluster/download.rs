//! `[download]` of `cluster.toml`.

use std::{collections::BTreeMap, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[download]`: where artifacts come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Download {
    /// Base addresses to try before upstream; a file is asked for at BASE/HOST/PATH
    pub mirrors: Vec<String>,
    /// Never ask upstream, only the mirrors and registry hosts named here
    pub mirrors_only: bool,
    /// Downloads at the same time
    pub parallel: u8,
    /// Attempts per address before the next one is tried
    pub attempts: u8,
    /// Seconds without a byte after which a transfer is given up
    pub stall_seconds: u64,
    /// Open no connection: everything must be in the store already
    pub offline: bool,
    /// Versions other than the catalogue's choice for `kfetch lock`, e.g. { etcd = "3.5.24" }
    pub versions: BTreeMap<String, String>,
    /// A PEM file with certificate authorities to trust besides the machine's own
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// A docker config.json with credentials for registries, for kfetch and containerd
    #[serde(skip_serializing_if = "Option::is_none")]
    pub docker_config: Option<PathBuf>,
    /// Addresses of single artifacts, one [[download.artifact]] each
    #[serde(rename = "artifact")]
    pub artifacts: Vec<ArtifactMirrors>,
}

/// One artifact's own mirrors; they are asked before all others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ArtifactMirrors {
    /// Its name in artifacts.lock, e.g. kubelet
    pub name: String,
    /// Whole addresses of the file, in the order to try; {version} and {arch} stand for those of
    /// the lock
    pub urls: Vec<String>,
}

impl Default for Download {
    fn default() -> Self {
        Self {
            mirrors: Vec::new(),
            mirrors_only: false,
            parallel: 4,
            attempts: 4,
            stall_seconds: 30,
            offline: false,
            versions: BTreeMap::new(),
            ca_file: None,
            docker_config: None,
            artifacts: Vec::new(),
        }
    }
}
