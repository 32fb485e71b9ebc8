//! A reader or writer that knows the digest and length of what went through it.

use std::io::{self, Read, Write};

use kspec::Sha256;
use sha2::Digest as _;

/// What goes through `inner`, counted and hashed.
pub(crate) struct Hashed<'a, T> {
    inner: T,
    hasher: sha2::Sha256,
    pub(crate) length: u64,
    told: Option<&'a dyn Fn(u64)>,
}

impl<'a, T> Hashed<'a, T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: sha2::Sha256::new(), length: 0, told: None }
    }

    /// One that tells `told` how much has gone through.
    pub(crate) fn telling(inner: T, told: &'a dyn Fn(u64)) -> Self {
        Self { told: Some(told), ..Self::new(inner) }
    }

    /// Of everything so far.
    pub(crate) fn digest(&self) -> Sha256 {
        Sha256::from_bytes(self.hasher.clone().finalize().into())
    }

    fn went(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
        if let Some(told) = self.told {
            told(self.length);
        }
    }
}

impl<T: Read> Read for Hashed<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.went(&buffer[..length]);
        Ok(length)
    }
}

impl<T: Write> Write for Hashed<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.inner.write(bytes)?;
        self.went(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
