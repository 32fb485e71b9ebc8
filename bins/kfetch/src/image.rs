//! One image: its manifest, its configuration, its layers.

use khost::{Change, Error, Result, fs};
use kspec::{Arch, Sha256};
use serde::Deserialize;

use crate::{
    attempt::Failure,
    download::{Address, Blob, Downloads, Source, Sum},
    index::{Descriptor, Document, Index, Manifest},
    layout,
    progress::Transfer,
    registry::{self, Repository},
    registry_host::RegistryHost,
    store::Store,
    wanted::WantedImage,
};

/// What fetching `image` would change; none when the store has it.
///
/// Layers are told by their sizes: they were hashed when they came, and `kfetch verify` does it
/// again. The manifest, which names them, is always hashed.
pub(crate) fn look(store: &Store, image: &WantedImage) -> Result<Option<Change>> {
    let Some(digest) = image.digest else {
        return Ok(Some(Change::new(format!("fetch image {} (not pinned)", image.text))));
    };
    let fetch = Change::new(format!("fetch image {} ({digest})", image.text));
    if !is_here(store, image)? {
        return Ok(Some(fetch));
    }
    let named = Index::read(store)?.and_then(|index| index.named(&image.text).cloned());
    Ok(match named {
        Some(entry) if entry.digest == digest => None,
        Some(entry) => Some(Change::values(
            format!("name image {} in the store", image.text),
            entry.digest.to_string(),
            digest.to_string(),
        )),
        None => Some(Change::new(format!("name image {} in the store", image.text))),
    })
}

