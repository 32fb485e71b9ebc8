//! The images of the store, imported into containerd and unpacked, so that no pod waits for one.

use std::{collections::BTreeMap, path::Path, sync::Mutex, thread, time::Duration};

use khost::{Change, Context, Detail, Host, Result, Status, Step, Thing, fs};
use kspec::{
    Sha256,
    state::{Artifacts, ImageArtifact, NodeState, State as _},
};

use crate::{
    ctr,
    image::{self, Image},
    loopback::{HOSTS_DIR, Registry},
};

/// Imports at the same time. More than a small machine has processors: each waits for the disk
/// now and then.
const WORKERS: usize = 4;
/// The largest images take seconds; a stuck import is given up.
const LIMIT: Duration = Duration::from_secs(600);

/// All images that `artifacts.json` names.
#[derive(Debug)]
pub(crate) struct Images(Vec<ImageArtifact>);

impl Images {
    pub(crate) fn wanted(artifacts: &Artifacts) -> Self {
        Self(artifacts.images.values().cloned().collect())
    }

    /// Those that containerd does not have, or has under another digest.
    fn missing(&self, host: &Host) -> Result<Vec<&ImageArtifact>> {
        let present = present(host)?;
        let missing = |image: &&ImageArtifact| present.get(&image.reference) != Some(&image.digest);
        Ok(self.0.iter().filter(missing).collect())
    }
}

/// What containerd has. While it does not answer: what it had when this phase was last done,
/// since images survive a stop and starting containerd is another step's business.
pub(crate) fn present(host: &Host) -> Result<BTreeMap<String, Sha256>> {
    ctr::images().or_else(|error| {
        tracing::debug!("{}", error.chain());
        let state = fs::read_text(&host.path(NodeState::PATH))?.unwrap_or_default();
        let state = serde_json::from_str(&state).ok();
        Ok(state.map(|state: NodeState| state.images).unwrap_or_default())
    })
}

impl Step for Images {
    fn id(&self) -> String {
        "images".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let missing = self.missing(context.host)?;
        if missing.is_empty() {
            return Ok(Status::Done);
        }
        let line = |image: &&ImageArtifact| format!("+{} {}\n", image.reference, image.digest);
        Ok(Status::Differs(Change {
            what: format!("import {} images into containerd", missing.len()),
            detail: Some(Detail::Diff(missing.iter().map(line).collect())),
        }))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let present = present(context.host)?;
        let new = self.0.iter().map(|image| &image.reference);
        let new: Vec<_> = new.filter(|name| !present.contains_key(*name)).cloned().collect();
        let mut things = vec![Thing::Tree(HOSTS_DIR.into())];
        if !new.is_empty() {
            things.push(Thing::Images(new));
        }
        Ok(things)
    }

    /// Several images at the same time: containerd unpacks one while it fetches another, and one
    /// that is done stays done whatever becomes of the rest.
    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let images = image::all(context.host, self.missing(context.host)?)?;
        let registry = Registry::open(context.host, &images)?;
        let failed = Mutex::new(None);
        let waiting = Mutex::new(images.iter());
        let next = || {
            let may_go_on = failed.lock().is_ok_and(|failed| failed.is_none());
            waiting.lock().ok().filter(|_| may_go_on)?.next()
        };
        thread::scope(|scope| {
            for _ in 0..WORKERS {
                scope.spawn(|| {
                    while let Some(image) = next() {
                        let pulled = pull(image, registry.hosts_dir());
                        if let (Err(error), Ok(mut failed)) = (pulled, failed.lock()) {
                            failed.get_or_insert(error);
                        }
                    }
                });
            }
        });
        failed.into_inner().ok().flatten().map_or(Ok(()), Err)
    }
}

/// One image through one call, unpacked at once.
fn pull(image: &Image, hosts_dir: &Path) -> Result<()> {
    let pull = ["images", "pull", "--snapshotter", "overlayfs", "--hosts-dir"];
    let pull = ctr::ctr(&pull).arg(hosts_dir).arg(image.reference.as_str());
    pull.limit(LIMIT).run().map(drop).map_err(|error| match image.verify() {
        Ok(()) => error.hint(
            "look with `journalctl --unit=containerd --lines=50`, and whether 127.0.0.1 is blocked",
        ),
        Err(damaged) => damaged.because(error),
    })
}
