//! Digests of files, large ones read once.
//!
//! Programs and images have hundreds of megabytes, and a look at the machine asks for the digest of
//! all of them. A digest is known as long as its file is the one that was read: whatever changes a
//! file, or puts another in its place, changes its time of change (ctime, which no call sets:
//! inode(7)), its size or its inode number. What a phase knows at the end of an `apply` it
//! knows again in its next run.

use std::{
    collections::BTreeMap,
    fs::{File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use kspec::Sha256;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{Attributes, absent, look, make_dirs, read, remove, remove_empty_dir, write};
use crate::{Host, error::Result, wait};

/// Where they are kept on the machine, in a file for each phase.
const KEPT: &str = "/var/lib/k8steps/digests";
/// Bytes from which on a digest is worth remembering; below, reading is as quick.
const LARGE: u64 = 1 << 20;
/// Two changes within one tick of the kernel have the same time: a file is read when the last one
/// is older than the longest tick there is (10 ms, of 100 Hz), or what came after would not show.
const TICK: Duration = Duration::from_millis(20);

static KNOWN: LazyLock<Mutex<Table>> = LazyLock::new(Mutex::default);

/// The digest of the file at `path`; none when it does not exist.
pub fn digest(path: &Path) -> Result<Option<Sha256>> {
    let Some(found) = large(path)? else { return read_digest(path) };
    if let Some(known) = known().get(path, found) {
        return Ok(Some(known));
    }
    let settled = found.settle();
    let digest = read_digest(path)?;
    // Only if it is still the file that was looked at.
    if let (Some(sha256), true) = (digest, settled && large(path)? == Some(found)) {
        known().0.insert(path.into(), Known { found, sha256 });
    }
    Ok(digest)
}

/// The same, of the bytes that are there now, whatever is known of the file.
pub fn read_digest(path: &Path) -> Result<Option<Sha256>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if absent(&error) => return Ok(None),
        Err(error) => return Err(crate::Error::io("read", path, error)),
    };
    copy_hashed(&mut file, &mut io::sink())
        .map(Some)
        .map_err(|error| crate::Error::io("read", path, error))
}

/// The file at `path` was hashed as it was written: it has the digest `sha256`.
pub fn learned(path: &Path, sha256: Sha256) -> Result<()> {
    if let Some(found) = large(path)? {
        known().0.insert(path.into(), Known { found, sha256 });
    }
    Ok(())
}

/// Copy everything and return the digest of what went through.
pub fn copy_hashed(from: &mut impl Read, to: &mut impl io::Write) -> io::Result<Sha256> {
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(Sha256::from_bytes(hasher.finalize().into())),
            Ok(length) => {
                hasher.update(&buffer[..length]);
                to.write_all(&buffer[..length])?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Know what earlier runs of `phase` knew. A file that is none of ours is as good as none.
pub(crate) fn recall(host: &Host, phase: &str) {
    let bytes = host.is_live().then(|| read(&kept(host, phase)).ok().flatten()).flatten();
    let table = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    *known() = table;
}

/// Keep what is known for the next run of `phase`; nothing is written where nothing is new. In
/// a tree nothing is kept: it would differ from one tree to the next.
pub(crate) fn keep(host: &Host, phase: &str) -> Result<()> {
    let (path, mut known) = (kept(host, phase), known());
    known.0.retain(|path, known| large(path).is_ok_and(|now| now == Some(known.found)));
    let Some(dir) = path.parent().filter(|_| host.is_live() && !known.0.is_empty()) else {
        return Ok(());
    };
    let bytes = serde_json::to_vec(&*known).unwrap_or_default();
    if read(&path)?.as_ref() == Some(&bytes) {
        return Ok(());
    }
    make_dirs(dir, 0o755)?;
    write(&path, &bytes, Attributes { mode: 0o644, owner: None })
}

/// Forget what was kept for `phase`.
pub(crate) fn forget(host: &Host, phase: &str) -> Result<()> {
    remove(&kept(host, phase))?;
    remove_empty_dir(&host.path(KEPT)).map(drop)
}

fn kept(host: &Host, phase: &str) -> PathBuf {
    host.path(KEPT).join(format!("{phase}.json"))
}

fn known() -> MutexGuard<'static, Table> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the file at `path` is told from others; none when it is not there, small, or no file.
fn large(path: &Path) -> Result<Option<Found>> {
    Ok(look(path)?.as_ref().and_then(Found::large))
}

/// The files that are known, by path.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Table(BTreeMap<PathBuf, Known>);

impl Table {
    fn get(&self, path: &Path, found: Found) -> Option<Sha256> {
        self.0.get(path).filter(|known| known.found == found).map(|known| known.sha256)
    }
}

/// A file as it was when it was read, and what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    #[serde(flatten)]
    found: Found,
    sha256: Sha256,
}

/// What tells a file from any other, and from itself at another time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    inode: u64,
    size: u64,
    /// ctime, in seconds since the epoch and nanoseconds.
    changed: (i64, u32),
}

