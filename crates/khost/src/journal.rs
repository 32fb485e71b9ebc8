//! How everything was before a phase touched it, written down before the touch.
//!
//! `/var/lib/k8steps/journal/PHASE/log` has one JSON object a line; each line is on disk before
//! the change it belongs to begins, so a kill at any moment leaves either a complete line or a
//! torn one whose change never began. `blobs/` beside it holds the bytes of changed files, 0600.

use std::{
    cell::OnceCell,
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
};

use kspec::{Sha256, paths::STATE_DIR};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, Result, Thing,
    fs::{self, Attributes},
    original::{Original, Restored},
};

/// One line of the log.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// The step that was about to change it.
    pub(crate) step: String,
    /// How it was.
    pub(crate) original: Original,
}

/// The journal of one phase.
#[derive(Debug)]
pub struct Journal {
    host: Host,
    dir: PathBuf,
    entries: Vec<Entry>,
    known: BTreeSet<String>,
    log: Option<File>,
    objects: OnceCell<Restored>,
}

/// Kept bytes, by digest.
#[derive(Debug)]
pub(crate) struct Blobs {
    dir: PathBuf,
}

impl Journal {
    /// Read the journal of `phase`. Writes nothing; a torn last line is passed over.
    pub fn open(host: &Host, phase: &str) -> Result<Self> {
        let dir = host.path(STATE_DIR).join("journal").join(phase);
        let text = fs::read_text(&dir.join("log"))?.unwrap_or_default();
        let complete = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut entries = Vec::new();
        for (at, line) in complete.lines().enumerate() {
            let entry: Entry = serde_json::from_str(line).map_err(|error| {
                let log = dir.join("log");
                Error::host(
                    "journal-damaged",
                    format!("line {} of `{}` cannot be read", at + 1, log.display()),
                )
                .because(error)
                .hint("restore the file from a backup; without it reset cannot put things back")
            })?;
            entries.push(entry);
        }
        let known = entries.iter().map(|entry| entry.original.key()).collect();
        Ok(Self { host: host.clone(), dir, entries, known, log: None, objects: OnceCell::new() })
    }

    /// Record how `things` are, durably, before `step` changes them. A thing that is already in
    /// the journal keeps its first original.
    pub(crate) fn record(&mut self, step: &str, things: &[Thing]) -> Result<()> {
        let mut lines = String::new();
        for thing in things {
            // Not even looked at: newer bytes, a private key's say, must not be kept.
            if let Thing::File(path) = thing
                && self.known.contains(&Original::Absent { path: path.clone() }.key())
            {
                continue;
            }
            let Some(original) = Original::capture(thing, &self.host, &self.blobs())? else {
                continue;
            };
            if !self.known.insert(original.key()) {
                continue;
            }
            let entry = Entry { step: step.to_owned(), original };
            lines += &serde_json::to_string(&entry)
                .map_err(|error| Error::host("journal-failed", "cannot encode").because(error))?;
            lines.push('\n');
            self.entries.push(entry);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let path = self.dir.join("log");
        let log = self.log()?;
        log.write_all(lines.as_bytes())
            .and_then(|()| log.sync_data())
            .map_err(|error| Error::io("write", &path, error))
    }

    /// The open log, at its end, with a torn last line cut off.
    fn log(&mut self) -> Result<&mut File> {
        let log = match self.log.take() {
            Some(log) => log,
            None => self.open_log()?,
        };
        Ok(self.log.insert(log))
    }

    fn open_log(&self) -> Result<File> {
        private_dir(&self.host, &self.dir)?;
        let path = self.dir.join("log");
        let opened = (|| {
            let text = std::fs::read(&path).unwrap_or_default();
            let complete = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            let log = OpenOptions::new().append(true).create(true).mode(0o600).open(&path)?;
            if complete < text.len() {
                log.set_len(complete as u64)?;
            }
            File::open(&self.dir)?.sync_all()?; // the name of the log, too, must survive
            Ok(log)
        })();
        opened.map_err(|error| Error::io("write", &path, error))
    }

    /// What was recorded, first change first.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The objects that the phase made in the cluster, by their names, first made first.
    pub(crate) fn made(&self) -> Result<Vec<serde_json::Value>> {
        self.objects_where(|_| true)
    }

    /// Those of entries of which `is_wanted` says so, told whether their pods are stateless.
    fn objects_where(&self, is_wanted: impl Fn(bool) -> bool) -> Result<Vec<serde_json::Value>> {
        let mut made = Vec::new();
        for entry in &self.entries {
            let Original::Objects { name, manifest, stateless } = &entry.original else { continue };
            if !is_wanted(*stateless) {
                continue;
            }
            let bytes = self.blobs().get(*manifest)?;
            let list: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| {
                Error::host("journal-damaged", format!("what was made of {name} cannot be read"))
                    .because(error)
            })?;
            made.extend(list["items"].as_array().into_iter().flatten().cloned());
        }
        Ok(made)
    }

