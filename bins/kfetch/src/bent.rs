//! What fuzzing shares that bends archives.

use std::{fs, path::PathBuf};

use tar::Header;
use tempfile::TempDir;

/// A directory in which one other may be filled.
pub(crate) struct Outer(TempDir);

impl Outer {
    pub(crate) fn new() -> Self {
        Self(TempDir::new_in(fuzz::memory()).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Nothing but `names` is here, and below `root` only plain files and directories.
    pub(crate) fn check(&self, names: &[&str]) {
        assert_eq!(khost::fs::names(self.0.path()).unwrap(), names, "something got out");
        let mut dirs = vec![self.path("root")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                assert!(kind.is_file() || kind.is_dir(), "{} is made", entry.path().display());
                if kind.is_dir() {
                    dirs.push(entry.path());
                }
            }
        }
    }
}

/// `tar` with sound check sums in its headers: no reader looks further without.
pub(crate) fn mended(tar: &[u8]) -> Vec<u8> {
    let (mut tar, mut at) = (tar.to_vec(), 0_usize);
    while let Some(block) = tar.get_mut(at..at.saturating_add(512)) {
        at += 512;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = Header::from_byte_slice(block).entry_size().unwrap_or(0);
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        at = at.saturating_add(size.div_ceil(512).saturating_mul(512));
    }
    tar
}
