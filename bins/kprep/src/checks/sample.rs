//! A tree that stands for a machine, for the tests of single checks.

use std::{fs, path::PathBuf};

use khost::Host;
use kspec::{Cluster, Role};
use tempfile::TempDir;

use super::{OF_A_NODE, OF_ANY, Subject};
use crate::{facts, validate::text};

pub(super) struct Sample {
    root: TempDir,
    pub(super) cluster: Cluster,
    pub(super) container: bool,
    pub(super) prepared: bool,
    pub(super) probe_disk: bool,
}

impl Sample {
    /// `node1` at 192.0.2.11 with all roles, never prepared, with `files` of path and text.
    pub(super) fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let sample = Self { root, cluster, container: false, prepared: false, probe_disk: false };
        for (path, text) in files {
            sample.write(path, text);
        }
        sample
    }

    #[expect(clippy::disallowed_methods, reason = "tests stand in for the machine")]
    pub(super) fn write(&self, path: &str, text: &str) {
        let real = self.path(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(real, text).unwrap();
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    pub(super) fn worker(mut self) -> Self {
        self.cluster.nodes[0].roles = vec![Role::Worker];
        self
    }

    /// What the check `code` says, as people read it.
    pub(super) fn says(&self, code: &str) -> String {
        let host = Host::new(self.root.path());
        let outcomes = if let Some((.., check)) = OF_ANY.iter().find(|(known, ..)| *known == code) {
            check(&host)
        } else {
            let node = &self.cluster.nodes[0];
            let mut facts = facts::whatever_the_system(&host, &self.cluster, node).unwrap();
            facts.container = self.container;
            let subject = Subject {
                host: &host,
                cluster: &self.cluster,
                node,
                facts,
                config: self.path("/etc/k8steps/cluster.toml"),
                prepared: self.prepared,
                probe_disk: self.probe_disk,
            };
            let (_, _, check) = OF_A_NODE.iter().find(|(known, ..)| *known == code).unwrap();
            check(&subject)
        };
        let known = OF_ANY.iter().map(|(known, ..)| *known);
        let known = known.chain(OF_A_NODE.iter().map(|(known, ..)| *known));
        let code = known.into_iter().find(|known| *known == code).unwrap();
        let said: Vec<_> =
            outcomes.unwrap().into_iter().map(|outcome| text(&outcome.called(code))).collect();
        said.concat()
    }
}
