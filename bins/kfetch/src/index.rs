//! `index.json` of the store, and the few fields of OCI documents that kfetch reads.
//!
//! Field names are the OCI image specification's; Docker's schema 2 documents have the same.

use std::collections::BTreeMap;

use khost::{Error, Result, fs};
use kspec::{Arch, Sha256};
use serde::{Deserialize, Serialize};

use crate::{layout, store::Store};

/// What tools that read image layouts know an image by.
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What `ctr images import` takes as the image's name.
const IMAGE_NAME: &str = "io.containerd.image.name";
const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// One blob, as another document names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Sha256,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

/// The machine an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Platform {
    pub(crate) architecture: String,
    pub(crate) os: String,
}

/// A list of manifests: an image for several architectures, or `index.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Vec<Descriptor>,
}

/// The manifest of one image for one architecture.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    media_type: Option<String>,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

/// What a registry has under a tag or digest.
#[derive(Debug)]
pub(crate) enum Document {
    Index(Index),
    Manifest(Manifest),
}

impl Default for Index {
    fn default() -> Self {
        Self { schema_version: 2, media_type: Some(INDEX_TYPE.into()), manifests: Vec::new() }
    }
}

impl Index {
    /// `index.json` of `store`; none when it is missing or cannot be read as one.
    pub(crate) fn read(store: &Store) -> Result<Option<Self>> {
        let text = fs::read_text(&store.path("index.json"))?;
        Ok(text.and_then(|text| serde_json::from_str(&text).ok()))
    }

    pub(crate) fn write(&self, store: &Store) -> Result<()> {
        layout::write(&store.path("index.json"), self.to_json()?.as_bytes())
    }

    /// The bytes of `index.json`.
    pub(crate) fn to_json(&self) -> Result<String> {
        let json = serde_json::to_string_pretty(self)
            .map_err(|error| Error::host("store-failed", "cannot encode").because(error))?;
        Ok(json + "\n")
    }

    /// Keep only the entries with these names; says which have gone.
    pub(crate) fn retain(&mut self, keeps: impl Fn(&str) -> bool) -> Vec<String> {
        let (kept, gone) = std::mem::take(&mut self.manifests)
            .into_iter()
            .partition(|entry| entry.name().is_some_and(&keeps));
        self.manifests = kept;
        let gone: Vec<Descriptor> = gone;
        gone.iter().map(|entry| entry.name().unwrap_or("without a name").to_owned()).collect()
    }

    /// The manifest that `reference` names.
    pub(crate) fn named(&self, reference: &str) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| entry.name() == Some(reference))
    }

    /// Every entry.
    pub(crate) fn manifests(&self) -> &[Descriptor] {
        &self.manifests
    }

    /// The manifest for Linux on `arch`.
    pub(crate) fn for_arch(&self, arch: Arch) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| {
            let platform = entry.platform.as_ref();
            platform.is_some_and(|p| p.os == "linux" && p.architecture == arch.as_str())
        })
    }

    /// Let `reference` name `manifest`. Entries are kept in the order of their names, so that the
    /// same images give the same bytes whichever came first.
    pub(crate) fn name(&mut self, reference: &str, mut manifest: Descriptor, arch: Arch) {
        manifest.platform =
            Some(Platform { architecture: arch.as_str().into(), os: "linux".into() });
        manifest.annotations =
            [REF_NAME, IMAGE_NAME].map(|key| (key.into(), reference.into())).into();
        self.manifests.retain(|entry| entry.name() != Some(reference));
        self.manifests.push(manifest);
        self.manifests.sort_by(|a, b| a.name().cmp(&b.name()));
    }
}

impl Descriptor {
    /// The reference that names it in `index.json`.
    pub(crate) fn name(&self) -> Option<&str> {
        self.annotations.get(REF_NAME).map(String::as_str)
    }
}

impl Manifest {
    /// Config and layers.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        std::iter::once(&self.config).chain(&self.layers)
    }

    /// The entry for `bytes`, which are this manifest.
    pub(crate) fn descriptor(&self, bytes: &[u8]) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone().unwrap_or_else(|| MANIFEST_TYPE.into()),
            digest: Sha256::of(bytes),
            size: bytes.len() as u64,
            platform: None,
            annotations: BTreeMap::new(),
        }
    }
}

