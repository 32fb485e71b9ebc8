//! `kfetch lock`: write `artifacts.lock` from the catalogue, with the digests of its images.

use khost::{
    Change, Detail, Error, Result, Tool,
    error::Exit,
    fs::{self, Attributes},
    report::Event,
    steps::file,
};
use kspec::{LockedImage, paths::CLUSTER_TOML};

use crate::{
    catalogue::Catalogue,
    download::Downloads,
    image,
    lockfile::{Digests, LockFile},
    pool,
    source::Sources,
    store::Store,
    wanted::{self, WantedImage},
};

/// Write the lock for the Kubernetes of cluster.toml; with `check`, only show what would change.
/// Registries are asked for digests that lack, and nothing is written unless all have answered.
pub(crate) fn lock(tool: &Tool, sources: &Sources, check: bool) -> Result<Exit> {
    let (cluster, path) = (tool.cluster()?, tool.lock_path());
    if !check && path == tool.host.path(CLUSTER_TOML).with_file_name("artifacts.lock") {
        tool.needs_root("lock")?;
    }
    let before = fs::read_text(&path)?;
    let catalogue = Catalogue::built_in()?;
    let selection = catalogue.select(&cluster.kubernetes.version, &cluster.download.versions)?;

    let mut file = LockFile::new(before.as_deref())?;
    if before.is_some() {
        file.lock()?; // what cannot be read is not made worse
    }
    file.take(&selection)?;
    let resolved = resolve(tool, &file.lock()?.images, sources)?;
    file.pin(&resolved)?;
    let (after, id) = (file.text(), format!("file:{}", path.display()));
    file.lock()?;
    for note in &file.notes {
        tool.report.say(note);
    }
    if before.as_deref() == Some(after.as_str()) {
        tool.report.summary("nothing to do");
        return Ok(Exit::Done);
    }
    let mut change = Change::new(match before {
        Some(_) => format!("change {}", path.display()),
        None => format!("create {}", path.display()),
    });
    if check {
        change.detail = Some(Detail::Diff(file::diff(&before.unwrap_or_default(), &after)));
        tool.report.step(Event::Planned, &id, &change);
        return Ok(Exit::Differs);
    }
    let mode = fs::look(&path)?.map_or(0o644, |found| fs::mode(&found));
    fs::write(&path, after.as_bytes(), Attributes { mode, owner: None })?;
    tool.report.step(Event::Changed, &id, &change);
    Ok(Exit::Done)
}

/// The digests of those images that have none for this machine; none for the others, and for all
/// when nobody may be asked.
fn resolve(tool: &Tool, images: &[LockedImage], sources: &Sources) -> Result<Vec<Option<Digests>>> {
    let arch = wanted::this_machine()?;
    let lacks = |image: &LockedImage| !image.digest.contains_key(&arch);
    let count = images.iter().filter(|image| lacks(image)).count();
    if count > 0 && sources.is_offline() {
        tool.report.say(&format!(
            "{count} images stay without a digest: nobody may be asked for it; \
             `kfetch lock` without --offline asks"
        ));
    }
    if count == 0 || sources.is_offline() {
        return Ok(vec![None; images.len()]);
    }
    let store = Store::new(&tool.host);
    let stall = tool.context().limit.unwrap_or(sources.stall());
    let downloads = Downloads::new(&store, sources, stall)?;
    let resolved = pool::each(sources.parallel(), images, |locked| -> Result<Option<Digests>> {
        if !lacks(locked) {
            return Ok(None);
        }
        let reference = wanted::reference(locked)?;
        let hosts = sources.hosts(&reference.registry)?;
        let (name, text) = (locked.name.clone(), locked.reference.clone());
        let image = WantedImage { name, text, reference, digest: None };
        let digests: Digests = image::resolve(&downloads, &hosts, &image)?.into_iter().collect();
        if digests.is_empty() {
            let what = format!("`{}` is neither for amd64 nor for arm64", image.text);
            return Err(Error::host("wrong-architecture", what).hint("choose an image that is"));
        }
        let new = digests.into_iter().filter(|(arch, _)| !locked.digest.contains_key(arch));
        Ok(Some(new.collect()))
    });
    resolved.into_iter().collect()
}
