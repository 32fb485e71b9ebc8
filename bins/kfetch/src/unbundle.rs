//! A bundle as it is read: entry by entry, each the one that must come next.

use std::{
    fs::File,
    io::{self, BufReader, Read, Write as _},
    path::{Path, PathBuf},
};

use khost::{
    Error, Result,
    fs::{self, Attributes},
};
use kspec::{Arch, Lock, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::{
    bundle::{self, Contents, DOCUMENTS, LOCK},
    hashed::Hashed,
    index::{Document, Index},
    layout::OCI_LAYOUT,
    registry::DOCUMENT_LIMIT,
    store::Store,
    wanted::Wanted,
};

/// A bundle, before its first byte.
pub(crate) struct Bundle<R: Read> {
    archive: Archive<BufReader<R>>,
    name: PathBuf,
}

/// What is left of it.
pub(crate) struct Entries<'a, R: Read> {
    entries: tar::Entries<'a, BufReader<R>>,
    name: &'a Path,
}

/// What a bundle says of itself: its lock, and the index that must follow from it.
pub(crate) struct Head {
    /// The lock's bytes.
    pub(crate) text: Vec<u8>,
    pub(crate) wanted: Wanted,
    index: Vec<u8>,
}

impl<R: Read> Bundle<R> {
    /// The bundle that `source` gives; people call it `name`.
    pub(crate) fn new(source: R, name: &Path) -> Self {
        let archive = Archive::new(BufReader::with_capacity(1 << 18, source));
        Self { archive, name: name.to_owned() }
    }

    pub(crate) fn entries(&mut self) -> Result<Entries<'_, R>> {
        let entries = self.archive.entries().map_err(|error| damaged(&self.name, &error))?;
        // Raw: what tar has for long names and the like is no part of a bundle.
        Ok(Entries { entries: entries.raw(true), name: &self.name })
    }

    /// Make sure that only zeros follow the last entry, as tar has them; what it was read from.
    pub(crate) fn end(self) -> Result<R> {
        let mut source = self.archive.into_inner();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match source.read(&mut buffer).map_err(|error| damaged(&self.name, &error))? {
                0 => return Ok(source.into_inner()),
                length if buffer[..length].iter().all(|byte| *byte == 0) => {}
                _ => return Err(invalid(&self.name, "something follows its end")),
            }
        }
    }
}

impl<'a, R: Read> Entries<'a, R> {
    /// Read the lock and the index. Refuses a bundle for another architecture than `arch`.
    pub(crate) fn head(&mut self, arch: Arch, store: &Store) -> Result<Head> {
        let text = self.document(LOCK)?;
        let lock = Lock::parse(&String::from_utf8_lossy(&text))
            .map_err(|error| self.invalid(&format!("its artifacts.lock is not valid: {error}")))?;
        if self.document(DOCUMENTS[0])? != OCI_LAYOUT.as_bytes() {
            return Err(self.invalid("its oci-layout is another one"));
        }
        let index = self.document(DOCUMENTS[1])?;
        let parsed: Index = serde_json::from_slice(&index)
            .map_err(|error| self.invalid(&format!("its index.json is not valid: {error}")))?;
        let found = parsed.manifests().iter().filter_map(|entry| entry.platform.as_ref());
        if let Some(other) = found.map(|p| &p.architecture).find(|a| *a != arch.as_str()) {
            let what = format!("`{}` is for {other}", self.name.display());
            return Err(Error::input("wrong-architecture", what)
                .hint(format!("run `kfetch bundle` on a machine that is {arch}")));
        }
        bundle::all_pinned(&lock, arch)?;
        let wanted = Wanted::new(&lock, arch, store, None)?;
        Ok(Head { text, wanted, index })
    }

    /// Read the manifests that the lock names; `take` has each.
    pub(crate) fn manifests(
        &mut self,
        head: &Head,
        take: impl Fn(Sha256, &[u8]) -> Result<()>,
    ) -> Result<Contents> {
        let mut contents = Contents::of_files(&head.wanted);
        let mut images: Vec<_> = head.wanted.images.iter().collect();
        images.sort_by_key(|image| image.digest);
        for image in images {
            let Some(digest) = image.digest else { continue };
            let bytes = match contents.manifests.get(&digest) {
                Some(known) => known.clone(), // two names for one image
                None => self.document(&bundle::blob_name(digest))?,
            };
            self.compare(digest, Sha256::of(&bytes))?;
            let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else {
                return Err(self.invalid(&format!("{} is no image's manifest", image.text)));
            };
            contents.add(image, &manifest, &bytes, head.wanted.arch);
            take(digest, &bytes)?;
        }
        if contents.index.to_json()?.as_bytes() != head.index {
            return Err(self.invalid("its index.json is not that of its lock"));
        }
        Ok(contents)
    }

