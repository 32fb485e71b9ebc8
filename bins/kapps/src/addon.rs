//! One add-on: its objects in the cluster.

use khost::{
    Result, Thing,
    steps::manifest::{Manifest, title},
    template,
};
use kspec::state::App;
use serde_json::Value;

/// An add-on, ready to be applied.
#[derive(Debug)]
pub(crate) struct Addon {
    pub(crate) name: &'static str,
    /// Its image, or the version it belongs to.
    pub(crate) version: String,
    /// Its objects as YAML documents.
    pub(crate) yaml: String,
    /// The same, parsed.
    pub(crate) objects: Vec<Value>,
    /// What its pods bring about on the machine.
    pub(crate) causes: Vec<Thing>,
}

impl Addon {
    /// The add-on `name` from its template, filled in with `values`.
    pub(crate) fn new(
        name: &'static str,
        version: &str,
        source: &str,
        values: &Value,
    ) -> Result<Self> {
        let file = format!("{name}.yaml");
        let yaml = template::render(&file, source, values)?;
        let objects = template::objects(&file, &yaml)?;
        Ok(Self { name, version: version.into(), yaml, objects, causes: Vec::new() })
    }

    pub(crate) fn causing(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.causes.extend(things);
        self
    }

    pub(crate) fn manifest(&self) -> Manifest {
        let manifest = Manifest::new(self.name, crate::NAME, self.objects.clone());
        manifest.causing(self.causes.clone()).stateless()
    }

    /// For `apps.json`.
    pub(crate) fn app(&self) -> App {
        App { version: self.version.clone(), objects: self.objects.iter().map(title).collect() }
    }
}
