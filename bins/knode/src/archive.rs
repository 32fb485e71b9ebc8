//! Images of the store as streams that containerd imports: each a tar of an OCI image layout with
//! just these images (OCI image spec, `image-layout.md`).

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use khost::{Error, Host, Result, fs};
use kspec::{Sha256, paths::STORE_DIR, state::ImageArtifact};
use serde_json::{Value, json};

/// What containerd calls an image after import (containerd: `images.AnnotationImageName`).
const NAME: &str = "io.containerd.image.name";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An archive about to be written.
#[derive(Debug)]
pub(crate) struct Archive {
    manifests: Vec<Value>,
    blobs: BTreeMap<Sha256, Blob>,
}

/// A blob of the store, with its length in bytes.
#[derive(Debug)]
struct Blob {
    path: PathBuf,
    size: u64,
}

/// `images` as archives that share no layer, the largest first: each can be imported by itself,
/// at the same time as the others, and still no layer is sent twice.
pub(crate) fn apart<'a>(
    host: &Host,
    images: impl IntoIterator<Item = &'a ImageArtifact>,
) -> Result<Vec<Archive>> {
    let mut archives: Vec<Archive> = Vec::new();
    for image in images {
        let whole = Archive::of(host, image)?;
        let (sharing, mut others) =
            archives.into_iter().partition::<Vec<_>, _>(|archive| archive.shares_with(&whole));
        let mut joined = Archive { manifests: Vec::new(), blobs: BTreeMap::new() };
        for archive in sharing.into_iter().chain([whole]) {
            joined.manifests.extend(archive.manifests);
            joined.blobs.extend(archive.blobs);
        }
        others.push(joined);
        archives = others;
    }
    archives.sort_by_key(|archive| std::cmp::Reverse(archive.size()));
    Ok(archives)
}

impl Archive {
    /// The archive of `image`: its manifest is read and found whole, and everything it names is
    /// in the store.
    fn of(host: &Host, image: &ImageArtifact) -> Result<Self> {
        let path = blob(host, image.digest);
        let bytes = fs::read(&path)?.ok_or_else(|| incomplete(image, image.digest))?;
        verify(&path, Sha256::of(&bytes), image.digest)?;
        let manifest: Value = serde_json::from_slice(&bytes).map_err(|error| {
            let message = format!("the manifest of `{}` is not JSON", image.reference);
            Error::host("image-unfit", message).because(error)
        })?;
        let mut blobs = BTreeMap::new();
        for digest in named(&manifest) {
            let digest = digest.ok_or_else(|| {
                let message = format!("`{}` is not an image for one machine", image.reference);
                Error::host("image-unfit", message)
                    .because("its manifest names no config and layers by SHA-256")
                    .hint("run `kfetch lock` to pin the image for this architecture")
            })?;
            let path = blob(host, digest);
            let size = fs::look(&path)?.ok_or_else(|| incomplete(image, digest))?.len();
            blobs.insert(digest, Blob { path, size });
        }
        let manifest = json!({
            "mediaType": manifest.get("mediaType").unwrap_or(&OCI_MANIFEST.into()),
            "digest": image.digest.to_string(),
            "size": bytes.len(),
            "annotations": { NAME: image.reference },
        });
        blobs.insert(image.digest, Blob { path, size: bytes.len() as u64 });
        Ok(Self { manifests: vec![manifest], blobs })
    }

    fn shares_with(&self, other: &Self) -> bool {
        self.blobs.keys().any(|digest| other.blobs.contains_key(digest))
    }

    /// Bytes of all blobs.
    fn size(&self) -> u64 {
        self.blobs.values().map(|blob| blob.size).sum()
    }

    /// Write it out, blob after blob, without holding any in memory.
    pub(crate) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut tar = tar::Builder::new(to);
        let layout = br#"{"imageLayoutVersion":"1.0.0"}"#;
        append(&mut tar, "oci-layout", layout.len() as u64, layout.as_slice())?;
        let index = json!({ "schemaVersion": 2, "manifests": self.manifests }).to_string();
        append(&mut tar, "index.json", index.len() as u64, index.as_bytes())?;
        for (digest, blob) in &self.blobs {
            let file = File::open(&blob.path)?;
            append(&mut tar, &format!("blobs/sha256/{}", digest.hex()), blob.size, file)?;
        }
        tar.finish()
    }

    /// Read every blob and compare its digest: the reason, perhaps, why an import failed.
    pub(crate) fn verify(&self) -> Result<()> {
        for (digest, Blob { path, .. }) in &self.blobs {
            if let Some(found) = fs::digest(path)? {
                verify(path, found, *digest)?;
            }
        }
        Ok(())
    }
}

fn append(
    tar: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    size: u64,
    bytes: impl io::Read,
) -> io::Result<()> {
    let mut header = tar::Header::new_ustar();
    header.set_size(size);
    header.set_mode(0o644);
    tar.append_data(&mut header, name, bytes)
}

fn blob(host: &Host, digest: Sha256) -> PathBuf {
    host.path(STORE_DIR).join("blobs/sha256").join(digest.hex())
}

