//! The operator's own manifests: a directory of files, applied as the add-ons are.

mod read;
mod refusal;
mod step;

use khost::steps::manifest::title;
use serde_json::Value;

pub(crate) use read::read;
pub(crate) use step::OwnManifests;

/// Owner of their fields; another than that of the add-ons.
pub(crate) const MANAGER: &str = "kapps-manifests";

/// One object, and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    /// The file, as the operator knows it.
    pub(crate) file: String,
    /// Which of its documents, from 1.
    pub(crate) number: usize,
    pub(crate) object: Value,
}

impl Document {
    /// ``` `/etc/k8steps/manifests/a.yaml`, document 2 (ConfigMap default/a)```
    pub(crate) fn place(&self) -> String {
        format!("`{}`, document {} ({})", self.file, self.number, title(&self.object))
    }

    /// Whether others of these files may need it before they can be checked or made.
    fn is_ground(&self) -> bool {
        self.is("Namespace") || self.is("CustomResourceDefinition")
    }

    fn is(&self, kind: &str) -> bool {
        self.object["kind"] == kind
    }
}
