//! `artifacts.lock`: every file and image a node needs, by version and digest.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ParseError, SCHEMA, Sha256};

/// A processor architecture, in Go's and OCI's spelling.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Arch {
    /// x86-64.
    Amd64,
    /// `AArch64`.
    Arm64,
}

impl Arch {
    /// From the kernel's name for the machine (`uname -m`).
    pub fn from_machine(machine: &str) -> Option<Self> {
        match machine {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// `amd64` or `arm64`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a downloaded file is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The program itself.
    #[default]
    Binary,
    /// A gzip-compressed tar archive; `members` are taken from it.
    #[serde(rename = "tar.gz")]
    TarGz,
}

/// One file to download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedFile {
    /// The name phases ask for, e.g. `kubelet`.
    pub name: String,
    /// The version, without a leading `v`.
    pub version: String,
    /// The architecture it runs on.
    pub arch: Arch,
    /// Where upstream publishes it. Mirrors serve it under `MIRROR/HOST/PATH` of this address.
    pub url: String,
    /// The digest of the bytes at `url`.
    pub sha256: Sha256,
    /// What the bytes are.
    #[serde(default)]
    pub format: Format,
    /// Archive members to take: exact paths, or `dir/*` for every file right below `dir`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

/// One container image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LockedImage {
    /// The name phases ask for, e.g. `coredns`.
    pub name: String,
    /// The full reference, e.g. `registry.k8s.io/pause:3.10`.
    #[serde(rename = "ref")]
    pub reference: String,
    /// The digest of the image manifest for each architecture. One that is missing is resolved
    /// from the tag at first fetch and then kept; `kfetch lock` writes it here.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: BTreeMap<Arch, Sha256>,
}

/// The lock: what to fetch, and how to know that it is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lock {
    /// The format of this file: 1.
    pub schema: u32,
    /// Files.
    #[serde(default, rename = "file")]
    pub files: Vec<LockedFile>,
    /// Images.
    #[serde(default, rename = "image")]
    pub images: Vec<LockedImage>,
}

impl Lock {
    /// Read `artifacts.lock`.
    ///
    /// # Errors
    /// When `text` is not TOML of this shape, or of another schema.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let lock: Self = toml::from_str(text).map_err(|error| ParseError::toml(&error))?;
        match lock.schema {
            SCHEMA => Ok(lock),
            found => Err(ParseError::Schema { found }),
        }
    }

    /// The files for `arch`, in the order of the lock.
    pub fn files_for(&self, arch: Arch) -> impl Iterator<Item = &LockedFile> {
        self.files.iter().filter(move |file| file.arch == arch)
    }
}

#[cfg(test)]
mod tests {
    use super::{Arch, Lock};

    #[test]
    fn the_shipped_lock_holds_both_architectures() {
        let lock = Lock::parse(include_str!("../../../share/artifacts.lock")).unwrap();
        let names = |arch| lock.files_for(arch).map(|file| &file.name).collect::<Vec<_>>();
        assert_eq!(names(Arch::Amd64), names(Arch::Arm64));
        assert_eq!(names(Arch::Amd64).len(), 10);
        assert_eq!(lock.images.len(), 12);
    }

    #[test]
    fn a_later_schema_is_refused() {
        let error = Lock::parse("schema = 2").unwrap_err();
        assert_eq!(error.to_string(), "schema 2 is not supported, this build reads schema 1");
    }

    #[test]
    fn fuzz_lock() {
        fuzz::text_target([include_str!("../../../share/artifacts.lock")], |text| {
            let Ok(lock) = Lock::parse(text) else { return };
            assert_eq!(Lock::parse(&toml::to_string(&lock).unwrap()).unwrap(), lock);
        });
    }
}