    /// Read all other blobs into `store`, and make sure that nothing follows them.
    pub(crate) fn blobs(&mut self, contents: &Contents, store: &Store) -> Result<()> {
        let others =
            contents.blobs.iter().filter(|(digest, _)| !contents.manifests.contains_key(digest));
        for (&digest, &size) in others {
            let mut entry = self.next(&bundle::blob_name(digest))?;
            let found = entry.size();
            if size.is_some_and(|size| size != found) {
                let what = format!("{} has {found} bytes", bundle::blob_name(digest));
                return Err(self.invalid(&what));
            }
            if store.size(digest)? == Some(found) {
                let found = fs::copy_hashed(&mut entry, &mut io::sink());
                self.compare(digest, found.map_err(|error| damaged(self.name, &error))?)?;
            } else {
                self.keep(digest, &mut entry, store)?;
            }
        }
        match self.entries.next() {
            None => Ok(()),
            Some(entry) => {
                let entry = entry.map_err(|error| damaged(self.name, &error))?;
                let name = shown(&entry.path_bytes());
                Err(self.invalid(&format!("it has `{name}` behind its last blob")))
            }
        }
    }

    /// Have the blob in the store, under its name only once it is known to be right.
    fn keep(&self, digest: Sha256, entry: &mut impl Read, store: &Store) -> Result<()> {
        let aside = store.partial(digest);
        if let Err(error) = self.copy(digest, entry, &aside) {
            fs::remove(&aside)?;
            return Err(error);
        }
        fs::rename(&aside, &store.blob(digest))
    }

    fn copy(&self, digest: Sha256, entry: &mut impl Read, to: &Path) -> Result<()> {
        let failed = |error| Error::io("write", to, error);
        let mut file = File::create(to).map_err(failed)?;
        let (mut entry, mut buffer) = (Hashed::new(entry), vec![0; 1 << 18]);
        loop {
            match entry.read(&mut buffer).map_err(|error| damaged(self.name, &error))? {
                0 => break,
                length => file.write_all(&buffer[..length]).map_err(failed)?,
            }
        }
        self.compare(digest, entry.digest())?;
        fs::set(to, Attributes { mode: 0o644, owner: None })?;
        file.sync_all().map_err(failed)
    }

