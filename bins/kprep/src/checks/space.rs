//! Space: for what will be installed, and for the kubelet to leave pods in peace.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt as _, path::PathBuf};

use khost::{Error, Result};
use kspec::{Role, paths};
use nix::sys::statvfs::statvfs;

use super::{Found, Outcome, Subject, disk::nearest};

const MIB: u64 = 1 << 20;
/// MiB that the recorded run's versions take, rounded up: archives, images and unpacked programs
/// in the store; programs; images and their snapshots in containerd.
const STORE: u64 = 1536;
const PROGRAMS: u64 = 768;
const IMAGES: u64 = 1280;
const CONTAINERD: &str = "/var/lib/containerd";
const KUBELET: &str = "/var/lib/kubelet";

/// Share of its file system that must be free, or kubelet drives pods out and lets none in
/// (kubelet's `evictionHard`: `imagefs.available`, `nodefs.available`), in hundredths.
const FREE: [(&str, u64); 2] = [(CONTAINERD, 15), (KUBELET, 10)];

/// A file system: what is on it, and how full it is.
#[derive(Debug, Default, PartialEq, Eq)]
struct FileSystem {
    /// What of ours is, or will be, there.
    paths: Vec<&'static str>,
    /// MiB that will be taken.
    needed: u64,
    /// MiB that root's and others' programs can still take.
    free: u64,
    /// MiB in all.
    size: u64,
    /// Hundredths that must stay free.
    least: u64,
}

pub(super) fn enough(subject: &Subject<'_>) -> Found {
    if subject.prepared {
        return Outcome::passed("what takes space may be there already").only();
    }
    Ok(file_systems(subject)?.iter().map(FileSystem::holds).collect())
}

pub(super) fn without_pressure(subject: &Subject<'_>) -> Found {
    if subject.cluster.kubelet.extra.contains_key("evictionHard") {
        return Outcome::passed("[kubelet.extra] says when pods are driven out").only();
    }
    if !subject.node.is(Role::Worker) && !subject.node.is(Role::ControlPlane) {
        return Outcome::passed("no kubelet will run here").only();
    }
    let watched = |system: &&FileSystem| system.least > 0;
    let systems = file_systems(subject)?;
    Ok(systems.iter().filter(watched).map(|system| system.stays_free(subject.prepared)).collect())
}

fn needs(subject: &Subject<'_>) -> Vec<(&'static str, u64)> {
    let mut needs = vec![(paths::STORE_DIR, STORE), (paths::BIN_DIR, PROGRAMS)];
    if subject.node.is(Role::Etcd) {
        needs.push((paths::ETCD_DATA_DIR, subject.cluster.etcd.quota_bytes / MIB));
    }
    if subject.node.is(Role::Worker) || subject.node.is(Role::ControlPlane) {
        needs.extend([(CONTAINERD, IMAGES), (KUBELET, 0)]);
    }
    needs
}

fn file_systems(subject: &Subject<'_>) -> Result<Vec<FileSystem>> {
    let mut systems = BTreeMap::<u64, FileSystem>::new();
    for (path, mib) in needs(subject) {
        let dir = nearest(&subject.host.path(path));
        let device = dir.metadata().map_err(|error| Error::io("read", &dir, error))?.dev();
        let (free, size) = free_and_size(&dir)?;
        let system = systems.entry(device).or_default();
        (system.free, system.size) = (free, size);
        system.paths.push(path);
        system.needed += mib;
        let least =
            FREE.iter().find(|(watched, _)| *watched == path).map_or(0, |(_, least)| *least);
        system.least = system.least.max(least);
    }
    Ok(systems.into_values().collect())
}

fn free_and_size(dir: &PathBuf) -> Result<(u64, u64)> {
    let found = statvfs(dir).map_err(|errno| Error::io("read", dir, errno.into()))?;
    let mib = |blocks: u64| blocks * found.fragment_size() / MIB;
    Ok((mib(found.blocks_available()), mib(found.blocks())))
}

impl FileSystem {
    fn holds(&self) -> Outcome {
        let Self { needed, free, size, .. } = self;
        let paths = self.paths.join(", ");
        let seen = format!("{free} MiB of {size} MiB are free below {paths}");
        if free >= needed {
            return Outcome::passed(format!("there is space for the {needed} MiB to come"))
                .seen(seen);
        }
        Outcome::problem(format!("{needed} MiB are needed and {free} MiB are free"))
            .seen(seen)
            .remedy("free some, or mount something larger at one of these places")
    }

    /// After the installation, unless that was already.
    fn stays_free(&self, prepared: bool) -> Outcome {
        let then = if prepared { self.free } else { self.free.saturating_sub(self.needed) };
        let least = self.size * self.least / 100;
        let seen = format!(
            "{then} MiB of {} MiB {} free below {}",
            self.size,
            if prepared { "are" } else { "will be" },
            self.paths.join(", ")
        );
        if then >= least {
            return Outcome::passed("enough stays free for kubelet to admit pods").seen(seen);
        }
        let what = format!("below {}% free, kubelet drives pods out and admits none", self.least);
        let outcome = if prepared { Outcome::warning(what) } else { Outcome::problem(what) };
        outcome.seen(seen).remedy(
            "free some, or set your own limits, e.g. evictionHard = { \"nodefs.available\" = \
             \"1Gi\", \"imagefs.available\" = \"1Gi\" } in [kubelet.extra]",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verdict, sample::Sample},
        FileSystem,
    };

    fn system(free: u64) -> FileSystem {
        FileSystem { paths: vec!["/var/lib/x"], needed: 2000, free, size: 10_000, least: 15 }
    }

    #[test]
    fn what_will_be_installed_must_fit() {
        assert_eq!(system(2000).holds().verdict, Verdict::Passed);
        let outcome = system(1999).holds();
        assert_eq!(outcome.verdict, Verdict::Problem);
        assert_eq!(outcome.what, "2000 MiB are needed and 1999 MiB are free");
        assert_eq!(outcome.evidence, "1999 MiB of 10000 MiB are free below /var/lib/x");
    }

    #[test]
    fn kubelet_must_have_its_share() {
        for (free, prepared, verdict) in [
            (3500, false, Verdict::Passed),
            (3499, false, Verdict::Problem),
            (1500, true, Verdict::Passed),
            (1499, true, Verdict::Warning),
        ] {
            assert_eq!(system(free).stays_free(prepared).verdict, verdict, "{free}");
        }
    }

    #[test]
    fn the_parts_of_one_file_system_add_up() {
        let sample = Sample::new(&[]);
        let said = sample.says("space-too-little");
        assert!(said.contains("space-too-little]: "), "{said}");
        assert!(said.contains("5632 MiB"), "store, programs, etcd and images: {said}");
        let said = sample.worker().says("space-too-little");
        assert!(said.contains("3584 MiB"), "no etcd: {said}");
    }

    #[test]
    fn the_operators_own_limits_count() {
        let mut sample = Sample::new(&[]);
        let own = serde_json::json!({ "nodefs.available": "1Gi" });
        sample.cluster.kubelet.extra.insert("evictionHard".into(), own);
        assert!(sample.says("space-pressure").contains("[kubelet.extra] says"));
    }
}
