//! The step that makes the store's directory an OCI image layout.

use std::path::Path;

use khost::{
    Change, Context, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::directory::Directory,
};
use kspec::paths::STORE_DIR;

use crate::{index::Index, store::Store};

/// The whole of `oci-layout` (OCI image layout specification 1.0).
pub(crate) const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// An image layout, empty at first. All of it is ours: reset removes the tree.
#[derive(Debug)]
pub(crate) struct Layout;

fn directory() -> Directory {
    Directory::new(STORE_DIR).filled()
}

/// What a step that adds to the store touches.
pub(crate) fn touches(context: &Context<'_>) -> Result<Vec<Thing>> {
    directory().touches(context)
}

impl Step for Layout {
    fn id(&self) -> String {
        format!("store:{STORE_DIR}")
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let store = Store::new(context.host);
        let marked = fs::read_text(&store.path("oci-layout"))?.as_deref() == Some(OCI_LAYOUT);
        let places = ["blobs/sha256", "unpacked", "partial"].map(|place| store.path(place));
        if marked && places.iter().all(|place| place.is_dir()) && Index::read(&store)?.is_some() {
            return directory().check(context);
        }
        Ok(Status::Differs(Change::new(format!("make the store {STORE_DIR} (0755 root:root)"))))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        directory().apply(context)?;
        let store = Store::new(context.host);
        for place in ["blobs/sha256", "unpacked", "partial"] {
            fs::make_dirs(&store.path(place), 0o755)?;
        }
        write(&store.path("oci-layout"), OCI_LAYOUT.as_bytes())?;
        match Index::read(&store)? {
            Some(_) => Ok(()),
            None => Index::default().write(&store), // images are found again by their digests
        }
    }
}

/// Replace a file of the store, for all to read.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes, Attributes { mode: 0o644, owner: None })
}
