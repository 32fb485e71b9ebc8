//! etcd's data directory, while a snapshot takes the place of what is in it.
//!
//! New data is made beside the old (`.restore/member`) and changes places with it in one instant
//! (rename(2)). So at any time etcd's data is all old or all new, and the tag within it says
//! which.

use std::path::PathBuf;

use khost::{
    Cmd, Error, Host, Owner, Result,
    fs::{self, Attributes},
    systemd,
};
use kspec::paths::{BIN_DIR, ETCD_DATA_DIR};

use super::{BUMP, marker::Marker};
use crate::{
    backup::enough_space,
    env::{Start, TOKEN},
    service,
};

/// In new data: which restore made it. etcd passes it over.
const TAG: &str = "restored-by-k8steps";
/// Bytes that new data takes beyond the database: etcd's log, allocated ahead, twice.
const LOG: u64 = 128 << 20;

/// The directory.
#[derive(Debug)]
pub(super) struct Data {
    dir: PathBuf,
}

impl Data {
    pub(super) fn of(host: &Host) -> Self {
        Self { dir: host.path(ETCD_DATA_DIR) }
    }

    /// Where etcd has it.
    pub(super) fn member(&self) -> PathBuf {
        self.dir.join("member")
    }

    fn staging(&self) -> PathBuf {
        self.dir.join(".restore")
    }

    /// Where the restore `id` keeps what was there before.
    pub(super) fn aside(&self, id: &str) -> PathBuf {
        self.dir.join(format!("before-restore-{id}"))
    }

    /// Whether a member's data is there.
    pub(super) fn has_members(&self) -> bool {
        fs::names(&self.member()).is_ok_and(|names| !names.is_empty())
    }

    /// Whether it is what the restore `id` made.
    pub(super) fn is_from(&self, id: &str) -> Result<bool> {
        Ok(fs::read_text(&self.member().join(TAG))?.is_some_and(|found| found.trim() == id))
    }

    /// Stop etcd, and let what the snapshot of `marker` holds be its data, with this node at
    /// `peer_url` called as in `start`. Where the old data is kept, if there was any.
    pub(super) fn replace(
        &self,
        host: &Host,
        marker: &Marker,
        start: &Start,
        peer_url: &str,
    ) -> Result<Option<PathBuf>> {
        self.settle(Marker::read(host)?.as_ref())?;
        let size = marker.file.metadata().map(|found| found.len()).unwrap_or_default();
        enough_space(&self.dir, size + LOG)?;
        marker.write(host)?;
        // Off, so that no reboot starts an empty cluster; starting it switches it on again.
        systemd::switch_off(service::NAME)?;
        self.make(marker, start, peer_url)?;
        self.put_in_place(host.ids(&Owner::new("etcd", "etcd"))?, &marker.id)
    }

    /// What an earlier restore left half done: data that never took its place goes; old data
    /// whose place was taken is kept under the name it was meant to have.
    fn settle(&self, begun: Option<&Marker>) -> Result<()> {
        let staging = self.staging();
        match begun {
            Some(begun) if fs::exists(&staging) && self.is_from(&begun.id)? => {
                fs::rename(&staging, &self.aside(&begun.id))
            }
            _ => fs::remove_tree(&staging),
        }
    }

    fn make(&self, marker: &Marker, start: &Start, peer_url: &str) -> Result<()> {
        let restore = Cmd::new(format!("{BIN_DIR}/etcdutl"))
            .args(["snapshot", "restore"])
            .arg(&marker.file)
            .arg("--data-dir")
            .arg(self.staging())
            .args(["--name", &start.name, "--initial-cluster", &start.initial_cluster])
            .args(["--initial-cluster-token", TOKEN, "--initial-advertise-peer-urls", peer_url])
            .args(["--bump-revision", &BUMP.to_string(), "--mark-compacted"]);
        restore.limit(crate::backup::LIMIT).run().map(drop).map_err(|error| {
            let file = marker.file.display();
            Error::host("restore-failed", format!("etcdutl could not restore `{file}`"))
                .because(error)
                .hint(format!(
                    "nothing was replaced: to have etcd as it was, remove `{}` and run `ketcd apply`",
                    super::marker::path(&Host::new("/")).display()
                ))
        })
    }