    /// Once for all its entries, what `delete` makes of the objects of all of them, and of those
    /// among them whose pods are stateless: their pods end side by side, some of which take many
    /// seconds.
    pub(crate) fn all_objects(
        &self,
        delete: impl FnOnce(&[serde_json::Value], &[serde_json::Value]) -> Result<Restored>,
    ) -> Result<Restored> {
        if let Some(gone) = self.objects.get() {
            return Ok(gone.clone());
        }
        let gone = delete(&self.made()?, &self.objects_where(|stateless| stateless)?)?;
        Ok(self.objects.get_or_init(|| gone).clone())
    }

    /// How the file or directory at `path` was before the phase touched it first.
    pub(crate) fn original(&self, path: &std::path::Path) -> Option<&Original> {
        let key = Original::Absent { path: path.to_owned() }.key();
        self.entries.iter().map(|entry| &entry.original).find(|original| original.key() == key)
    }

    pub(crate) fn blobs(&self) -> Blobs {
        Blobs { dir: self.dir.join("blobs") }
    }

    /// Forget everything: all of it has been put back.
    pub(crate) fn forget(self) -> Result<()> {
        drop(self.log);
        fs::remove(&self.dir.join("log"))?; // first: half a journal must not be found
        fs::remove_tree(&self.dir)?;
        if let Some(parent) = self.dir.parent() {
            fs::remove_empty_dir(parent)?;
        }
        Ok(())
    }
}

impl Blobs {
    pub(crate) fn keep(&self, bytes: &[u8]) -> Result<Sha256> {
        let digest = Sha256::of(bytes);
        let path = self.dir.join(digest.hex());
        if !fs::exists(&path) {
            if let Some(journal) = self.dir.parent() {
                fs::make_dirs(journal, 0o700)?;
            }
            fs::make_dirs(&self.dir, 0o700)?;
            fs::write(&path, bytes, Attributes { mode: 0o600, owner: None })?;
        }
        Ok(digest)
    }

    pub(crate) fn get(&self, digest: Sha256) -> Result<Vec<u8>> {
        let path = self.dir.join(digest.hex());
        fs::read(&path)?.ok_or_else(|| {
            Error::host("journal-damaged", format!("`{}` is missing", path.display()))
                .hint("restore it from a backup; without it reset cannot put things back")
        })
    }
}

