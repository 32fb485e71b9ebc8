//! The store: one OCI image layout for files and images alike, and what was unpacked from archives.
//!
//! ```text
//! oci-layout, index.json           images only, by reference
//! blobs/sha256/HEX                 downloaded files, manifests, configs, layers
//! unpacked/HEX/NAME                members of the archive HEX
//! unpacked/HEX.json                what they should be
//! partial/HEX                      a download that is not complete
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use khost::{Host, Result, fs};
use kspec::{Sha256, paths::STORE_DIR};

/// Where things are in the store of one machine.
#[derive(Debug)]
pub(crate) struct Store {
    host: Host,
    claims: Mutex<Claims>,
    freed: Condvar,
    known: Mutex<BTreeMap<PathBuf, Known>>,
}

/// The digest of a file, and the file as it was when it was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    stamp: [u64; 6],
    digest: Sha256,
}

/// Whatever changes a file or puts another in its place changes one of these.
fn stamp(found: &Metadata) -> [u64; 6] {
    let (seconds, nanoseconds) = (found.ctime(), found.ctime_nsec());
    let [seconds, nanoseconds] = [seconds, nanoseconds].map(i64::cast_unsigned);
    [found.dev(), found.ino(), found.size(), u64::from(found.mode()), seconds, nanoseconds]
}

#[derive(Debug, Default)]
struct Claims {
    busy: BTreeSet<Sha256>,
    fetched: BTreeSet<Sha256>,
}

/// The right to fetch one blob: two images often share a layer.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    store: &'a Store,
    digest: Sha256,
}

impl Store {
    pub(crate) fn new(host: &Host) -> Self {
        let (claims, known) = (Mutex::default(), Mutex::default());
        Self { host: host.clone(), claims, freed: Condvar::new(), known }
    }

    /// The path of a blob on the host, as other phases read it.
    pub(crate) fn blob_name(digest: Sha256) -> String {
        format!("{STORE_DIR}/blobs/sha256/{}", digest.hex())
    }

    /// The path on the host of `name`, unpacked from the archive `digest`.
    pub(crate) fn member_name(digest: Sha256, name: &str) -> String {
        format!("{STORE_DIR}/unpacked/{}/{name}", digest.hex())
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.host.path(STORE_DIR).join(below)
    }

    pub(crate) fn blob(&self, digest: Sha256) -> PathBuf {
        self.host.path(Self::blob_name(digest))
    }

    pub(crate) fn partial(&self, digest: Sha256) -> PathBuf {
        self.path("partial").join(digest.hex())
    }

    /// How long a blob is; none when it is not there.
    pub(crate) fn size(&self, digest: Sha256) -> Result<Option<u64>> {
        let found = fs::look(&self.blob(digest))?;
        Ok(found.filter(std::fs::Metadata::is_file).map(|found| found.len()))
    }

    /// The digest of the file at `path`; none when it does not exist. A file that this run has
    /// hashed, and that has not been touched since, is not read again.
    pub(crate) fn digest(&self, path: &Path) -> Result<Option<Sha256>> {
        let Some(found) = fs::look(path)? else { return Ok(None) };
        let stamp = stamp(&found);
        let known = self.known().get(path).filter(|known| known.stamp == stamp).cloned();
        if let Some(known) = known {
            return Ok(Some(known.digest));
        }
        let digest = fs::digest(path)?;
        if let (Some(digest), true) = (digest, found.is_file()) {
            self.known().insert(path.into(), Known { stamp, digest });
        }
        Ok(digest)
    }

    /// The file at `path` was hashed as it was written: it has this digest.
    pub(crate) fn learned(&self, path: &Path, digest: Sha256) -> Result<()> {
        if let Some(found) = fs::look(path)? {
            self.known().insert(path.into(), Known { stamp: stamp(&found), digest });
        }
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wait until nobody else fetches `digest`, then have it to oneself; none when it has been
    /// fetched meanwhile.
    pub(crate) fn claim(&self, digest: Sha256) -> Option<Claim<'_>> {
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        while claims.busy.contains(&digest) {
            claims = self.freed.wait(claims).unwrap_or_else(PoisonError::into_inner);
        }
        if claims.fetched.contains(&digest) {
            return None;
        }
        claims.busy.insert(digest);
        Some(Claim { store: self, digest })
    }
}

impl Claim<'_> {
    /// The blob is in the store and verified.
    pub(crate) fn fetched(self) {
        let mut claims = self.store.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.fetched.insert(self.digest);
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut claims = self.store.claims.lock().unwrap_or_else(PoisonError::into_inner);
        claims.busy.remove(&self.digest);
        self.store.freed.notify_all();
    }
}
