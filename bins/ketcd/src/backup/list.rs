//! `ketcd backups`: which snapshots there are, and which of them are whole.

use std::path::Path;

use khost::{Error, Result, Tool, error::Exit};
use kspec::SCHEMA;
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::{Content, Snapshot, check_sum, etcdutl, inspect, shelf, snapshot::size};

/// One snapshot, as a line of `--json`.
#[derive(Debug, Serialize)]
struct Line<'a> {
    schema: u32,
    phase: &'a str,
    event: &'a str,
    /// The file.
    path: String,
    /// When it was begun, RFC 3339 in UTC.
    taken: String,
    revision: u64,
    /// Bytes of the file.
    size: u64,
    /// As `etcdutl snapshot status` shows it, in hexadecimal; known where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    /// Entries of all buckets; known where it was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<u64>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl Line<'_> {
    fn new(snapshot: &Snapshot, content: Option<&Content>) -> Self {
        Self {
            schema: SCHEMA,
            phase: "ketcd",
            event: "snapshot",
            path: snapshot.path.display().to_string(),
            taken: snapshot.taken.format(&Rfc3339).unwrap_or_default(),
            revision: snapshot.revision,
            size: snapshot.path.metadata().map(|found| found.len()).unwrap_or_default(),
            hash: content.map(|content| format!("{:x}", content.hash)),
            keys: content.map(|content| content.keys),
            problem: None,
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default() + "\n"
    }

    /// Its cells for people; the last is empty while nobody looked into it.
    fn cells(&self) -> [String; 5] {
        let found = match (&self.problem, &self.hash, self.keys) {
            (Some(problem), _, _) => format!("damaged: {problem}"),
            (None, Some(hash), Some(keys)) => format!("whole: hash {hash}, {keys} keys"),
            _ => String::new(),
        };
        let (taken, path) = (self.taken.clone(), self.path.clone());
        [taken, self.revision.to_string(), size(self.size), path, found]
    }
}

/// Say that `saved` was saved: its path is the data, the rest is talk.
pub(super) fn tell(tool: &Tool, saved: &Snapshot, content: &Content) {
    let line = Line::new(saved, Some(content));
    if tool.report.is_json() {
        tool.report.data(&line.json());
        return;
    }
    let hash = line.hash.as_deref().unwrap_or_default();
    tool.report.say(&format!(
        "saved revision {}: hash {hash}, {} keys, {}",
        content.revision,
        content.keys,
        size(line.size)
    ));
    tool.report.data(&format!("{}\n", line.path));
}

/// `ketcd backups`: those in `from`, else in `[etcd.backup] dir`; with `verify` each is read
/// through.
///
/// # Errors
/// `snapshot-damaged`, once all are listed, when one that was read is not whole.
pub(crate) fn list(tool: &Tool, from: Option<&Path>, verify: bool) -> Result<Exit> {
    if verify {
        tool.needs_root("backups --verify")?;
    }
    let dir = match from {
        Some(dir) => dir.to_owned(),
        None => tool.host.path(tool.cluster()?.etcd.backup.dir),
    };
    let mut lines = Vec::new();
    for snapshot in shelf::read(&dir)? {
        lines.push(if verify { verified(&snapshot) } else { Line::new(&snapshot, None) });
    }
    if tool.report.is_json() {
        tool.report.data(&lines.iter().map(Line::json).collect::<String>());
    } else if lines.is_empty() {
        tool.report.say(&format!("there is none in {}", dir.display()));
    } else {
        tool.report.data(&table(&lines));
    }
    match lines.iter().filter(|line| line.problem.is_some()).count() {
        0 => Ok(Exit::Done),
        damaged => Err(Error::host(
            "snapshot-damaged",
            format!("{damaged} of {} snapshots are not whole", lines.len()),
        )
        .hint("remove them, and see to the disk they are on; `ketcd backup` saves a new one")),
    }
}

fn verified(snapshot: &Snapshot) -> Line<'static> {
    match check_sum(&snapshot.path).and_then(|()| inspect(etcdutl(), &snapshot.path)) {
        Ok(content) => Line::new(snapshot, Some(&content)),
        Err(error) => Line { problem: Some(error.chain()), ..Line::new(snapshot, None) },
    }
}

fn table(lines: &[Line<'_>]) -> String {
    let heading = ["TAKEN", "REVISION", "SIZE", "FILE", ""].map(String::from);
    let rows: Vec<_> = std::iter::once(heading).chain(lines.iter().map(Line::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
