//! What `kpki export` writes for another node, and `kpki import` takes there.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One node's certificates of etcd, with their keys: a secret as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PkiExport {
    /// The format of this document: 1.
    pub schema: u32,
    /// `[[node]] name` of the node it is for.
    pub node: String,
    /// PEM of etcd's authority; while it is being replaced, both, the one that issues first.
    pub ca: String,
    /// By what they are for: `member`, `admin`, `node`; those that the node's roles need.
    pub pairs: BTreeMap<String, PemPair>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PemPair {
    /// PEM of the certificate.
    pub cert: String,
    /// PEM of its private key.
    pub key: String,
}

impl PkiExport {
    /// The document as text: pretty JSON and a final newline.
    ///
    /// # Errors
    /// Never for this type; serde's signature is passed on.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

impl fmt::Debug for PemPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PemPair(..)")
    }
}
