//! `artifacts.json`, by kfetch: what is in the store, and where.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state;
use crate::{Arch, Sha256};

/// Everything the lock names for this architecture, fetched and verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Artifacts {
    /// The format of this file: 1.
    pub schema: u32,
    /// The architecture of all of it.
    pub arch: Arch,
    /// Files by the name the lock gives them.
    pub files: BTreeMap<String, FileArtifact>,
    /// Images by the name the lock gives them.
    pub images: BTreeMap<String, ImageArtifact>,
}

/// A downloaded file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct FileArtifact {
    /// Its version.
    pub version: String,
    /// The programs in it by file name: the file itself, or the members taken from an archive.
    pub members: BTreeMap<String, Member>,
}

/// One program in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Member {
    /// Absolute path in the store.
    pub path: String,
    /// Digest of its bytes.
    pub sha256: Sha256,
}

/// An image in the store, which is an OCI image layout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct ImageArtifact {
    /// The full reference pods use, e.g. `registry.k8s.io/pause:3.10`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// Digest of the manifest for this architecture.
    pub digest: Sha256,
}

impl Artifacts {
    /// The program `member` of the file `file`.
    pub fn member(&self, file: &str, member: &str) -> Option<&Member> {
        self.files.get(file)?.members.get(member)
    }
}

state!(Artifacts, "artifacts.json", "kfetch apply");