/// Whether the store has the manifest and all that it names.
pub(crate) fn is_here(store: &Store, image: &WantedImage) -> Result<bool> {
    let Some(digest) = image.digest else { return Ok(false) };
    let Some(bytes) = known_manifest(store, digest)? else { return Ok(false) };
    let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else { return Ok(false) };
    for blob in manifest.blobs() {
        if store.size(blob.digest)? != Some(blob.size) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Let the store's index name the image.
pub(crate) fn name(
    store: &Store,
    image: &WantedImage,
    manifest: Descriptor,
    arch: Arch,
) -> Result<()> {
    let mut index = Index::read(store)?.unwrap_or_default();
    index.name(&image.text, manifest, arch);
    index.write(store)
}

/// A manifest that is in the store and is what its name says.
fn known_manifest(store: &Store, digest: Sha256) -> Result<Option<Vec<u8>>> {
    Ok(fs::read(&store.blob(digest))?.filter(|bytes| Sha256::of(bytes) == digest))
}

/// Have everything of `image` in the store; returns its manifest's descriptor.
pub(crate) fn fetch(
    downloads: &Downloads<'_>,
    hosts: &[RegistryHost],
    image: &WantedImage,
    arch: Arch,
    transfer: &Transfer<'_>,
) -> Result<Descriptor> {
    let repositories = repositories(downloads, hosts, image)?;
    let bytes = manifest(downloads, &repositories, image, arch)?;
    let Document::Manifest(manifest) = document(image, &bytes)? else {
        let what = format!("`{}` is pinned to a list of images", image.text);
        return Err(Error::input("digest-of-index", what)
            .because("the digest must be that of the manifest for one architecture")
            .hint("remove the digest from artifacts.lock and run `kfetch lock`"));
    };
    layers(downloads, &repositories, image, &manifest, transfer)?;
    is_for(downloads.store, image, &manifest, arch)?;
    let entry = manifest.descriptor(&bytes);
    layout::write(&downloads.store.blob(entry.digest), &bytes)?;
    Ok(entry)
}

fn repositories(
    downloads: &Downloads<'_>,
    hosts: &[RegistryHost],
    image: &WantedImage,
) -> Result<Vec<Repository>> {
    hosts.iter().map(|host| downloads.registries.repository(host, &image.reference)).collect()
}

/// The manifest for `arch`: the pinned one, or what the tag means now.
fn manifest(
    downloads: &Downloads<'_>,
    repositories: &[Repository],
    image: &WantedImage,
    arch: Arch,
) -> Result<Vec<u8>> {
    if let Some(digest) = image.digest {
        return match known_manifest(downloads.store, digest)? {
            Some(bytes) => Ok(bytes),
            None => ask(downloads, repositories, image, digest),
        };
    }
    tagged(downloads, repositories, image, |repository, found, bytes| match found {
        Document::Manifest(_) => Ok(bytes),
        Document::Index(index) => {
            let lacking = || Failure::Lasting(format!("it has no image for {arch}"));
            let entry = index.for_arch(arch).ok_or_else(lacking)?;
            let (address, digest) = (repository.manifest(Some(entry.digest)), entry.digest);
            registry::document(downloads, &address, Some(digest))
        }
    })
}

/// What `take` makes of what the tag means at the first host where that is of any use: nobody can
/// tell by a digest whether it is right.
fn tagged<T>(
    downloads: &Downloads<'_>,
    repositories: &[Repository],
    image: &WantedImage,
    take: impl Fn(&Repository, Document, Vec<u8>) -> Result<T, Failure>,
) -> Result<T> {
    let resolving = repositories.iter().filter(|from| from.resolves);
    let addresses: Vec<_> = resolving.map(|from| from.manifest(None)).collect();
    downloads.ask(&format!("image {}", image.text), None, &addresses, |address| {
        let bytes = registry::document(downloads, address, None)?;
        let found = Document::parse(&bytes).map_err(Failure::Lasting)?;
        match &address.source {
            Source::Manifest(repository) => take(repository, found, bytes),
            _ => unreachable!("only manifests are asked for"),
        }
    })
}

fn ask(
    downloads: &Downloads<'_>,
    repositories: &[Repository],
    image: &WantedImage,
    digest: Sha256,
) -> Result<Vec<u8>> {
    let addresses: Vec<_> = repositories.iter().map(|from| from.manifest(Some(digest))).collect();
    let get = |address: &Address<'_>| registry::document(downloads, address, Some(digest));
    downloads.ask(&format!("image {}", image.text), Some(digest), &addresses, get)
}

fn layers(
    downloads: &Downloads<'_>,
    repositories: &[Repository],
    image: &WantedImage,
    manifest: &Manifest,
    transfer: &Transfer<'_>,
) -> Result<()> {
    let mut missing = Vec::new();
    for blob in manifest.blobs() {
        if downloads.store.size(blob.digest)? != Some(blob.size) {
            missing.push(blob);
        }
    }
    let (total, sum) = (missing.iter().map(|blob| blob.size).sum(), Sum::default());
    for blob in missing {
        let addresses: Vec<_> = repositories.iter().map(|from| from.blob(blob.digest)).collect();
        let (what, digest, size) = (format!("a layer of {}", image.text), blob.digest, blob.size);
        let wanted = Blob { what: &what, digest, size: Some(size), program: None };
        downloads.blob(wanted, &addresses, &|at, _| transfer.at(sum.at(at), Some(total)))?;
        sum.complete(blob.size);
    }
    Ok(())
}

/// Refuse an image that runs on another architecture: a tag may hold just one.
pub(crate) fn is_for(
    store: &Store,
    image: &WantedImage,
    manifest: &Manifest,
    arch: Arch,
) -> Result<()> {
    let config = fs::read(&store.blob(manifest.config.digest))?.unwrap_or_default();
    if architecture(&config).as_deref() == Some(arch.as_str()) {
        return Ok(());
    }
    Err(not_for(image, arch))
}

/// The architecture that an image's configuration gives.
pub(crate) fn architecture(config: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        architecture: String,
    }
    serde_json::from_slice::<Config>(config).ok().map(|config| config.architecture)
}

fn not_for(image: &WantedImage, arch: Arch) -> Error {
    Error::host("wrong-architecture", format!("`{}` is not for {arch}", image.text))
        .hint(format!("choose an image that is, and correct `{}` in artifacts.lock", image.name))
}

fn document(image: &WantedImage, bytes: &[u8]) -> Result<Document> {
    Document::parse(bytes).map_err(|cause| {
        Error::host("image-unreadable", format!("`{}` cannot be read", image.text))
            .because(cause)
            .hint("see what the registry serves under that name")
    })
}

/// What a tag means now: a manifest digest for each architecture.
pub(crate) fn resolve(
    downloads: &Downloads<'_>,
    hosts: &[RegistryHost],
    image: &WantedImage,
) -> Result<Vec<(Arch, Sha256)>> {
    let repositories = repositories(downloads, hosts, image)?;
    let (found, bytes) =
        tagged(downloads, &repositories, image, |_, found, bytes| Ok((found, bytes)))?;
    let archs = [Arch::Amd64, Arch::Arm64];
    let manifest = match found {
        Document::Index(index) => {
            let entry = |arch| index.for_arch(arch).map(|entry| (arch, entry.digest));
            return Ok(archs.into_iter().filter_map(entry).collect());
        }
        Document::Manifest(manifest) => manifest,
    };
    let config = manifest.config.digest;
    let addresses: Vec<_> = repositories.iter().map(|from| from.blob(config)).collect();
    let get = |address: &Address<'_>| registry::document(downloads, address, Some(config));
    let what = format!("the configuration of {}", image.text);
    let found = architecture(&downloads.ask(&what, Some(config), &addresses, get)?);
    let is = |arch: &Arch| found.as_deref() == Some(arch.as_str());
    Ok(archs.into_iter().filter(is).map(|arch| (arch, Sha256::of(&bytes))).collect())
}