/// The digests of config and layers; none in place of one that cannot be read.
fn named(manifest: &Value) -> Vec<Option<Sha256>> {
    let layers = manifest.get("layers").and_then(Value::as_array);
    let digest = |descriptor: &Value| descriptor.get("digest")?.as_str()?.parse().ok();
    let config = manifest.get("config").and_then(digest);
    std::iter::once(config).chain(layers.into_iter().flatten().map(digest)).collect()
}

fn incomplete(image: &ImageArtifact, digest: Sha256) -> Error {
    Error::host("image-incomplete", format!("the store has not all of `{}`", image.reference))
        .because(format!("{digest} is missing"))
        .hint("run `kfetch apply` to fetch it")
}

/// The same code and hint as for a damaged program (`khost::fs::copy`).
fn verify(path: &std::path::Path, found: Sha256, wanted: Sha256) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let message = format!("`{}` is {found}, not {wanted}", path.display());
    Err(Error::host("digest-mismatch", message).hint("run `kfetch apply` to fetch it again"))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the store, in a test")]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use khost::Host;
    use kspec::{Sha256, state::ImageArtifact};
    use serde_json::{Value, json};

    use super::{Archive, apart};

    /// A store in a directory.
    struct Store(tempfile::TempDir);

    impl Store {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            std::fs::create_dir_all(root.path().join("var/lib/k8steps/store/blobs/sha256"))
                .unwrap();
            Self(root)
        }

        fn host(&self) -> Host {
            Host::new(self.0.path())
        }

        fn put(&self, bytes: &[u8]) -> Sha256 {
            let digest = Sha256::of(bytes);
            std::fs::write(super::blob(&self.host(), digest), bytes).unwrap();
            digest
        }

        /// An image with `layers`.
        fn image(&self, reference: &str, layers: &[&[u8]]) -> ImageArtifact {
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

    fn members(archive: &Archive) -> BTreeMap<String, Vec<u8>> {
        let mut bytes = Vec::new();
        archive.write(&mut bytes).unwrap();
        let mut found = BTreeMap::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            assert!(found.insert(name, bytes).is_none(), "a member stands twice");
        }
        found
    }

    fn names(archive: &Archive) -> Vec<&str> {
        let names = archive.manifests.iter().map(|manifest| &manifest["annotations"][super::NAME]);
        names.map(|name| name.as_str().unwrap()).collect()
    }

    #[test]
    fn images_share_blobs_and_keep_their_names() {
        let store = Store::new();
        let images =
            [store.image("r/a:1", &[b"base", b"a"]), store.image("r/b:2", &[b"base", b"b"])];
        let archives = apart(&store.host(), &images).unwrap();
        assert_eq!(archives.len(), 1);
        let members = members(&archives[0]);
        // oci-layout, index, two manifests, two configs, three layers
        assert_eq!(members.len(), 9, "{:?}", members.keys());
        let base = format!("blobs/sha256/{}", Sha256::of("base").hex());
        assert_eq!(members[&base], b"base");

        let index: Value = serde_json::from_slice(&members["index.json"]).unwrap();
        let second = &index["manifests"][1];
        assert_eq!(second["annotations"][super::NAME], "r/b:2");
        assert_eq!(second["digest"], images[1].digest.to_string());
        assert_eq!(second["mediaType"], super::OCI_MANIFEST);
        let manifest = &members[&format!("blobs/sha256/{}", images[1].digest.hex())];
        assert_eq!(second["size"], manifest.len());
    }

    #[test]
    fn only_images_that_share_a_layer_go_together_and_the_largest_go_first() {
        let store = Store::new();
        let images = [
            store.image("r/a:1", &[b"base", b"a"]),
            store.image("r/b:1", &[b"alone"]),
            store.image("r/c:1", &[b"of c and d", &[0; 4096]]),
            store.image("r/d:1", &[b"of c and d", b"base"]), // joins a and c
            store.image("r/e:1", &[b"alone as well, and longer"]),
        ];
        let archives = apart(&store.host(), &images).unwrap();
        let found: Vec<_> = archives.iter().map(names).collect();
        assert_eq!(found, [vec!["r/a:1", "r/c:1", "r/d:1"], vec!["r/e:1"], vec!["r/b:1"]]);
    }

    #[test]
    fn what_is_missing_or_damaged_is_said_before_anything_is_sent() {
        let store = Store::new();
        let image = store.image("r/a:1", &[b"layer"]);
        let layer = super::blob(&store.host(), Sha256::of("layer"));

        std::fs::write(&layer, "other").unwrap();
        let archive = Archive::of(&store.host(), &image).unwrap();
        assert_eq!(archive.verify().unwrap_err().code(), "digest-mismatch");

        std::fs::remove_file(&layer).unwrap();
        let error = Archive::of(&store.host(), &image).unwrap_err();
        assert_eq!((error.code(), error.next().is_some()), ("image-incomplete", true));

        std::fs::write(super::blob(&store.host(), image.digest), "{}").unwrap();
        let error = Archive::of(&store.host(), &image).unwrap_err();
        assert_eq!(error.code(), "digest-mismatch");
    }

    #[test]
    fn an_index_of_several_machines_is_no_image() {
        let store = Store::new();
        let digest = store.put(json!({ "manifests": [] }).to_string().as_bytes());
        let image = ImageArtifact { reference: "r/a:1".into(), digest };
        let error = Archive::of(&store.host(), &image).unwrap_err();
        assert_eq!(error.code(), "image-unfit");
    }
}
