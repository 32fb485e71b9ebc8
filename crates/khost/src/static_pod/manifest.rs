//! Putting another manifest in place, and the one before back when the new one does not work.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    Ending, Kubelet, StaticPod,
    last_words::{started_since, starts},
};
use crate::{
    Context, Error, Result,
    fs::{self, Attributes},
    wait::{Seen, until},
};

/// kubeadm's mode for manifests.
const MODE: u32 = 0o600;

/// A container that has ended this often since its manifest is new will not work by itself: the
/// kubelet starts it at once, then after 10 s, then after 20 s.
const ENDED_IN_VAIN: usize = 2;

impl StaticPod {
    /// Put `manifest` in place, wait until the pod that the kubelet makes of it is healthy, and
    /// note that it works, and the files that it reads. When it is not, the manifest before comes
    /// back, and is waited for in turn.
    ///
    /// # Errors
    /// `static-pod-unhealthy`, with what was seen last and the container's own last words.
    pub fn put(&self, context: &Context<'_>, manifest: &str) -> Result<()> {
        let host = context.host;
        let path = host.path(self.component.manifest());
        let before = fs::read_text(&path)?;
        let digest = self.stamp.digest(host)?;
        let Err(failed) = self.write(context, &path, manifest, before.as_deref()) else {
            self.stamp.write(host, digest)?;
            return self.note_worked(host, manifest);
        };
        let Some(before) = before else { return Err(failed) };
        let returned = self.write(context, &path, &before, Some(manifest));
        let name = self.component.name();
        let error = Error::host(
            "static-pod-unhealthy",
            match &returned {
                Ok(()) => format!(
                    "the {name} does not work with its new settings; it has the old ones again"
                ),
                Err(_) => {
                    format!("the {name} does not work with its new settings, nor with the old ones")
                }
            },
        );
        let cause = match returned {
            Ok(()) => failed.chain(),
            Err(also) => format!("{}\nthen: {}", failed.chain(), also.chain()),
        };
        Err(error.because(cause).hint(
            "correct [control-plane] in cluster.toml and apply again; what it said is in /var/log/pods",
        ))
    }

    /// Write `manifest` in place of `before` and wait for its pod.
    fn write(
        &self,
        context: &Context<'_>,
        path: &Path,
        manifest: &str,
        before: Option<&str>,
    ) -> Result<()> {
        let host = context.host;
        // Other words for the same pod leave it running.
        let same = before.is_some_and(|before| same_pod(before, manifest));
        let running = if same { BTreeSet::new() } else { self.component.pods(host)? };
        let containers = if same { Vec::new() } else { self.component.running(host)? };
        let worked = self.worked(host, manifest)?;
        let wanted = Wanted { again: worked.and_then(|worked| worked.pod), not: running };
        let started = starts(host, self.component);
        let owner = host.ids(&crate::Owner::root())?;
        fs::write(path, manifest.as_bytes(), Attributes { mode: MODE, owner })?;
        let mut ending = Ending::of(&containers); // the kubelet tells them to
        let mut kubelet = Kubelet::default();
        let what = format!("the {} with its new manifest, on {}", self.component.name(), self.url);
        until(context, &self.awaited("replaced", what), || {
            let pods = self.component.pods(host)?;
            if !pods.iter().all(|pod| wanted.is(pod)) {
                self.hurry(host, &mut ending)?;
                return Ok(Seen::not_yet("the kubelet has not ended the one before"));
            }
            if !same {
                kubelet.begin_anew()?;
            }
            self.look(context, pods.is_empty(), &started)
        })
    }

    /// Whether the new pod is healthy; `down` when no container of it runs.
    fn look(
        &self,
        context: &Context<'_>,
        down: bool,
        started: &BTreeMap<PathBuf, usize>,
    ) -> Result<Seen> {
        let host = context.host;
        let since = started_since(started, &starts(host, self.component));
        let ended = since.saturating_sub(usize::from(!down));
        if ended >= ENDED_IN_VAIN {
            let seen = format!("its container has ended {ended} times");
            let name = self.component.name();
            return Err(Error::host("container-ends", format!("the {name} does not keep running"))
                .because(seen + &self.words(host)));
        }
        if down {
            return Ok(self.not_yet(context, "no container of it runs"));
        }
        self.ask(context)
    }
}

/// The pod that the kubelet will make of a manifest: none of those that ran when it was put in
/// place, unless it is the pod of a manifest that worked before. That one is the same pod again, and
/// may still run: who changed the manifest did so just now, and the kubelet is about to follow.
#[derive(Debug)]
struct Wanted {
    again: Option<String>,
    not: BTreeSet<String>,
}

impl Wanted {
    fn is(&self, pod: &str) -> bool {
        self.again.as_deref() == Some(pod) || !self.not.contains(pod)
    }
}

/// Whether two manifests differ in comments and layout at most.
fn same_pod(one: &str, other: &str) -> bool {
    match (kspec::from_yaml_documents(one), kspec::from_yaml_documents(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kspec::Cluster;

    use super::{StaticPod, Wanted, same_pod};
    use crate::{
        Context, Host,
        report::{Loudness, Report},
        static_pod::Component,
    };

    #[test]
    #[expect(clippy::disallowed_methods, reason = "kubelet's hand, in a test")]
    fn a_container_that_ended_twice_is_given_up_with_its_last_words() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let pod = StaticPod::new(Component::Scheduler, &cluster);
        let dir = host.path("/var/log/pods/kube-system_kube-scheduler-node1_01/kube-scheduler");
        std::fs::create_dir_all(&dir).unwrap();
        let line = "2026-01-02T03:04:05.6Z stderr F unknown flag: --nonsense\n";
        std::fs::write(dir.join("0.log"), line).unwrap();
        pod.look(&context, true, &BTreeMap::new()).unwrap(); // once: the kubelet starts another

        std::fs::write(dir.join("1.log"), line).unwrap();
        let error = pod.look(&context, true, &BTreeMap::new()).unwrap_err();
        assert_eq!(error.code(), "container-ends");
        let said = error.chain();
        for words in ["the scheduler does not keep running", "ended 2 times", "--nonsense"] {
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_manifest_that_worked_before_is_the_same_pod_again() {
        let wanted = |again| Wanted { again, not: ["a".to_owned(), "b".to_owned()].into() };
        let again = wanted(Some("a".to_owned()));
        assert!(again.is("a") && !again.is("b") && again.is("c"));
        let new = wanted(None);
        assert!(!new.is("a") && !new.is("b") && new.is("c"));
    }

    #[test]
    fn a_comment_makes_no_other_pod() {
        assert!(same_pod("a: 1\n", "# by hand\na:   1\n"));
        assert!(!same_pod("a: 1\n", "a: 2\n"));
        assert!(!same_pod("a: [", "a: 1\n"));
    }
}
