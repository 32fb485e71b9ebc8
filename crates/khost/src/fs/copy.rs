//! Copies of large files, which share their blocks where the file system can.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use kspec::Sha256;

use super::{Attributes, copy_hashed, digest::Found, learned, replace};
use crate::error::{Error, Result};

/// Replace `path` with the bytes of `from`, which must have the digest `sha256`.
///
/// On xfs and btrfs no byte of a large file is written: both share their blocks until one of them
/// is changed (reflink). A hard link would be as quick and is never made:
/// who writes over an installed program, as cp(1) does, would write into the store.
pub fn copy(from: &Path, path: &Path, sha256: Sha256, attributes: Attributes) -> Result<()> {
    let mut source = File::open(from).map_err(|error| Error::io("read", from, error))?;
    let mut found = None;
    replace(path, attributes, |file| {
        let digest = copy_to(from, &mut source, file)?;
        found = Some(digest);
        if digest == sha256 { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
    })
    .map_err(|error| match found {
        Some(found) if found != sha256 => {
            Error::host("digest-mismatch", format!("`{}` is {found}, not {sha256}", from.display()))
                .hint("run `kfetch apply` to fetch it again")
        }
        _ => Error::io("write", path, error),
    })?;
    learned(path, sha256)
}

/// Copy `source`, which was opened as `from`, and return the digest of the bytes that were copied.
///
/// Of a large file the source is hashed, not the copy: what was just fetched is in memory, and a
/// copy that shares its blocks would be read from the disk. It is the same digest as long as the
/// source was not changed meanwhile.
fn copy_to(from: &Path, source: &mut File, to: &mut File) -> io::Result<Sha256> {
    let Some(found) = Found::large(&source.metadata()?).filter(|found| found.settle()) else {
        return copy_hashed(source, to);
    };
    // It uses copy_file_range(2), which shares blocks where it can and copies them elsewhere.
    io::copy(source, to)?;
    let digest = super::digest(from).map_err(io::Error::other)?;
    let now = fs::metadata(from)?;
    match digest.filter(|_| Found::large(&now) == Some(found)) {
        Some(digest) => Ok(digest),
        None => Err(io::Error::other(format!("`{}` was changed meanwhile", from.display()))),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests meddle, and need a file system of their own")]
mod tests {
    use std::{
        fs::{self, File},
        path::{Path, PathBuf},
        process::Command,
    };

    use kspec::Sha256;
    use nix::{
        sched::{CloneFlags, unshare},
        sys::statvfs::statvfs,
    };

    use super::{copy, copy_to};
    use crate::{Host, fs::Attributes};

    const ATTRIBUTES: Attributes = Attributes { mode: 0o755, owner: None };
    const MIB: usize = 1 << 20;

    fn run(program: &str, args: &[&str]) {
        let output = Command::new(program).args(args).output();
        let output = output.expect("run `scripts/bootstrap unit` for the programs tests need");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// An xfs of its own, in mounts that only this thread and its children see.
    struct Xfs(tempfile::TempDir);

    impl Xfs {
        fn mount() -> Self {
            let dir = tempfile::tempdir().unwrap();
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            run("mount", &["--make-rprivate", "/"]);
            let image = dir.path().join("image");
            File::create(&image).unwrap().set_len(320 << 20).unwrap(); // mkfs.xfs takes 300 or more
            let xfs = Self(dir);
            fs::create_dir(xfs.path()).unwrap();
            run("mkfs.xfs", &["-q", image.to_str().unwrap()]);
            let at = [image.to_str().unwrap(), xfs.path().to_str().unwrap()].map(str::to_owned);
            run("mount", &["-o", "loop", &at[0], &at[1]]);
            xfs
        }

        fn path(&self) -> PathBuf {
            self.0.path().join("mounted")
        }
    }

    impl Drop for Xfs {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(self.path()).status(); // before its directory goes
        }
    }

    fn used(dir: &Path) -> u64 {
        nix::unistd::sync();
        let found = statvfs(dir).unwrap();
        (found.blocks() - found.blocks_free()) * found.fragment_size()
    }

    #[test]
    fn a_copy_shares_its_blocks_where_the_file_system_can() {
        if !Host::is_root() {
            return println!("not root: no file system is mounted");
        }
        let xfs = Xfs::mount();
        let dir = xfs.path();
        let (from, to) = (dir.join("stored"), dir.join("program"));
        let bytes: Vec<u8> = (0..16).flat_map(|byte| vec![byte; MIB]).collect();
        fs::write(&from, &bytes).unwrap();
        let before = used(&dir);
        copy(&from, &to, Sha256::of(&bytes), ATTRIBUTES).unwrap();
        let written = used(&dir).saturating_sub(before);
        assert!(written < 2 * MIB as u64, "{written} bytes were written");

        // Each is a file of its own: who writes over the program leaves the store alone.
        fs::write(&to, "another program").unwrap();
        assert!(fs::read(&from).unwrap() == bytes, "the store was written to");
    }

    #[test]
    fn a_source_that_changes_meanwhile_is_not_taken_for_what_was_copied() {
        let dir = tempfile::tempdir().unwrap();
        let (from, other) = (dir.path().join("stored"), dir.path().join("other"));
        fs::write(&from, vec![1; 2 * MIB]).unwrap();
        fs::write(&other, vec![2; 2 * MIB]).unwrap();
        let mut to = File::create(dir.path().join("program")).unwrap();
        let mut source = File::open(&from).unwrap();
        assert_eq!(copy_to(&from, &mut source, &mut to).unwrap(), Sha256::of(vec![1; 2 * MIB]));

        let mut source = File::open(&from).unwrap();
        fs::rename(&other, &from).unwrap();
        let error = copy_to(&from, &mut source, &mut to).unwrap_err();
        assert!(error.to_string().ends_with("was changed meanwhile"), "{error}");
    }
}
