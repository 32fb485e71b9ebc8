//! `kfetch verify`: read everything in the store again.

use std::{path::PathBuf, thread};

use khost::{Error, Result, Tool, error::Exit, fs};
use kspec::{
    SCHEMA, Sha256,
    paths::STORE_DIR,
    state::{Artifacts, State as _},
};
use serde_json::json;

use crate::{
    index::{Document, Index},
    pool, record,
    store::Store,
};

/// A file of the store, and the digest it must have.
struct Expected {
    name: String,
    path: PathBuf,
    digest: Option<Sha256>,
}

/// What is wrong with it.
struct Damage {
    name: String,
    why: String,
}

/// List what is damaged or missing on standard output; an error when that is anything.
pub(crate) fn verify(tool: &Tool) -> Result<Exit> {
    let store = Store::new(&tool.host);
    let Some(index) = Index::read(&store)? else {
        return Err(Error::input("input-missing", format!("there is no store at `{STORE_DIR}`"))
            .hint("run `kfetch apply`, which makes it"));
    };
    let mut expected = blobs(&store)?;
    members(tool, &mut expected)?;
    images(&store, &index, &mut expected)?;
    expected.sort_by(|a, b| a.name.cmp(&b.name));
    expected.dedup_by(|a, b| a.name == b.name);

    let threads = thread::available_parallelism().map_or(1, Into::into);
    let looked = pool::each(threads, &expected, |expected| -> Result<Option<Damage>> {
        let found = fs::read_digest(&expected.path)?;
        let why = match (found, expected.digest) {
            (None, _) => "missing".to_owned(),
            (Some(found), Some(digest)) if found == digest => return Ok(None),
            (Some(_), None) => "not named by a digest".to_owned(),
            (Some(found), Some(_)) => format!("is {found}"),
        };
        Ok(Some(Damage { name: expected.name.clone(), why }))
    });
    let damaged: Vec<_> =
        looked.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
    for damage in &damaged {
        tell(tool, damage);
    }
    if damaged.is_empty() {
        tool.report.summary(&format!("{} files, all as they should be", expected.len()));
        return Ok(Exit::Done);
    }
    let real = |damage: &Damage| tool.host.path(&damage.name).display().to_string();
    let names: Vec<_> = damaged.iter().map(real).collect();
    let what = format!("{} of {} files in the store are damaged", damaged.len(), expected.len());
    Err(Error::host("store-damaged", what).hint(format!(
        "run `rm -f {}`, then `kfetch apply`, which fetches them again",
        names.join(" ")
    )))
}

fn tell(tool: &Tool, damage: &Damage) {
    let Damage { name, why } = damage;
    tool.report.data(&if tool.report.is_json() {
        let event = json!({
            "schema": SCHEMA, "phase": "kfetch", "event": "damaged", "path": name, "what": why,
        });
        format!("{event}\n")
    } else {
        format!("{name}: {why}\n")
    });
}

/// Every blob there is; its name is its digest.
fn blobs(store: &Store) -> Result<Vec<Expected>> {
    let dir = store.path("blobs/sha256");
    let expected = |hex: String| Expected {
        name: format!("{STORE_DIR}/blobs/sha256/{hex}"),
        path: dir.join(&hex),
        digest: hex.parse().ok(),
    };
    Ok(fs::names(&dir)?.into_iter().map(expected).collect())
}

/// Every program that `artifacts.json` promises.
fn members(tool: &Tool, expected: &mut Vec<Expected>) -> Result<()> {
    let Some(record) = record::read(&tool.host)? else {
        let path = tool.host.path(Artifacts::PATH);
        let name = Artifacts::PATH.to_owned();
        return Err(Error::input("input-missing", format!("`{name}` is missing or damaged"))
            .because(format!("looked at `{}`", path.display()))
            .hint("run `kfetch apply`, which makes it"));
    };
    for member in record.files.into_values().flat_map(|file| file.members.into_values()) {
        let path = tool.host.path(&member.path);
        expected.push(Expected { name: member.path, path, digest: Some(member.sha256) });
    }
    Ok(())
}

/// Every manifest that is named, and what it names in turn.
fn images(store: &Store, index: &Index, expected: &mut Vec<Expected>) -> Result<()> {
    let mut expect = |digest: Sha256| {
        let (name, path) = (Store::blob_name(digest), store.blob(digest));
        expected.push(Expected { name, path, digest: Some(digest) });
    };
    for entry in index.manifests() {
        expect(entry.digest);
        let bytes = fs::read(&store.blob(entry.digest))?.unwrap_or_default();
        if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) {
            manifest.blobs().for_each(|blob| expect(blob.digest));
        }
    }
    Ok(())
}
