//! `kfetch bundle`: everything that the lock names for this machine's architecture, as one tar.
//!
//! An OCI image layout with the lock before it. The same lock gives the same bytes: entries come in
//! one order, and say nothing of who wrote them, when and where. `docs/contract.md` has the format.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufWriter, Read as _, Write},
    path::Path,
};

use indicatif::HumanBytes;
use khost::{
    Change, Error, Result, Tool,
    error::Exit,
    fs::{self, Attributes},
    report::Event,
};
use kspec::{Arch, Lock, Sha256};
use tar::{EntryType, Header};

use crate::{
    hashed::Hashed,
    index::{Document, Index, Manifest},
    layout::OCI_LAYOUT,
    progress::Progress,
    store::Store,
    wanted::{self, Wanted, WantedImage},
};

/// The lock's name in a bundle.
pub(crate) const LOCK: &str = "artifacts.lock";
/// The names of the documents of an image layout.
pub(crate) const DOCUMENTS: [&str; 2] = ["oci-layout", "index.json"];

/// The name of a blob in a bundle.
pub(crate) fn blob_name(digest: Sha256) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// Images of a lock with their manifests, and what they and the files consist of.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) index: Index,
    /// Manifests, by digest.
    pub(crate) manifests: BTreeMap<Sha256, Vec<u8>>,
    /// All other blobs. Only images say how long theirs are.
    pub(crate) blobs: BTreeMap<Sha256, Option<u64>>,
}

impl Contents {
    /// Those of the files of `wanted`, to begin with.
    pub(crate) fn of_files(wanted: &Wanted) -> Self {
        let blobs = wanted.files.iter().map(|file| (file.sha256, None)).collect();
        Self { blobs, ..Self::default() }
    }

    /// Add an image whose manifest is `bytes`.
    pub(crate) fn add(
        &mut self,
        image: &WantedImage,
        manifest: &Manifest,
        bytes: &[u8],
        arch: Arch,
    ) {
        let entry = manifest.descriptor(bytes);
        self.manifests.insert(entry.digest, bytes.into());
        self.blobs.extend(manifest.blobs().map(|blob| (blob.digest, Some(blob.size))));
        self.index.name(&image.text, entry, arch);
    }

    /// How many bytes its blobs have in `store`.
    fn size(&self, store: &Store) -> Result<u64> {
        let mut size = 0;
        for digest in self.manifests.keys().chain(self.blobs.keys()) {
            size += store.size(*digest)?.unwrap_or_default();
        }
        Ok(size)
    }
}

