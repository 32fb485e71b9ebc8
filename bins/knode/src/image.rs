//! Images as the store has them: a manifest and the blobs it names, each found by its digest.

use std::path::{Path, PathBuf};

use khost::{Error, Host, Result, fs};
use kspec::{Sha256, paths::STORE_DIR, state::ImageArtifact};
use serde_json::Value;

/// What a manifest is when it does not say (OCI image spec, `manifest.md`).
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image that is whole: its manifest was read and compared, and every blob it names is there.
#[derive(Debug)]
pub(crate) struct Image {
    /// Under which name containerd is to have it.
    pub(crate) reference: String,
    /// Digest of its manifest.
    pub(crate) digest: Sha256,
    /// The manifest's bytes.
    pub(crate) manifest: Vec<u8>,
    /// The manifest's media type.
    pub(crate) media_type: String,
    /// Its config and its layers.
    pub(crate) blobs: Vec<Blob>,
}

/// A blob of the store.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) digest: Sha256,
    pub(crate) path: PathBuf,
    /// Length in bytes.
    pub(crate) size: u64,
}

/// `images` as the store has them.
pub(crate) fn all<'a>(
    host: &Host,
    images: impl IntoIterator<Item = &'a ImageArtifact>,
) -> Result<Vec<Image>> {
    images.into_iter().map(|image| Image::of(host, image)).collect()
}

impl Image {
    fn of(host: &Host, image: &ImageArtifact) -> Result<Self> {
        let path = place(host, image.digest);
        let manifest = fs::read(&path)?.ok_or_else(|| incomplete(image, image.digest))?;
        verify(&path, Sha256::of(&manifest), image.digest)?;
        let parsed: Value = serde_json::from_slice(&manifest).map_err(|error| {
            let message = format!("the manifest of `{}` is not JSON", image.reference);
            Error::host("image-unfit", message).because(error)
        })?;
        let blobs = named(&parsed).into_iter().map(|digest| {
            let digest = digest.ok_or_else(|| for_several(image))?;
            let path = place(host, digest);
            let size = fs::look(&path)?.ok_or_else(|| incomplete(image, digest))?.len();
            Ok(Blob { digest, path, size })
        });
        let media_type = parsed.get("mediaType").and_then(Value::as_str).unwrap_or(OCI_MANIFEST);
        Ok(Self {
            reference: image.reference.clone(),
            digest: image.digest,
            blobs: blobs.collect::<Result<_>>()?,
            media_type: media_type.to_owned(),
            manifest,
        })
    }

    /// Read every blob and compare its digest: the reason, perhaps, why an import failed.
    pub(crate) fn verify(&self) -> Result<()> {
        for Blob { digest, path, .. } in &self.blobs {
            if let Some(found) = fs::read_digest(path)? {
                verify(path, found, *digest)?;
            }
        }
        Ok(())
    }
}

fn place(host: &Host, digest: Sha256) -> PathBuf {
    host.path(STORE_DIR).join("blobs/sha256").join(digest.hex())
}

/// The digests of config and layers; none in place of one that cannot be read.
fn named(manifest: &Value) -> Vec<Option<Sha256>> {
    let layers = manifest.get("layers").and_then(Value::as_array);
    let digest = |descriptor: &Value| descriptor.get("digest")?.as_str()?.parse().ok();
    let config = manifest.get("config").and_then(digest);
    std::iter::once(config).chain(layers.into_iter().flatten().map(digest)).collect()
}

fn for_several(image: &ImageArtifact) -> Error {
    Error::host("image-unfit", format!("`{}` is not an image for one machine", image.reference))
        .because("its manifest names no config and layers by SHA-256")
        .hint("run `kfetch lock` to pin the image for this architecture")
}

fn incomplete(image: &ImageArtifact, digest: Sha256) -> Error {
    Error::host("image-incomplete", format!("the store has not all of `{}`", image.reference))
        .because(format!("{digest} is missing"))
        .hint("run `kfetch apply` to fetch it")
}

/// The same code and hint as for a damaged program (`khost::fs::copy`).
fn verify(path: &Path, found: Sha256, wanted: Sha256) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let message = format!("`{}` is {found}, not {wanted}", path.display());
    Err(Error::host("digest-mismatch", message).hint("run `kfetch apply` to fetch it again"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the store, in a test")]
pub(crate) mod tests {
    use khost::Host;
    use kspec::{Sha256, state::ImageArtifact};
    use serde_json::json;

    use super::{Image, all};

    /// A store in a directory.
    pub(crate) struct Store(tempfile::TempDir);

    impl Store {
        pub(crate) fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("var/lib/k8steps/store/blobs/sha256"))
                .unwrap();
            Self(root)
        }

        pub(crate) fn host(&self) -> Host {
            Host::new(self.0.path())
        }

        pub(crate) fn put(&self, bytes: &[u8]) -> Sha256 {
            let digest = Sha256::of(bytes);
            std::fs::write(super::place(&self.host(), digest), bytes).unwrap();
            digest
        }

        /// An image with `layers`.
        pub(crate) fn image(&self, reference: &str, layers: &[&[u8]]) -> ImageArtifact {
            let layers: Vec<_> = layers
                .iter()
                .map(|layer| json!({ "digest": self.put(layer), "size": layer.len() }))
                .collect();
            let config = self.put(json!({ "of": reference }).to_string().as_bytes());
            let manifest = json!({ "config": { "digest": config }, "layers": layers });
            let digest = self.put(manifest.to_string().as_bytes());
            ImageArtifact { reference: reference.into(), digest }
        }
    }

    #[test]
    fn an_image_is_its_config_and_its_layers() {
        let store = Store::new();
        let images = [store.image("r/a:1", &[b"small"]), store.image("r/b:1", &[b"two", &[0; 9]])];
        let found = all(&store.host(), &images).unwrap();
        let blobs = |image: &Image| (image.reference.clone(), image.blobs.len());
        let found_blobs: Vec<_> = found.iter().map(blobs).collect();
        assert_eq!(found_blobs, [("r/a:1".to_owned(), 2), ("r/b:1".to_owned(), 3)]);
        assert_eq!(found[0].media_type, super::OCI_MANIFEST);
    }

    #[test]
    fn what_is_missing_or_damaged_is_said_before_anything_is_offered() {
        let store = Store::new();
        let image = store.image("r/a:1", &[b"layer"]);
        let layer = super::place(&store.host(), Sha256::of("layer"));

        std::fs::write(&layer, "other").unwrap();
        let whole = Image::of(&store.host(), &image).unwrap();
        assert_eq!(whole.verify().unwrap_err().code(), "digest-mismatch");

        std::fs::remove_file(&layer).unwrap();
        let error = Image::of(&store.host(), &image).unwrap_err();
        assert_eq!((error.code(), error.next().is_some()), ("image-incomplete", true));

        std::fs::write(super::place(&store.host(), image.digest), "{}").unwrap();
        let error = Image::of(&store.host(), &image).unwrap_err();
        assert_eq!(error.code(), "digest-mismatch");
    }

    #[test]
    fn an_index_of_several_machines_is_no_image() {
        let store = Store::new();
        let digest = store.put(json!({ "manifests": [] }).to_string().as_bytes());
        let image = ImageArtifact { reference: "r/a:1".into(), digest };
        let error = Image::of(&store.host(), &image).unwrap_err();
        assert_eq!(error.code(), "image-unfit");
    }
}
