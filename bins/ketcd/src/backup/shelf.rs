//! The snapshots in a directory: which there are, and which go.

use std::path::Path;

use khost::{Result, fs};

use super::Snapshot;

/// The snapshots in `dir`, the oldest first. Other files are none of ours.
pub(super) fn read(dir: &Path) -> Result<Vec<Snapshot>> {
    let names = fs::names(dir)?;
    let mut found: Vec<_> = names.iter().filter_map(|name| Snapshot::named(dir, name)).collect();
    found.sort_by_key(|snapshot| (snapshot.taken, snapshot.revision));
    Ok(found)
}

/// Those of `found`, the oldest first, that go when `keep` stay; 0 keeps all.
pub(super) fn expendable(mut found: Vec<Snapshot>, keep: u32) -> Vec<Snapshot> {
    let keep = match usize::try_from(keep) {
        Ok(keep @ 1..) => keep,
        _ => found.len(),
    };
    found.truncate(found.len().saturating_sub(keep));
    found
}

#[cfg(test)]
mod tests {
    use khost::fs::{Attributes, write};

    use super::{expendable, read};

    #[test]
    fn the_oldest_go_and_what_is_not_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str| {
            write(&dir.path().join(name), b"", Attributes { mode: 0o600, owner: None }).unwrap();
        };
        // A restore raised the revision, and another took it back: time alone decides.
        let ours = [
            "etcd-20250102T000000Z-r1000000007.db",
            "etcd-20251231T235959Z-r9.db",
            "etcd-20260101T000000Z-r10.db",
        ];
        for name in ["by-hand.db", "etcd-2026-r9.db"].iter().chain(&ours) {
            put(name);
        }
        let going = |keep| -> Vec<String> {
            let found = expendable(read(dir.path()).unwrap(), keep);
            let name = |path: &std::path::Path| path.file_name().unwrap().display().to_string();
            found.iter().map(|snapshot| name(&snapshot.path)).collect()
        };
        assert_eq!(going(0), [""; 0]);
        assert_eq!(going(1), ours[..2]);
        assert_eq!(going(2), ours[..1]);
        assert_eq!(going(3), [""; 0]);
        assert_eq!(read(&dir.path().join("absent")).unwrap(), []);
    }
}