/// Refuse images without a digest for `arch`: a bundle is what the lock says, and nothing else.
pub(crate) fn all_pinned(lock: &Lock, arch: Arch) -> Result<()> {
    let open = lock.images.iter().filter(|image| !image.digest.contains_key(&arch));
    let names: Vec<_> = open.map(|image| image.reference.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let what = format!("artifacts.lock has no digest for {arch} of {}", names.join(", "));
    Err(Error::input("not-pinned", what)
        .because("a bundle holds what the lock names, byte for byte")
        .hint("run `kfetch lock` where the registries answer, then `kfetch apply`"))
}

/// Write the bundle to `to`; `-` is standard output.
pub(crate) fn bundle(tool: &Tool, to: &Path) -> Result<Exit> {
    let (lock, arch, store) = (tool.lock()?, wanted::this_machine()?, Store::new(&tool.host));
    let text = fs::read(&tool.lock_path())?.unwrap_or_default();
    let is_stdout = to == Path::new("-");
    if is_stdout && tool.report.is_json() {
        return Err(Error::input("output-twice", "standard output cannot hold bundle and events")
            .hint("name a file, or leave out --json"));
    }
    all_pinned(&lock, arch)?;
    let wanted = Wanted::new(&lock, arch, &store, None)?;
    let contents = collect(&store, &wanted)?;
    let total = contents.size(&store)?;
    let progress = Progress::new(&tool.report);
    let (id, name) = (format!("bundle:{}", to.display()), to.display().to_string());
    let transfer = progress.start(id.clone(), name, ["bundling", "bundled"]);
    let at = |position| transfer.at(position, Some(total));
    let whole = |to: &mut dyn Write| -> Result<(Sha256, u64)> {
        let mut out = Hashed::telling(BufWriter::with_capacity(1 << 18, to), &at);
        write(&mut out, &text, &contents, &store)?;
        out.flush().map_err(failed)?;
        Ok((out.digest(), out.length))
    };
    let (digest, length) = if is_stdout {
        whole(&mut io::stdout().lock())?
    } else {
        let path = std::path::absolute(to).map_err(failed)?;
        let mut written = (Sha256::of(""), 0);
        fs::write_with(&path, Attributes { mode: 0o644, owner: None }, |file| {
            written = whole(file)?;
            Ok(())
        })?;
        written
    };
    transfer.end();
    let (to, size, digest) = (to.display(), HumanBytes(length), digest.hex());
    let change = Change::new(format!("bundle {to}: {size}, SHA-256 {digest}"));
    if is_stdout {
        tool.report.say(&change.what);
    } else {
        tool.report.step(Event::Changed, &id, &change);
    }
    Ok(Exit::Done)
}

/// What the store has of `wanted`, which must be all.
fn collect(store: &Store, wanted: &Wanted) -> Result<Contents> {
    let mut lacking = BTreeSet::new();
    let mut contents = Contents::of_files(wanted);
    for file in &wanted.files {
        if store.size(file.sha256)?.is_none() {
            lacking.insert(format!("{} {}", file.name, file.version));
        }
    }
    for image in &wanted.images {
        let Some(digest) = image.digest else { continue };
        let bytes = fs::read(&store.blob(digest))?.unwrap_or_default();
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else {
            lacking.insert(image.text.clone());
            continue;
        };
        for blob in manifest.blobs() {
            if store.size(blob.digest)? != Some(blob.size) {
                lacking.insert(image.text.clone());
            }
        }
        contents.add(image, &manifest, &bytes, wanted.arch);
    }
    if lacking.is_empty() {
        return Ok(contents);
    }
    let names = lacking.into_iter().collect::<Vec<_>>().join(", ");
    Err(Error::host("bundle-incomplete", format!("not in the store: {names}"))
        .hint("run `kfetch apply`, then `kfetch bundle` again"))
}

fn failed(error: io::Error) -> Error {
    Error::io("write", Path::new("the bundle"), error)
}

fn write(out: &mut impl Write, lock: &[u8], contents: &Contents, store: &Store) -> Result<()> {
    let index = contents.index.to_json()?;
    let mut archive = tar::Builder::new(out);
    for (name, bytes) in
        [(LOCK, lock), (DOCUMENTS[0], OCI_LAYOUT.as_bytes()), (DOCUMENTS[1], index.as_bytes())]
    {
        archive
            .append(&header(name, bytes.len() as u64).map_err(failed)?, bytes)
            .map_err(failed)?;
    }
    let others = contents.blobs.keys().filter(|digest| !contents.manifests.contains_key(digest));
    for &digest in contents.manifests.keys().chain(others) {
        let path = store.blob(digest);
        let unreadable = |error| Error::io("read", &path, error);
        let file = File::open(&path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let mut blob = Hashed::new(file.take(size));
        let header = header(&blob_name(digest), size).map_err(failed)?;
        archive.append(&header, &mut blob).map_err(failed)?;
        if (blob.digest(), blob.length) != (digest, size) {
            let what = format!("`{}` is {}", path.display(), blob.digest());
            return Err(Error::host("store-damaged", what)
                .hint("run `kfetch verify`, which lists what is damaged and says how to mend it"));
        }
    }
    archive.finish().map_err(failed)
}

/// A header that is the same on every machine.
fn header(name: &str, size: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(name)?;
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    Ok(header)
}