impl Document {
    /// # Errors
    /// Why it is neither, as one line.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Either {
            manifests: Option<serde::de::IgnoredAny>,
        }
        let not_one = |error: serde_json::Error| format!("not an image manifest: {error}");
        let either: Either = serde_json::from_slice(bytes).map_err(not_one)?;
        if either.manifests.is_some() {
            return serde_json::from_slice(bytes).map(Self::Index).map_err(not_one);
        }
        serde_json::from_slice(bytes).map(Self::Manifest).map_err(not_one)
    }
}

#[cfg(test)]
mod tests {
    use kspec::{Arch, Sha256};

    use super::{Descriptor, Document, Index};

    fn manifest(of: &str) -> Descriptor {
        Descriptor {
            media_type: super::MANIFEST_TYPE.into(),
            digest: Sha256::of(of),
            size: 3,
            platform: None,
            annotations: [].into(),
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_show() {
        let (mut one, mut two) = (Index::default(), Index::default());
        one.name("b/b:1", manifest("b"), Arch::Amd64);
        one.name("a/a:1", manifest("a"), Arch::Amd64);
        two.name("a/a:1", manifest("old"), Arch::Amd64);
        two.name("a/a:1", manifest("a"), Arch::Amd64);
        two.name("b/b:1", manifest("b"), Arch::Amd64);
        assert_eq!(one, two);
        insta::assert_snapshot!(serde_json::to_string_pretty(&one).unwrap(), @r#"
        {
          "schemaVersion": 2,
          "mediaType": "application/vnd.oci.image.index.v1+json",
          "manifests": [
            {
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "digest": "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
              "size": 3,
              "platform": {
                "architecture": "amd64",
                "os": "linux"
              },
              "annotations": {
                "io.containerd.image.name": "a/a:1",
                "org.opencontainers.image.ref.name": "a/a:1"
              }
            },
            {
              "mediaType": "application/vnd.oci.image.manifest.v1+json",
              "digest": "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d",
              "size": 3,
              "platform": {
                "architecture": "amd64",
                "os": "linux"
              },
              "annotations": {
                "io.containerd.image.name": "b/b:1",
                "org.opencontainers.image.ref.name": "b/b:1"
              }
            }
          ]
        }
        "#);
    }

    #[test]
    fn an_index_is_told_from_a_manifest() {
        let digest = Sha256::of("x");
        let blob = format!(r#"{{"mediaType":"m","digest":"{digest}","size":1,"urls":[]}}"#);
        let manifest = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{blob}]}}"#);
        assert!(matches!(Document::parse(manifest.as_bytes()), Ok(Document::Manifest(_))));
        assert!(matches!(Document::parse(index.as_bytes()), Ok(Document::Index(_))));
        assert!(Document::parse(b"<html>").is_err());
    }

    #[test]
    fn fuzz_document() {
        let digest = Sha256::of("x");
        let platform = r#"{"architecture":"amd64","os":"linux"}"#;
        let blob = format!(
            r#"{{"mediaType":"m","digest":"{digest}","size":1,"platform":{platform},"annotations":{{"a":"b"}}}}"#
        );
        let manifest = format!(r#"{{"schemaVersion":2,"config":{blob},"layers":[{blob}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{blob}]}}"#);
        fuzz::target([manifest, index, platform.to_owned()], |bytes| {
            crate::image::architecture(bytes);
            match Document::parse(bytes) {
                Ok(Document::Index(index)) => {
                    index.for_arch(Arch::Amd64);
                    assert_eq!(
                        serde_json::from_str::<Index>(&index.to_json().unwrap()).unwrap(),
                        index
                    );
                }
                Ok(Document::Manifest(manifest)) => {
                    let entry = manifest.descriptor(bytes);
                    Index::default().name("r", entry, Arch::Amd64);
                    manifest.blobs().for_each(drop);
                }
                Err(_) => {}
            }
        });
    }
}
