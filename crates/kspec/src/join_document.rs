//! What `kcp join-command` writes for another node, and `kcp join` takes there.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All that one node needs to become part of the cluster: a secret as a whole.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct JoinDocument {
    /// The format of this document: 1.
    pub schema: u32,
    /// `[[node]] name` of the node it is for.
    pub node: String,
    /// `kubernetes.cluster-name`.
    pub cluster: String,
    /// Kubernetes version of the control plane.
    pub version: String,
    /// `HOST:PORT` of the API server, for everyone.
    pub endpoint: String,
    /// The bootstrap token: `ID.SECRET`.
    pub token: String,
    /// Digest of the cluster authority's public key, as kubeadm takes it: `sha256:HEX`.
    pub ca_key_hash: String,
    /// What the authorities' keys are encrypted with in the cluster; for control planes alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_key: Option<String>,
    /// The keys that what etcd stores is encrypted with, as the API server reads them
    /// (`EncryptionConfiguration`); for control planes, where there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<String>,
    /// Until when it serves, RFC 3339 in UTC.
    pub expires: String,
}

impl JoinDocument {
    /// The document as text: pretty JSON and a final newline.
    ///
    /// # Errors
    /// Never for this type; serde's signature is passed on.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

impl fmt::Debug for JoinDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinDocument")
            .field("node", &self.node)
            .field("endpoint", &self.endpoint)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
