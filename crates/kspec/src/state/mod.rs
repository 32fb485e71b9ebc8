//! What each phase leaves for the others: one JSON file under `/var/lib/k8steps`, mode 0644.
//!
//! No file holds a secret or a time of writing: the same machine gives the same bytes.

mod artifacts;
mod facts;
mod results;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

pub use artifacts::{Artifacts, FileArtifact, ImageArtifact, Member};
pub use facts::{
    Capabilities, CgroupVersion, Facts, Family, Kernel, Limits, Os, Resolver, SelinuxMode,
};
pub use results::{App, Apps, Certificate, Cni, ControlPlaneState, EtcdState, NodeState, PkiState};

/// A state file: who writes it, and where.
pub trait State: Serialize + DeserializeOwned + JsonSchema {
    /// Absolute path on the node.
    const PATH: &'static str;
    /// The command that makes it, for the error that says it is missing.
    const MADE_BY: &'static str;

    /// The format the file says it has.
    fn schema(&self) -> u32;

    /// The bytes of the file: pretty JSON and a final newline.
    ///
    /// # Errors
    /// Never for the types of this crate; serde's signature is passed on.
    fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }
}

/// Implements [`State`] for a type with a `schema` field.
macro_rules! state {
    ($type:ty, $file:literal, $made_by:literal) => {
        impl crate::state::State for $type {
            const PATH: &'static str = concat!("/var/lib/k8steps/", $file);
            const MADE_BY: &'static str = $made_by;

            fn schema(&self) -> u32 {
                self.schema
            }
        }
    };
}
use state;