/// Makes the journal's directory, private from the start; what is above it is for all to see.
fn private_dir(host: &Host, dir: &std::path::Path) -> Result<()> {
    fs::make_dirs(&host.path(STATE_DIR), 0o755)?;
    fs::make_dirs(dir, 0o700)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::Journal;
    use crate::{Host, Thing, original::Restored};

    #[test]
    fn the_first_original_is_the_one_that_counts() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let file = root.path().join("file");
        let touch = [Thing::File("/file".into())];
        put(&file, "one");

        let mut journal = Journal::open(&host, "test").unwrap();
        journal.record("a", &touch).unwrap();
        put(&file, "two");
        journal.record("b", &touch).unwrap();
        put(&file, "three");
        let blobs = root.path().join("var/lib/k8steps/journal/test/blobs");
        assert_eq!(fs::read_dir(blobs).unwrap().count(), 1, "newer bytes were kept");

        let journal = Journal::open(&host, "test").unwrap();
        assert_eq!(journal.entries().len(), 1);
        journal.entries()[0].original.restore(&host, &journal).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "one");
    }

    #[test]
    fn objects_of_all_entries_go_together_once() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let mut journal = Journal::open(&host, "test").unwrap();
        for name in ["a", "b"] {
            let manifest = format!(r#"{{"items":["{name}"]}}"#);
            let stateless = name == "b";
            let made = Thing::Objects { name: name.into(), manifest, stateless };
            journal.record(name, &[made]).unwrap();
        }
        let mut asked = Vec::new();
        for _ in journal.entries() {
            let delete = |all: &[_], stateless: &[_]| {
                asked.push((all.to_vec(), stateless.to_vec()));
                Ok(Restored::Left("why".into()))
            };
            assert_eq!(journal.all_objects(delete).unwrap(), Restored::Left("why".into()));
        }
        assert_eq!(asked, [(vec!["a".into(), "b".into()], vec!["b".into()])]);
    }

    #[test]
    fn a_torn_line_is_no_line() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let mut journal = Journal::open(&host, "test").unwrap();
        journal.record("a", &[Thing::File("/absent".into())]).unwrap();
        let log = root.path().join("var/lib/k8steps/journal/test/log");
        let whole = fs::read(&log).unwrap();
        put(&log, &(String::from_utf8(whole.clone()).unwrap() + "{\"step\":\"b\",\"ori"));

        let mut journal = Journal::open(&host, "test").unwrap();
        assert_eq!(journal.entries().len(), 1);
        journal.record("c", &[Thing::File("/other".into())]).unwrap();
        assert!(fs::read(&log).unwrap().starts_with(&whole));
        assert_eq!(Journal::open(&host, "test").unwrap().entries().len(), 2);
    }

    #[test]
    fn what_cannot_be_written_down_is_not_touched() {
        use std::os::unix::ffi::OsStringExt as _;

        let root = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(&Host::new(root.path()), "test").unwrap();
        let path = std::ffi::OsString::from_vec(b"/caf\xe9".to_vec());
        let error = journal.record("a", &[Thing::File(path.into())]).unwrap_err();
        assert_eq!(error.code(), "journal-failed");
        assert!(!root.path().join("var/lib/k8steps/journal/test/log").exists());
    }

    #[expect(clippy::disallowed_methods, reason = "the operator's hand, in a test")]
    fn put(path: &std::path::Path, text: impl AsRef<[u8]>) {
        fs::write(path, text).unwrap();
    }

    /// A kill tears the last line and no other; what else is no journal is said to be none.
    #[test]
    fn a_torn_end_is_passed_over_and_any_bytes_are_read_or_refused() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let mut journal = Journal::open(&host, "p").unwrap();
        for path in ["/a", "/b/é \"", "/c\nd"] {
            journal.record("step", &[Thing::File(path.into())]).unwrap();
        }
        drop(journal);
        let log = root.path().join("var/lib/k8steps/journal/p/log");
        let whole = fs::read(&log).unwrap();
        let any_bytes = prop::collection::vec(any::<u8>(), 0..64);
        proptest!(|(end in 0..=whole.len(), bytes in any_bytes)| {
            let torn = &whole[..end];
            put(&log, torn);
            let lines = torn.split(|byte| *byte == b'\n').count() - 1;
            prop_assert_eq!(Journal::open(&host, "p").unwrap().entries.len(), lines);
            put(&log, &bytes);
            if let Err(error) = Journal::open(&host, "p") {
                prop_assert_eq!(error.code(), "journal-damaged");
            }
        });
    }

    #[test]
    fn fuzz_journal() {
        let seed = "{\"step\":\"a\",\"original\":{\"was\":\"absent\",\"path\":\"/a\"}}\n";
        let root = tempfile::tempdir_in(fuzz::memory()).unwrap();
        let dir = root.path().join("var/lib/k8steps/journal/p");
        fs::create_dir_all(&dir).unwrap();
        fuzz::target([seed], move |bytes| {
            let host = Host::new(root.path());
            put(&dir.join("log"), bytes);
            match Journal::open(&host, "p") {
                Ok(journal) => {
                    let _ = journal.made();
                    for entry in journal.entries() {
                        entry.original.describe();
                    }
                }
                Err(error) => assert_eq!(error.code(), "journal-damaged"),
            }
        });
    }
}
