//! `kfetch list`: what the lock names, and whether the store has it.

use khost::{Result, Tool, error::Exit};
use kspec::{Format, SCHEMA, Sha256};
use serde::Serialize;

use crate::{
    fetcher::Fetcher,
    index::{Document, Manifest},
    store::Store,
    what::What,
};

/// One thing, as a line of `list --json`.
#[derive(Debug, Serialize)]
struct Line {
    schema: u32,
    phase: &'static str,
    event: &'static str,
    kind: &'static str,
    name: String,
    /// A version, or a full reference.
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Sha256>,
    /// Bytes in the store, without what is unpacked.
    size: u64,
    here: bool,
}

/// Print a table, or with `--json` a line each.
pub(crate) fn list(tool: &Tool, fetcher: &Fetcher) -> Result<Exit> {
    let mut lines = Vec::new();
    for (at, what) in fetcher.all().into_iter().enumerate() {
        let here = fetcher.lacks(at)?.is_none();
        let store = fetcher.store();
        let (kind, name, version, digest, size) = match what {
            What::File(file) => {
                let kind = if file.format == Format::Binary { "file" } else { "archive" };
                let size = store.size(file.sha256)?.unwrap_or_default();
                (kind, &file.name, &file.version, Some(file.sha256), size)
            }
            What::Image(image) => {
                let manifest = image.digest.map(|digest| manifest(store, digest)).transpose()?;
                let size = manifest
                    .flatten()
                    .map_or(0, |manifest| manifest.blobs().map(|blob| blob.size).sum());
                ("image", &image.name, &image.text, image.digest, size)
            }
        };
        let (name, what) = (name.clone(), version.clone());
        let (schema, phase, event) = (SCHEMA, "kfetch", "artifact");
        lines.push(Line { schema, phase, event, kind, name, what, digest, size, here });
    }
    tool.report.data(&if tool.report.is_json() { json(&lines) } else { table(&lines) });
    Ok(Exit::Done)
}

fn manifest(store: &Store, digest: Sha256) -> Result<Option<Manifest>> {
    let bytes = khost::fs::read(&store.blob(digest))?.unwrap_or_default();
    Ok(match Document::parse(&bytes) {
        Ok(Document::Manifest(manifest)) => Some(manifest),
        _ => None,
    })
}

fn json(lines: &[Line]) -> String {
    lines.iter().map(|line| serde_json::to_string(line).unwrap_or_default() + "\n").collect()
}

fn table(lines: &[Line]) -> String {
    let mut rows = vec![["KIND", "NAME", "VERSION", "DIGEST", "SIZE", "STORE"].map(String::from)];
    rows.extend(lines.iter().map(|line| {
        [
            line.kind.into(),
            line.name.clone(),
            line.what.clone(),
            line.digest.map_or_else(|| "not pinned".into(), |digest| digest.short()),
            if line.size == 0 { "-".into() } else { indicatif::HumanBytes(line.size).to_string() },
            if line.here { "here".into() } else { "missing".into() },
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..6).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
        text
    })
}
