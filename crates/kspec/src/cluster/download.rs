//! `[download]` of `cluster.toml`.

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
        }
    }
}
