//! The images of the store, imported into containerd and unpacked, so that no pod waits for one.

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeMap,
    num::NonZero,
    ops::Range,
    path::Path,
    rc::Rc,
    sync::Mutex,
    thread,
    time::Duration,
};

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

/// Imports at the same time, where something waits for them. More than a small machine has
/// processors: each waits for the disk now and then.
const WORKERS: usize = 4;
/// The largest images take seconds; a stuck import is given up.
const LIMIT: Duration = Duration::from_secs(600);

/// By their names in the lock, in the order in which a cluster that is made comes to need them; any
/// others come after these. Of those that are needed together, the largest is first: the last to
/// end is then a short one.
const ORDER: [&str; 10] = [
    "kube-apiserver",
    "pause",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "flannel",
    "coredns",
    "node-feature-discovery",
    "metrics-server",
    "cluster-proportional-autoscaler",
];
/// As many of them are what kubeadm begins with.
const INIT: usize = 5;
/// No pod runs these: kcni takes flannel's CNI program out of the store.
const NOT_RUN: [&str; 1] = ["flannel-cni-plugin"];
/// The id of the step that brings these alone.
const INIT_ID: &str = "images:init";

/// What pods run of all that `artifacts.json` names, by their names in the lock.
pub(crate) fn run_by_pods(
    artifacts: &Artifacts,
) -> impl Iterator<Item = (&String, &ImageArtifact)> {
    artifacts.images.iter().filter(|(name, _)| !NOT_RUN.contains(&name.as_str()))
}

/// Images that containerd is to have.
#[derive(Debug)]
pub(crate) struct Images {
    id: &'static str,
    /// All of the lock, in order.
    all: Vec<ImageArtifact>,
    /// Which of them are to be there with this step.
    own: Range<usize>,
    workers: usize,
    seen: Seen,
}

/// What containerd has, as it was last looked at by any of the steps that share this.
type Seen = Rc<RefCell<Option<BTreeMap<String, Sha256>>>>;

impl Images {
    /// All images that pods run.
    pub(crate) fn all(artifacts: &Artifacts) -> Self {
        let place = |name: &str| ORDER.iter().position(|known| *known == name);
        let mut all: Vec<_> = run_by_pods(artifacts).collect();
        all.sort_by_key(|(name, _)| place(name).unwrap_or(ORDER.len()));
        let all: Vec<_> = all.into_iter().map(|(_, image)| image.clone()).collect();
        Self { id: "images", own: 0..all.len(), all, workers: WORKERS, seen: Seen::default() }
    }

    /// Those without which `kubeadm init` waits in vain; and the others, where half of the
    /// processors stay with what begins meanwhile.
    pub(crate) fn around_init(artifacts: &Artifacts) -> [Self; 2] {
        let [first, others] = [(); 2].map(|()| Self::all(artifacts));
        let (seen, end) = (Rc::clone(&others.seen), others.own.end);
        let init = ORDER[..INIT].iter().filter(|name| artifacts.images.contains_key(**name));
        let init = init.count();
        let processors = thread::available_parallelism().map_or(1, NonZero::get);
        let workers = (processors / 2).clamp(1, WORKERS);
        [
            Self { id: INIT_ID, own: 0..init, seen, ..first },
            Self { own: init..end, workers, ..others },
        ]
    }

    /// What containerd has, asked for once until something is imported.
    fn present(&self, host: &Host) -> Result<RefMut<'_, BTreeMap<String, Sha256>>> {
        if self.seen.borrow().is_none() {
            self.seen.replace(Some(present(host)?));
        }
        Ok(RefMut::map(self.seen.borrow_mut(), |seen| seen.get_or_insert_default()))
    }

    /// Those that containerd does not have, or has under another digest.
    fn missing(&self, host: &Host) -> Result<Vec<&ImageArtifact>> {
        let present = self.present(host)?;
        let missing = |image: &&ImageArtifact| present.get(&image.reference) != Some(&image.digest);
        Ok(self.all[self.own.clone()].iter().filter(missing).collect())
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
        self.id.into()
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
        let present = self.present(context.host)?;
        // Of all, in the first of the steps: reset takes images away once the kubelet is stopped.
        let new = self.all.iter().map(|image| &image.reference);
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
        // In one go with those of init nothing has begun yet that needs a processor.
        let workers = if context.changes(INIT_ID) { WORKERS } else { self.workers };
        let failed = Mutex::new(None);
        let waiting = Mutex::new(images.iter());
        let next = || {
            let may_go_on = failed.lock().is_ok_and(|failed| failed.is_none());
            waiting.lock().ok().filter(|_| may_go_on)?.next()
        };
        thread::scope(|scope| {
            for _ in 0..workers {
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
        self.seen.take();
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

#[cfg(test)]
mod tests {
    use super::Images;

    #[test]
    fn what_kubeadm_begins_with_comes_first_and_what_no_pod_runs_not_at_all() {
        let names =
            ["flannel-cni-plugin", "coredns", "kube-proxy", "etcd", "pause", "kube-apiserver"];
        let images = names.map(|name| ktest::image(name, name));
        let artifacts = ktest::artifacts([], images);
        let names = |images: &Images| {
            let images = images.all[images.own.clone()].iter();
            images.map(|image| image.reference.clone()).collect::<Vec<_>>()
        };
        let first = ["kube-apiserver", "pause", "kube-proxy"];
        let others = ["coredns", "etcd"];
        let around = Images::around_init(&artifacts);
        assert_eq!(around.each_ref().map(names), [first.to_vec(), others.to_vec()]);
        assert_eq!(names(&Images::all(&artifacts)), [&first[..], &others].concat());
    }
}