    /// The next entry, which must be a plain file called `name`.
    fn next(&mut self, name: &str) -> Result<Entry<'a, BufReader<R>>> {
        let entry = match self.entries.next() {
            Some(entry) => entry.map_err(|error| damaged(self.name, &error))?,
            None => return Err(damaged(self.name, &io::ErrorKind::UnexpectedEof.into())),
        };
        let (found, kind) = (entry.path_bytes().into_owned(), entry.header().entry_type());
        if kind != EntryType::Regular || found != name.as_bytes() {
            let found = shown(&found);
            let what = format!("it has `{found}` ({kind:?}) where the file `{name}` must be");
            return Err(self.invalid(&what));
        }
        Ok(entry)
    }

    fn document(&mut self, name: &str) -> Result<Vec<u8>> {
        let bundle = self.name;
        let mut entry = self.next(name)?;
        if entry.size() > DOCUMENT_LIMIT {
            return Err(invalid(bundle, &format!("its `{name}` is too long")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| damaged(bundle, &error))?;
        if bytes.len() as u64 != entry.size() {
            return Err(damaged(bundle, &io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(bytes)
    }

    fn compare(&self, wanted: Sha256, found: Sha256) -> Result<()> {
        if found == wanted {
            return Ok(());
        }
        let cause = format!("{} is {found}", bundle::blob_name(wanted));
        Err(damaged(self.name, &io::Error::other(cause)))
    }

    fn invalid(&self, why: &str) -> Error {
        invalid(self.name, why)
    }
}

/// What a bundle has may be anything: as much of it as a terminal bears.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().take(160).map(|char| if char.is_control() { '?' } else { char }).collect()
}

fn invalid(bundle: &Path, why: &str) -> Error {
    Error::input("bundle-invalid", format!("`{}` is no bundle of kfetch", bundle.display()))
        .because(why)
        .hint("make it with `kfetch bundle`; what others made or changed is not taken")
}

fn damaged(bundle: &Path, error: &io::Error) -> Error {
    let what = format!("`{}` is damaged or cut off", bundle.display());
    Error::host("bundle-damaged", what).because(shown(error.to_string().as_bytes())).hint(
        "copy it again; its SHA-256 (`sha256sum`) must be the one that `kfetch bundle` printed",
    )
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use khost::{Host, Result};
    use kspec::{Arch, Lock, Sha256};
    use tar::{Builder, Header};

    use super::Bundle;
    use crate::{
        bent::{Outer, mended},
        bundle::{Contents, DOCUMENTS, LOCK, blob_name},
        index::Document,
        layout::{self, OCI_LAYOUT},
        store::Store,
        wanted::Wanted,
    };

    /// What `kfetch load` does with `bundle`, but for the lock and the index.
    fn load(bundle: &[u8], store: &Store) -> Result<()> {
        let mut bundle = Bundle::new(bundle, Path::new("bundle"));
        let mut entries = bundle.entries()?;
        let head = entries.head(Arch::Amd64, store)?;
        let keep = |digest, bytes: &[u8]| layout::write(&store.blob(digest), bytes);
        let contents = entries.manifests(&head, keep)?;
        entries.blobs(&contents, store)?;
        bundle.end().map(drop)
    }

    /// A file, an image of one layer, and what the bundle says of them.
    fn sound(store: &Store) -> Vec<u8> {
        let (file, config, layer) = ("the kubelet", r#"{"architecture":"amd64"}"#, "the layer");
        let blob = |bytes: &str| {
            let (digest, size) = (Sha256::of(bytes), bytes.len());
            format!(r#"{{"mediaType":"m","digest":"{digest}","size":{size}}}"#)
        };
        let manifest = format!(r#"{{"config":{},"layers":[{}]}}"#, blob(config), blob(layer));
        let lock = format!(
            "schema = 1\n[[file]]\nname = 'kubelet'\nversion = '1'\narch = 'amd64'\nurl = 'http://h/k'\n\
             sha256 = '{}'\n[[image]]\nname = 'one'\nref = 'r.example/one:1'\ndigest = {{ amd64 = '{}' }}\n",
            Sha256::of(file).hex(),
            Sha256::of(&manifest)
        );
        let parsed = Lock::parse(&lock).unwrap();
        let wanted = Wanted::new(&parsed, Arch::Amd64, store, None).unwrap();
        let mut contents = Contents::of_files(&wanted);
        let Ok(Document::Manifest(parsed)) = Document::parse(manifest.as_bytes()) else { panic!() };
        contents.add(&wanted.images[0], &parsed, manifest.as_bytes(), Arch::Amd64);
        let index = contents.index.to_json().unwrap();
        let mut blobs = [file, config, layer].map(|bytes| (Sha256::of(bytes), bytes));
        blobs.sort();
        let named = [(LOCK, &*lock), (DOCUMENTS[0], OCI_LAYOUT), (DOCUMENTS[1], &index)];
        let named = named.map(|(name, bytes)| (name.to_owned(), bytes)).into_iter();
        let manifest = (blob_name(Sha256::of(&manifest)), manifest.as_str());
        let blobs = blobs.map(|(digest, bytes)| (blob_name(digest), bytes));
        let mut tar = Builder::new(Vec::new());
        for (name, bytes) in named.chain([manifest]).chain(blobs) {
            let mut header = Header::new_ustar();
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, name, bytes.as_bytes()).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn store(outer: &Outer) -> Store {
        let store = Store::new(&Host::new(outer.path("root")));
        for path in [store.blob(Sha256::of("")), store.partial(Sha256::of(""))] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        store
    }

    #[test]
    fn fuzz_bundle() {
        let outer = Outer::new();
        let seed = sound(&store(&outer));
        load(&seed, &store(&outer)).unwrap();
        fuzz::target([seed], |bytes| {
            let outer = Outer::new();
            let _ = load(&mended(bytes), &store(&outer));
            outer.check(&["root"]);
        });
    }
}
