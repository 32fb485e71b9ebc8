//! `ketcd backup`: what etcd holds, as a file that was found whole before it got its name.

mod list;
mod shelf;
mod snapshot;
mod timer;

use std::{path::Path, time::Duration};

use khost::{
    Error, Host, Result, Tool,
    error::Exit,
    fs::{self, Attributes},
    lock::Lock,
};
use kspec::cluster::EtcdBackup;
use time::OffsetDateTime;

pub(crate) use list::list;
pub(crate) use snapshot::{Content, Snapshot, check_sum, inspect};
pub(crate) use timer::Timer;

use crate::etcdctl;

/// etcdctl's file while it is being written, and its own name for that.
const UNFINISHED: [&str; 2] = [".etcd.db.k8steps", ".etcd.db.k8steps.part"];
/// How long a database of etcd's largest size may take from its own disk to a slow one.
pub(crate) const LIMIT: Duration = Duration::from_secs(1800);

/// `ketcd backup`: into `to`, where nothing is ever removed, or into `[etcd.backup] dir`, where
/// only so many are kept.
pub(crate) fn run(tool: &Tool, to: Option<&Path>) -> Result<Exit> {
    etcdctl::on_member(tool, "backup")?;
    let configured = tool.cluster()?.etcd.backup;
    let place = match to {
        Some(dir) => EtcdBackup { dir: dir.into(), keep: 0, ..configured },
        None => configured,
    };
    let (saved, content) = save(&tool.host, &place)?;
    list::tell(tool, &saved, &content);
    Ok(Exit::Done)
}

/// Save a snapshot into the directory of `place`, and let go of the oldest there.
///
/// # Errors
/// `etcd-unreachable`, `no-space`, `backup-failed`, `snapshot-damaged`, `already-running`.
pub(crate) fn save(host: &Host, place: &EtcdBackup) -> Result<(Snapshot, Content)> {
    let lock = Lock::take_only(host, "ketcd-backup")?;
    let saved = save_alone(host, place);
    lock.remove()?;
    saved
}

fn save_alone(host: &Host, place: &EtcdBackup) -> Result<(Snapshot, Content)> {
    let status = etcdctl::status()?;
    let dir = host.path(&place.dir);
    make_private(&dir)?;
    for name in UNFINISHED {
        fs::remove(&dir.join(name))?;
    }
    enough_space(&dir, needed(status.db_size))?;

    let unfinished = dir.join(UNFINISHED[0]);
    let taken = OffsetDateTime::now_utc();
    let save = etcdctl::local().args(["snapshot", "save"]).arg(&unfinished).limit(LIMIT);
    save.run().map_err(|error| {
        Error::host("backup-failed", format!("no snapshot could be saved in `{}`", dir.display()))
            .because(error)
            .hint("see whether etcd works (`ketcd check`) and the disk has space (`df -h`)")
    })?;
    let found = check_sum(&unfinished).and_then(|()| inspect(etcdutl(), &unfinished));
    let content = found.inspect_err(|_| drop(fs::remove(&unfinished)))?;

    let saved = Snapshot::new(&dir, taken, content.revision);
    fs::publish(&unfinished, &saved.path, Attributes { mode: 0o600, owner: None })?;
    for old in shelf::expendable(shelf::read(&dir)?, place.keep) {
        fs::remove(&old.path)?;
    }
    Ok((saved, content))
}

fn etcdutl() -> String {
    format!("{}/etcdutl", kspec::paths::BIN_DIR)
}

/// The directory `dir`, for root alone if it is not there yet. One that is there is left as it is.
fn make_private(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        fs::make_dirs(parent, 0o755)?;
    }
    fs::make_dir(dir, Attributes { mode: 0o700, owner: None })
}

/// Bytes that the snapshot of a database of so many bytes may take: the database goes on growing
/// meanwhile.
fn needed(db_size: u64) -> u64 {
    db_size + db_size / 10 + (1 << 20)
}

/// Refuse to begin what the disk cannot hold.
///
/// # Errors
/// `no-space`
pub(crate) fn enough_space(dir: &Path, needed: u64) -> Result<()> {
    let free = fs::available(dir)?;
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (snapshot::size(needed), snapshot::size(free));
    let message = format!("{needed} are needed in `{}`, and {free} are free", dir.display());
    Err(Error::host("no-space", message)
        .hint("free some space (`df -h`), or choose another directory (etcd.backup.dir)"))
}

#[cfg(test)]
mod tests {
    use super::{enough_space, needed};

    #[test]
    fn what_the_disk_cannot_hold_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        enough_space(dir.path(), needed(20_480)).unwrap();
        let error = enough_space(dir.path(), 1 << 60).unwrap_err();
        assert_eq!(error.code(), "no-space");
        let said = error.to_string();
        assert!(said.starts_with("1099511627776.0 MiB are needed in `"), "{said}");
        assert!(said.ends_with("iB are free"), "{said}");
    }
}
