//! A file of an image, out of kfetch's store, which is an OCI image layout.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read},
    path::{Component, Path, PathBuf},
};

use flate2::bufread::MultiGzDecoder;
use khost::{Error, Host, Result, fs};
use kspec::{Sha256, paths::STORE_DIR, state::ImageArtifact};
use serde::Deserialize;
use tar::{Archive, EntryType};

/// How a gzip stream begins (RFC 1952).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// No program of a network plugin is larger, in bytes.
const LIMIT: u64 = 256 << 20;

/// What kcni reads of an image's manifest (OCI image specification 1.0; Docker's has the same).
#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
struct Layer {
    digest: Sha256,
}

/// The bytes of `file`, a path from the root of `image`: of the last layer that has it.
///
/// # Errors
/// `artifact-missing`, `digest-mismatch`, `image-unreadable`, `member-missing`.
pub(crate) fn file(host: &Host, image: &ImageArtifact, file: &str) -> Result<Vec<u8>> {
    let manifest = fs::read(&blob(host, image, image.digest)?)?.unwrap_or_default();
    let unreadable = |error: &dyn std::fmt::Display| {
        Error::input("image-unreadable", format!("`{}` cannot be read", image.reference))
            .because(error.to_string())
            .hint("see that it is the image for this machine, in artifacts.lock")
    };
    let manifest: Manifest =
        serde_json::from_slice(&manifest).map_err(|error| unreadable(&error))?;
    for layer in manifest.layers.iter().rev() {
        let path = blob(host, image, layer.digest)?;
        if let Some(bytes) = take(&path, file).map_err(|error| unreadable(&error))? {
            return Ok(bytes);
        }
    }
    Err(Error::input("member-missing", format!("`{}` has no file `/{file}`", image.reference))
        .hint("correct the image in artifacts.lock, then run `kfetch apply`"))
}

/// Where the blob `digest` of `image` is, which it has been found to be.
fn blob(host: &Host, image: &ImageArtifact, digest: Sha256) -> Result<PathBuf> {
    let path = host.path(format!("{STORE_DIR}/blobs/sha256/{}", digest.hex()));
    let (code, what) = match fs::digest(&path)? {
        Some(found) if found == digest => return Ok(path),
        Some(found) => ("digest-mismatch", format!("`{}` is {found}", path.display())),
        None => ("artifact-missing", format!("there is no `{}`", path.display())),
    };
    Err(Error::host(code, what)
        .because(format!("it is of the image `{}`", image.reference))
        .hint("run `kfetch apply` to fetch it again"))
}

/// `file` of the layer at `path`; none when the layer does not have it.
fn take(path: &Path, file: &str) -> io::Result<Option<Vec<u8>>> {
    let mut packed = BufReader::with_capacity(1 << 16, File::open(path)?);
    if packed.fill_buf()?.starts_with(&GZIP) {
        return of_tar(MultiGzDecoder::new(packed), file);
    }
    of_tar(packed, file)
}

fn of_tar(bytes: impl Read, file: &str) -> io::Result<Option<Vec<u8>>> {
    for entry in Archive::new(bytes).entries()? {
        let mut entry = entry?;
        let is_file = matches!(entry.header().entry_type(), EntryType::Regular);
        if is_file && is_called(&entry.path()?, file) {
            let mut bytes = Vec::new();
            entry.by_ref().take(LIMIT).read_to_end(&mut bytes)?;
            let whole = entry.size() == bytes.len() as u64;
            return if whole { Ok(Some(bytes)) } else { Err(io::ErrorKind::FileTooLarge.into()) };
        }
    }
    Ok(None)
}

/// Layers name a file `flannel`, `./flannel` or `/flannel`, as it pleases those who made them.
fn is_called(path: &Path, file: &str) -> bool {
    let named = path.components().filter(|part| matches!(part, Component::Normal(_)));
    named.eq(Path::new(file).components())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use khost::Host;
    use kspec::{Sha256, paths::STORE_DIR, state::ImageArtifact};
    use ktest::Tree;

    use super::{file, take};

    fn tree() -> Tree {
        Tree::new("/bin/true")
    }

    /// What `/flannel` of `image` says, or the code and the words of the error.
    fn read(tree: &Tree, image: &ImageArtifact) -> Result<String, String> {
        match file(&Host::new(tree.root()), image, "flannel") {
            Ok(bytes) => Ok(String::from_utf8(bytes).unwrap()),
            Err(error) => Err(format!("{}: {}", error.code(), error.chain())),
        }
    }

    fn fails(tree: &Tree, image: &ImageArtifact, how: &str) {
        let error = read(tree, image).unwrap_err();
        assert!(error.starts_with(how), "{error}");
        assert!(error.contains("example/plugin:1"), "{error}");
    }

    #[test]
    fn the_last_layer_that_has_it_says_what_it_is() {
        let tree = tree();
        let one = |layers: &[&[(&str, &str)]]| {
            let (_, image) = tree.store_image("plugin", "example/plugin:1", layers);
            read(&tree, &image).unwrap()
        };
        let first = &[("flannel", "first")][..];
        assert_eq!(one(&[first, &[("other", "x"), ("./flannel", "second")]]), "second");
        assert_eq!(one(&[first, &[("bin/flannel", "second")]]), "first");
        assert_eq!(one(&[&[("/flannel", "rooted")], &[]]), "rooted");
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let tree = tree();
        let (_, other) = tree.store_image("plugin", "example/plugin:1", &[&[("other", "x")]]);
        fails(&tree, &other, "member-missing: `example/plugin:1` has no file `/flannel`");

        let manifest = format!("{STORE_DIR}/blobs/sha256/{}", other.digest.hex());
        tree.write(&manifest, "{}");
        fails(&tree, &other, "digest-mismatch: ");
        let none = ImageArtifact { digest: Sha256::of("none"), ..other.clone() };
        fails(&tree, &none, "artifact-missing: there is no ");
        for text in
            ["{}".to_owned(), format!("{{\"layers\":[{{\"digest\":\"{}\"}}]}}", Sha256::of("{}"))]
        {
            tree.store_blob("{}");
            let digest = tree.store_blob(&text);
            fails(&tree, &ImageArtifact { digest, ..other.clone() }, "image-unreadable: ");
        }
    }

    #[test]
    fn a_layer_may_be_compressed() {
        let tree = tree();
        let (_, image) = tree.store_image("plugin", "example/plugin:1", &[&[("flannel", "it")]]);
        let manifest = tree.read(&format!("{STORE_DIR}/blobs/sha256/{}", image.digest.hex()));
        let layer = manifest.split("sha256:").nth(1).unwrap().split('"').next().unwrap();
        let layer = tree.read(&format!("{STORE_DIR}/blobs/sha256/{layer}"));
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(layer.as_bytes()).unwrap();
        file.write_all(&packed.finish().unwrap()).unwrap();
        assert_eq!(take(file.path(), "flannel").unwrap().unwrap(), b"it");
        assert_eq!(take(file.path(), "other").unwrap(), None);
    }
}