    /// New data, complete and etcd's own, takes the place of the old.
    fn put_in_place(&self, owner: Option<(u32, u32)>, id: &str) -> Result<Option<PathBuf>> {
        let (staging, member) = (self.staging(), self.member());
        let made = staging.join("member");
        let tag = Attributes { mode: 0o600, owner };
        fs::write(&made.join(TAG), format!("{id}\n").as_bytes(), tag)?;
        fs::adopt(&staging, owner)?;
        if !fs::exists(&member) {
            fs::rename(&made, &member)?;
            fs::remove_tree(&staging)?;
            return Ok(None);
        }
        fs::exchange(&made, &member)?;
        let aside = self.aside(id);
        fs::rename(&staging, &aside)?;
        Ok(Some(aside))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use khost::fs::{Attributes, make_dirs, names, read_text, write};
    use kspec::Sha256;

    use super::{Data, Marker};

    struct Case {
        dir: tempfile::TempDir,
        data: Data,
    }

    impl Case {
        fn new(member: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let case = Self { data: Data { dir: dir.path().to_owned() }, dir };
            if let Some(content) = member {
                case.put("member/snap/db", content);
            }
            case
        }

        fn put(&self, path: &str, text: &str) {
            let path = self.dir.path().join(path);
            make_dirs(path.parent().unwrap(), 0o700).unwrap();
            write(&path, text.as_bytes(), Attributes { mode: 0o600, owner: None }).unwrap();
        }

        fn read(&self, path: &str) -> String {
            read_text(&self.dir.path().join(path)).unwrap().unwrap_or_default()
        }

        fn names(&self) -> Vec<String> {
            names(self.dir.path()).unwrap()
        }
    }

    fn marker(id: &str) -> Marker {
        Marker { id: id.into(), file: "/s.db".into(), sha256: Sha256::of("s"), revision: 7 }
    }

    #[test]
    fn new_data_takes_the_place_of_the_old_which_is_kept() {
        let case = Case::new(Some("old"));
        assert!(case.data.has_members() && !case.data.is_from("1").unwrap());
        case.put(".restore/member/snap/db", "new");
        let kept = case.data.put_in_place(None, "1").unwrap().unwrap();
        assert_eq!(kept, case.dir.path().join("before-restore-1"));
        assert_eq!(case.names(), ["before-restore-1", "member"]);
        assert_eq!(case.read("member/snap/db"), "new");
        assert_eq!(case.read("before-restore-1/member/snap/db"), "old");
        assert!(case.data.is_from("1").unwrap() && !case.data.is_from("2").unwrap());
    }

    #[test]
    fn an_emptied_node_has_nothing_to_keep() {
        let case = Case::new(None);
        assert!(!case.data.has_members());
        case.put(".restore/member/snap/db", "new");
        assert_eq!(case.data.put_in_place(None, "1").unwrap(), None);
        assert_eq!(case.names(), ["member"]);
    }

    #[test]
    fn wherever_it_was_killed_no_old_data_is_lost() {
        // While new data was being made: that is made again.
        let case = Case::new(Some("old"));
        case.put(".restore/member/snap/db", "half");
        case.data.settle(Some(&marker("1"))).unwrap();
        assert_eq!(case.names(), ["member"]);
        assert_eq!(case.read("member/snap/db"), "old");

        // When it was complete, but had not taken its place.
        case.put(".restore/member/restored-by-k8steps", "1\n");
        case.data.settle(Some(&marker("1"))).unwrap();
        assert_eq!(case.names(), ["member"]);

        // Between the exchange and the name for the old data, whatever restore comes next.
        let case = Case::new(Some("new"));
        case.put("member/restored-by-k8steps", "1\n");
        case.put(".restore/member/snap/db", "old");
        case.data.settle(Some(&marker("1"))).unwrap();
        assert_eq!(case.names(), ["before-restore-1", "member"]);
        assert_eq!(case.read("before-restore-1/member/snap/db"), "old");
        assert_eq!(case.read("member/snap/db"), "new");

        // Data of a restore that was finished long ago is old data like any other.
        let case = Case::new(Some("old"));
        case.put("member/restored-by-k8steps", "1\n");
        case.put(".restore/member/snap/db", "half");
        case.data.settle(Some(&marker("2"))).unwrap();
        assert_eq!(case.names(), ["member"]);
        case.data.settle(None).unwrap();
        assert_eq!(case.data.aside("2"), Path::new(case.dir.path()).join("before-restore-2"));
    }
}
