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
    collections::BTreeSet,
    path::PathBuf,
    sync::{Condvar, Mutex, PoisonError},
};

use khost::{Host, Result, fs};
use kspec::{Sha256, paths::STORE_DIR};

/// Where things are in the store of one machine.
#[derive(Debug)]
pub(crate) struct Store {
    host: Host,
    claims: Mutex<Claims>,
    freed: Condvar,
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
        Self { host: host.clone(), claims: Mutex::default(), freed: Condvar::new() }
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
