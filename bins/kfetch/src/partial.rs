//! `partial/HEX`: a blob of which not all bytes have come; it outlives the process.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::PathBuf,
};

use khost::{
    Error, Result,
    fs::{self, Attributes},
};
use kspec::Sha256;
use sha2::Digest as _;

use crate::store::Store;

/// The first bytes of a blob, and their hash so far. What an earlier run left is read and hashed
/// once; attempts that follow each other share it.
pub(crate) struct Partial {
    pub(crate) path: PathBuf,
    file: File,
    hasher: sha2::Sha256,
    pub(crate) length: u64,
}

impl Partial {
    /// What an earlier try left, read and hashed; empty when there was none.
    pub(crate) fn open(store: &Store, digest: Sha256) -> Result<Self> {
        let path = store.partial(digest);
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|error| Error::io("write", &path, error))?;
        let mut partial = Self { path, file: opened, hasher: sha2::Sha256::new(), length: 0 };
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = partial.file.read(&mut buffer).map_err(|error| partial.failed(error))?;
            if length == 0 {
                return Ok(partial);
            }
            partial.hasher.update(&buffer[..length]);
            partial.length += length as u64;
        }
    }

    fn failed(&self, error: io::Error) -> Error {
        Error::io("write", &self.path, error)
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| self.failed(error))?;
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn start_over(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.map_err(|error| self.failed(error))?;
        (self.hasher, self.length) = (sha2::Sha256::new(), 0);
        Ok(())
    }

    pub(crate) fn digest(&self) -> Sha256 {
        Sha256::from_bytes(self.hasher.clone().finalize().into())
    }

    /// Make it the blob `digest`, which it is.
    pub(crate) fn keep(self, store: &Store, digest: Sha256) -> Result<()> {
        let blob = store.blob(digest);
        fs::set(&self.path, Attributes { mode: 0o644, owner: None })?;
        self.file.sync_all().map_err(|error| self.failed(error))?;
        fs::rename(&self.path, &blob)?;
        fs::learned(&blob, digest)
    }

    /// Leave it for a later run; nothing is left of one that is empty.
    pub(crate) fn leave(self) -> Result<()> {
        if self.length > 0 { Ok(()) } else { fs::remove(&self.path) }
    }
}
