//! One snapshot: what its name says, and whether the file is what etcd wrote.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use khost::{Cmd, Error, Result, fs};
use serde::{Deserialize, Serialize};
use time::{
    OffsetDateTime, PrimitiveDateTime, format_description::BorrowedFormatItem,
    macros::format_description,
};

/// Bytes of the checksum that etcdctl appends (`client/v3/snapshot`): SHA-256 of all before it.
const SUM: u64 = 32;
/// What the length of a database is a multiple of.
const PAGE: u64 = 512;
/// A time in a name: ISO 8601 in UTC, without what a file name had better not have.
const TIME: &[BorrowedFormatItem<'static>] =
    format_description!("[year][month][day]T[hour][minute][second]Z");

/// A snapshot by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The file.
    pub(crate) path: PathBuf,
    /// When it was begun.
    pub(crate) taken: OffsetDateTime,
    /// The revision of the latest change in it.
    pub(crate) revision: u64,
}

/// What is in a snapshot, as `etcdutl snapshot status` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Content {
    /// CRC-32C of all buckets, keys and values.
    pub(crate) hash: u32,
    /// The revision of the latest change.
    pub(crate) revision: u64,
    /// Entries of all buckets.
    #[serde(rename = "totalKey")]
    pub(crate) keys: u64,
    /// Bytes of the database.
    #[serde(rename = "totalSize")]
    pub(crate) size: u64,
}

impl Snapshot {
    /// The one of `revision` that was begun at `taken`, in `dir`.
    pub(crate) fn new(dir: &Path, taken: OffsetDateTime, revision: u64) -> Self {
        let taken = taken.replace_nanosecond(0).unwrap_or(taken);
        let time = taken.format(TIME).unwrap_or_default();
        Self { path: dir.join(format!("etcd-{time}-r{revision}.db")), taken, revision }
    }

    /// The one called `name` in `dir`; none when that is no name of ours.
    pub(crate) fn named(dir: &Path, name: &str) -> Option<Self> {
        let (time, revision) = name.strip_prefix("etcd-")?.strip_suffix(".db")?.split_once("-r")?;
        let taken = PrimitiveDateTime::parse(time, TIME).ok()?.assume_utc();
        let found = Self::new(dir, taken, revision.parse().ok()?);
        found.path.ends_with(name).then_some(found)
    }
}

/// Whether the file ends with the checksum of all before it: it is a snapshot, and nothing was cut
/// off or changed since.
///
/// # Errors
/// `snapshot-missing`, `snapshot-damaged`.
pub(crate) fn check_sum(path: &Path) -> Result<()> {
    let failed = |error| Error::io("read", path, error);
    let size = match fs::look(path)? {
        Some(_) if path.is_file() => path.metadata().map_err(failed)?.len(),
        _ => {
            let message = format!("`{}` is no file", path.display());
            return Err(Error::input("snapshot-missing", message)
                .hint("see what there is with `ketcd backups`"));
        }
    };
    if size < SUM || size % PAGE != SUM {
        return Err(damaged(
            path,
            format!(
                "{size} bytes are not the length of a database and its checksum: it is cut off, or was \
             never made by `etcdctl snapshot save`"
            ),
        ));
    }
    let mut body = File::open(path).map_err(failed)?.take(size - SUM);
    let computed = fs::copy_hashed(&mut body, &mut io::sink()).map_err(failed)?;
    let mut stated = Vec::new();
    body.into_inner().read_to_end(&mut stated).map_err(failed)?;
    if computed.as_bytes() == stated.as_slice() {
        return Ok(());
    }
    Err(damaged(path, "its bytes are not those that were saved: the checksum at its end differs"))
}

/// What is in the file at `path`, as the program `etcdutl` finds it; it also walks through the
/// whole database.
///
/// # Errors
/// `snapshot-damaged`
pub(crate) fn inspect(etcdutl: String, path: &Path) -> Result<Content> {
    let status = Cmd::new(etcdutl).args(["snapshot", "status", "-w", "json"]).arg(path);
    let said = status.limit(super::LIMIT).run().map_err(|error| damaged(path, error))?.stdout;
    serde_json::from_str(&said).map_err(|error| damaged(path, error))
}

fn damaged(path: &Path, why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::host("snapshot-damaged", format!("`{}` is no whole snapshot", path.display()))
        .because(why)
        .hint("use another one: `ketcd backups --verify` says which are whole")
}

/// So many bytes, for people.
pub(super) fn size(bytes: u64) -> String {
    if bytes < 1 << 20 {
        return format!("{} KiB", bytes.div_ceil(1 << 10));
    }
    let tenths = bytes.saturating_mul(10) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use khost::fs::{Attributes, write};
    use kspec::Sha256;
    use time::macros::datetime;

    use super::{Content, Snapshot, check_sum, size};

    #[test]
    fn a_name_tells_time_and_revision() {
        let dir = Path::new("/var/backups/etcd");
        let made = Snapshot::new(dir, datetime!(2026-11-25 06:07:08.9 UTC), 1234);
        assert_eq!(made.path, dir.join("etcd-20261125T060708Z-r1234.db"));
        assert_eq!(Snapshot::named(dir, "etcd-20261125T060708Z-r1234.db").unwrap(), made);
        for other in [
            "etcd-20261125T060708Z-r1234.db.part",
            "etcd-20261325T060708Z-r1234.db",
            "etcd-20261125T060708Z-r01234.db",
            "etcd-20261125T060708Z-r.db",
            "snapshot.db",
            ".etcd.db.k8steps",
        ] {
            assert_eq!(Snapshot::named(dir, other), None, "{other}");
        }
    }

    #[test]
    fn a_file_that_lost_or_changed_a_byte_is_no_snapshot() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("snapshot");
        let found = |bytes: &[u8]| {
            write(&path, bytes, Attributes { mode: 0o600, owner: None }).unwrap();
            check_sum(&path).map_err(|error| (error.code(), error.chain()))
        };
        let body = [7; 4096];
        let whole = [&body[..], Sha256::of(body).as_bytes()].concat();
        found(&whole).unwrap();

        let (code, said) = found(&whole[..4000]).unwrap_err();
        assert_eq!(code, "snapshot-damaged");
        assert!(said.contains("4000 bytes are not the length of a database"), "{said}");
        let (_, said) = found(&body).unwrap_err(); // copied from a data directory
        assert!(said.contains("never made by `etcdctl snapshot save`"), "{said}");
        let mut changed = whole;
        changed[100] = 8;
        let (code, said) = found(&changed).unwrap_err();
        assert_eq!(code, "snapshot-damaged");
        assert!(said.ends_with("the checksum at its end differs"), "{said}");

        let error = check_sum(&dir.path().join("absent")).unwrap_err();
        assert_eq!(error.code(), "snapshot-missing");
        assert_eq!(check_sum(dir.path()).unwrap_err().code(), "snapshot-missing");
    }

    #[test]
    fn the_answer_of_etcdutl_is_read() {
        // As etcdutl 3.5.34 and 3.6.16 wrote it.
        for more in ["", r#","version":"3.6.0""#] {
            let json = format!(
                r#"{{"hash":1597263310,"revision":402,"totalKey":411,"totalSize":1482752{more}}}"#
            );
            let content: Content = serde_json::from_str(&json).unwrap();
            assert_eq!((content.hash, content.revision), (1_597_263_310, 402));
            assert_eq!((content.keys, content.size), (411, 1_482_752));
        }
        assert_eq!([size(11), size(1_482_752)], ["1 KiB", "1.4 MiB"]);
    }
}