impl Found {
    /// How a file that is worth it is told from others.
    pub(super) fn large(file: &Metadata) -> Option<Self> {
        let nanoseconds = u32::try_from(file.ctime_nsec()).unwrap_or_default();
        let changed = (file.ctime(), nanoseconds);
        let worth = file.is_file() && file.len() >= LARGE;
        worth.then(|| Self { inode: file.ino(), size: file.len(), changed })
    }

    /// Wait until another change would have another time. Whether that is so: a time to come,
    /// after a clock was put back, says nothing.
    pub(super) fn settle(self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed = UNIX_EPOCH + Duration::new(seconds.try_into().unwrap_or(0), nanoseconds);
        let Ok(age) = changed.elapsed() else { return false };
        wait::nap(TICK.saturating_sub(age));
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests meddle")]
mod tests {
    use std::{
        fs::{self, File},
        io::{Seek as _, Write as _},
        path::PathBuf,
        time::{Duration, UNIX_EPOCH},
    };

    use kspec::Sha256;

    use super::{Found, LARGE, TICK, Table, digest, known, learned, read_digest};

    fn large(byte: u8) -> Vec<u8> {
        vec![byte; usize::try_from(LARGE).unwrap()]
    }

    /// A table is put in the place of the file's own digest to see whether the file is read.
    fn lie(path: &PathBuf) -> Sha256 {
        let lie = Sha256::of("a lie");
        known().0.get_mut(path).expect("it is not known").sha256 = lie;
        lie
    }

    #[test]
    fn a_file_is_read_again_only_when_it_was_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, large(1)).unwrap();
        assert_eq!(digest(&path).unwrap(), Some(Sha256::of(large(1))));
        let lie = lie(&path);
        assert_eq!(digest(&path).unwrap(), Some(lie), "it was read again");
        assert_eq!(read_digest(&path).unwrap(), Some(Sha256::of(large(1))));

        // One byte in place, and the old time of writing put back.
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        let mut file = File::options().write(true).open(&path).unwrap();
        file.rewind().unwrap();
        file.write_all(&[2]).unwrap();
        file.set_modified(written).unwrap();
        let mut changed = large(1);
        changed[0] = 2;
        assert_eq!(digest(&path).unwrap(), Some(Sha256::of(changed)));

        // Another file with the same name and length.
        fs::write(dir.path().join("other"), large(3)).unwrap();
        fs::rename(dir.path().join("other"), &path).unwrap();
        assert_eq!(digest(&path).unwrap(), Some(Sha256::of(large(3))));
        fs::remove_file(&path).unwrap();
        assert_eq!(digest(&path).unwrap(), None);
    }

    #[test]
    fn changes_within_one_tick_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, large(0)).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        for byte in 1..=20 {
            std::os::unix::fs::FileExt::write_all_at(&file, &[byte], 0).unwrap();
            let mut wanted = large(0);
            wanted[0] = byte;
            assert_eq!(digest(&path).unwrap(), Some(Sha256::of(wanted)));
        }
    }

    #[test]
    fn a_file_is_read_only_when_another_change_would_show() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, large(0)).unwrap();
        let found = super::large(&path).unwrap().unwrap();
        assert!(found.settle());
        let (seconds, nanoseconds) = found.changed;
        let changed = UNIX_EPOCH + Duration::new(seconds.try_into().unwrap(), nanoseconds);
        assert!(changed.elapsed().unwrap() >= TICK, "a change now could have the same time");
        let ahead = Found { changed: (seconds + 3600, 0), ..found };
        assert!(!ahead.settle(), "a time to come says nothing");
    }

    #[test]
    fn small_files_and_links_are_read_each_time() {
        let dir = tempfile::tempdir().unwrap();
        let (small, link) = (dir.path().join("small"), dir.path().join("link"));
        fs::write(&small, "text").unwrap();
        fs::write(dir.path().join("target"), large(1)).unwrap();
        std::os::unix::fs::symlink("target", &link).unwrap();
        for path in [&small, &link] {
            let there = digest(path).unwrap().unwrap();
            learned(path, there).unwrap();
            assert!(!known().0.contains_key(path), "{}", path.display());
        }
    }

    #[test]
    fn what_is_known_reads_back_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, large(1)).unwrap();
        digest(&path).unwrap();
        let table = Table([(path.clone(), known().0[&path])].into());
        let json = serde_json::to_string(&table).unwrap();
        assert_eq!(serde_json::from_str::<Table>(&json).unwrap(), table);
        for none in ["", "[]", r#"{"/a":{"inode":-1}}"#] {
            assert!(serde_json::from_str::<Table>(none).is_err(), "{none}");
        }
    }
}
