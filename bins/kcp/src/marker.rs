//! What kcp remembers of the control plane it made, in one small file.
//!
//! kubeadm leaves no sign of having finished: all its files are there long before its last effect.
//! Asking the API server instead would not do either, since a control plane that is only down
//! must not be made anew. So `config` is noted after kubeadm ended well, and only then. Dying
//! in between costs one more `kubeadm init` over what the first one made, which changes nothing
//! but takes its ten seconds.

use std::path::PathBuf;

use khost::{
    Host, Result, Thing,
    fs::{self, Attributes},
};
use kspec::{Sha256, paths::STATE_DIR};

use crate::inputs::Inputs;

/// With which settings the control plane was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Digest of the names in the API server's certificate; empty before there is one.
    pub(crate) names: String,
    /// Digest of kubeadm's configuration; empty until `kubeadm init` has finished once.
    pub(crate) config: String,
    /// The node joined a cluster that other nodes made.
    pub(crate) joined: bool,
}

impl Marker {
    /// What it says once a worker runs, which joined with `config`.
    pub(crate) fn of_worker(config: &str) -> Self {
        Self { config: Sha256::of(config).to_string(), names: String::new(), joined: true }
    }

    /// What it says once the control plane runs with `config`.
    pub(crate) fn wanted(inputs: &Inputs, config: &str) -> Self {
        let names = inputs.certificate_names().join("\n");
        Self {
            config: Sha256::of(config).to_string(),
            names: Sha256::of(names).to_string(),
            joined: inputs.joins,
        }
    }

    /// Whether `kubeadm init` has finished once.
    pub(crate) fn is_initialised(&self) -> bool {
        !self.config.is_empty()
    }

    fn path() -> PathBuf {
        PathBuf::from(STATE_DIR).join("control-plane-made-with")
    }

    /// The marker, as the journal wants it.
    pub(crate) fn thing() -> Thing {
        Thing::File(Self::path())
    }

    /// Empty where there is none yet.
    pub(crate) fn read(host: &Host) -> Result<Self> {
        let text = fs::read_text(&host.path(Self::path()))?.unwrap_or_default();
        let value = |key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
            found.unwrap_or_default().to_owned()
        };
        let joined = value("joined") == "yes";
        Ok(Self { config: value("config"), names: value("names"), joined })
    }

    pub(crate) fn write(&self, host: &Host) -> Result<()> {
        let joined = if self.joined { "joined yes\n" } else { "" };
        let text = format!("names {}\nconfig {}\n{joined}", self.names, self.config);
        let attributes = Attributes { mode: 0o644, owner: None };
        fs::write(&host.path(Self::path()), text.as_bytes(), attributes)
    }
}

#[cfg(test)]
mod tests {
    use khost::Host;

    use super::Marker;

    #[test]
    fn what_is_written_is_read() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        std::fs::create_dir_all(root.path().join("var/lib/k8steps")).unwrap();
        let mut marker = Marker { names: "sha256:1".into(), config: String::new(), joined: false };
        for (config, joined) in [("", false), ("sha256:2", false), ("sha256:2", true)] {
            marker.config = config.into();
            marker.joined = joined;
            marker.write(&host).unwrap();
            assert_eq!(Marker::read(&host).unwrap(), marker);
            assert_eq!(marker.is_initialised(), !config.is_empty());
        }
    }

    #[test]
    fn nothing_is_no_marker() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(Marker::read(&Host::new(root.path())).unwrap(), Marker::default());
    }
}
