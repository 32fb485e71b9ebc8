//! `kfetch prune`: remove from the store what neither the lock nor `artifacts.json` names.
//!
//! containerd has images of its own; they are not touched.

use std::{collections::BTreeSet, path::Path};

use indicatif::HumanBytes;
use khost::{Change, Result, Tool, error::Exit, fs, report::Event};
use kspec::{Format, Lock, Sha256, state::Artifacts};

use crate::{
    index::{Document, Index},
    record,
    store::Store,
    wanted::{self, Wanted},
};

/// What must stay.
#[derive(Debug, Default)]
struct Named {
    /// Blobs, and what is kept of them while they are not complete.
    blobs: BTreeSet<Sha256>,
    /// Archives whose members are unpacked.
    archives: BTreeSet<Sha256>,
    /// References of images.
    images: BTreeSet<String>,
}

/// Something to remove: where it is in the store, and how long.
type Victim = (String, u64);

/// Show what would go, ask unless `yes`, and remove it.
pub(crate) fn prune(tool: &Tool, yes: bool) -> Result<Exit> {
    tool.needs_root("prune")?;
    tool.alone()?;
    let store = Store::new(&tool.host);
    let named = named(tool, &store)?;
    let mut index = Index::read(&store)?.unwrap_or_default();
    let images = index.retain(|name| named.images.contains(name));
    let victims = victims(&store, &named)?;
    if images.is_empty() && victims.is_empty() {
        tool.report.summary("nothing to remove");
        return Ok(Exit::Done);
    }
    let files = victims.iter().map(|(name, size)| format!("remove {name} ({})", HumanBytes(*size)));
    let lines: Vec<_> =
        images.iter().map(|name| format!("forget image {name}")).chain(files).collect();
    tool.confirm("prune", "remove", &lines, yes)?;

    if !images.is_empty() {
        index.write(&store)?; // before its blobs go: what it names is there
    }
    for (name, _) in &victims {
        fs::remove_tree(&store.path(name))?;
    }
    for (name, line) in images.iter().chain(victims.iter().map(|(name, _)| name)).zip(&lines) {
        tool.report.step(Event::Changed, &format!("prune:{name}"), &Change::new(line));
    }
    let freed = HumanBytes(victims.iter().map(|(_, size)| size).sum());
    tool.report.summary(&format!("{} removed, {freed} freed", lines.len()));
    Ok(Exit::Done)
}

/// What the lock and `artifacts.json` name, for every architecture.
fn named(tool: &Tool, store: &Store) -> Result<Named> {
    let (lock, arch) = (tool.lock()?, wanted::this_machine()?);
    let record = record::read(&tool.host)?;
    let wanted = Wanted::new(&lock, arch, store, record.as_ref())?;
    let mut named = Named::default();
    of_lock(&lock, &mut named);
    named.blobs.extend(wanted.images.iter().filter_map(|image| image.digest));
    if let Some(record) = &record {
        of_record(record, &mut named);
    }
    for manifest in named.blobs.clone() {
        // A manifest is short, and a long file is none.
        if store.size(manifest)?.is_some_and(|size| size <= crate::registry::DOCUMENT_LIMIT)
            && let Ok(Document::Manifest(manifest)) =
                Document::parse(&fs::read(&store.blob(manifest))?.unwrap_or_default())
        {
            named.blobs.extend(manifest.blobs().map(|blob| blob.digest));
        }
    }
    Ok(named)
}

fn of_lock(lock: &Lock, named: &mut Named) {
    named.blobs.extend(lock.files.iter().map(|file| file.sha256));
    let archives = lock.files.iter().filter(|file| file.format == Format::TarGz);
    named.archives.extend(archives.map(|file| file.sha256));
    for image in &lock.images {
        named.blobs.extend(image.digest.values());
        named.images.insert(image.reference.clone());
    }
}

fn of_record(record: &Artifacts, named: &mut Named) {
    for member in record.files.values().flat_map(|file| file.members.values()) {
        // It lies in the store as `blobs/sha256/HEX` or `unpacked/HEX/NAME`.
        let parts = Path::new(&member.path).iter().filter_map(|part| part.to_str()?.parse().ok());
        for digest in parts {
            named.blobs.insert(digest);
            named.archives.insert(digest);
        }
    }
    for image in record.images.values() {
        named.blobs.insert(image.digest);
        named.images.insert(image.reference.clone());
    }
}

/// Everything else in the places of the store.
fn victims(store: &Store, named: &Named) -> Result<Vec<Victim>> {
    let is = |all: &BTreeSet<Sha256>, name: &str| name.parse().is_ok_and(|hex| all.contains(&hex));
    let mut victims = Vec::new();
    let mut look = |place: &str, keeps: &dyn Fn(&str) -> bool| -> Result<()> {
        for name in fs::names(&store.path(place))? {
            if !keeps(&name) {
                let below = format!("{place}/{name}");
                victims.push((below.clone(), size(&store.path(&below))?));
            }
        }
        Ok(())
    };
    look("blobs/sha256", &|name| is(&named.blobs, name))?;
    look("unpacked", &|name| is(&named.archives, name.strip_suffix(".json").unwrap_or(name)))?;
    look("partial", &|name| is(&named.blobs, name))?;
    Ok(victims)
}

/// Bytes of a file, or of the files in a directory.
fn size(path: &Path) -> Result<u64> {
    let Some(found) = fs::look(path)? else { return Ok(0) };
    if !found.is_dir() {
        return Ok(found.len());
    }
    let mut sum = 0;
    for name in fs::names(path)? {
        sum += size(&path.join(name))?;
    }
    Ok(sum)
}
