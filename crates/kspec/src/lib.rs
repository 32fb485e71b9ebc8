//! The files the eight tools exchange, as types: `cluster.toml`, `artifacts.lock` and the JSON
//! state each phase leaves for the next.
//!
//! Nothing here touches a disk or a network: text in, typed values out, and back. A value that
//! exists has been validated, so later code never has to ask again.

mod cidr;
mod digest;
mod document;
mod join_document;
mod lock;
mod nearest;
mod pki_export;
mod published;
mod yaml;

pub mod cluster;
pub mod paths;
pub mod state;

pub use cidr::Cidr;
pub use cluster::{Cluster, Node, Problem, Role};
pub use digest::Sha256;
pub use document::{commented, toml_string};
pub use join_document::JoinDocument;
pub use lock::{Arch, Format, Lock, LockedFile, LockedImage};
pub use pki_export::{PemPair, PkiExport};
pub use published::schemas;
pub use yaml::{from_yaml_documents, to_yaml};

/// The version of every format in this crate. A file that says another is refused.
pub const SCHEMA: u32 = 1;

/// Why a file that a person wrote could not be understood.
#[derive(Debug, thiserror::Error)]
pub enum ParseError {
    /// The text is not TOML, or a value has the wrong type, or a key is unknown.
    #[error("{message}")]
    Toml {
        /// What is wrong, with the line it stands on.
        message: String,
        /// The known key nearest to an unknown one.
        did_you_mean: Option<String>,
    },
    /// The file is of a format this build does not read.
    #[error("schema {found} is not supported, this build reads schema {SCHEMA}")]
    Schema {
        /// The number the file gives.
        found: u32,
    },
}

impl ParseError {
    fn toml(error: &toml::de::Error) -> Self {
        let message = error.to_string().trim_end().to_owned();
        let did_you_mean = nearest::suggestion(error.message());
        Self::Toml { message, did_you_mean }
    }
}
