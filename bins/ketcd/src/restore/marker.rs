//! What says that a restore was begun and not finished.

use std::path::{Path, PathBuf};

use khost::{
    Error, Host, Result,
    fs::{self, Attributes},
};
use kspec::{Sha256, paths::STATE_DIR};
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, macros::format_description};

use crate::backup::Content;

/// A restore, from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marker {
    /// When it was begun; tells two restores from the same file apart.
    pub(super) id: String,
    /// The snapshot.
    pub(super) file: PathBuf,
    /// Digest of the snapshot.
    pub(super) sha256: Sha256,
    /// The snapshot's revision.
    pub(super) revision: u64,
}

/// Where it is.
pub(super) fn path(host: &Host) -> PathBuf {
    host.path(STATE_DIR).join("etcd-restore.json")
}

impl Marker {
    /// A restore from `file`, about to be begun.
    pub(super) fn new(file: &Path, content: &Content) -> Result<Self> {
        let format = format_description!("[year][month][day]T[hour][minute][second]Z");
        let id = OffsetDateTime::now_utc().format(format).unwrap_or_default();
        let sha256 = fs::digest(file)?.unwrap_or_else(|| Sha256::of(""));
        Ok(Self { id, file: file.to_owned(), sha256, revision: content.revision })
    }

    /// The one that was begun.
    ///
    /// # Errors
    /// `input-invalid` when the file is none of ours.
    pub(super) fn read(host: &Host) -> Result<Option<Self>> {
        let path = path(host);
        let Some(text) = fs::read_text(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            Error::input("input-invalid", format!("`{}` is not valid", path.display()))
                .because(error)
                .hint("remove it, and run the restore again")
        })
    }

    /// Remember it.
    pub(super) fn write(&self, host: &Host) -> Result<()> {
        let text = serde_json::to_string_pretty(self).unwrap_or_default() + "\n";
        fs::make_dirs(&host.path(STATE_DIR), 0o755)?;
        fs::write(&path(host), text.as_bytes(), Attributes { mode: 0o644, owner: None })
    }

    /// Whether both are from the same bytes.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.sha256 == other.sha256
    }
}

/// Let no other verb start an etcd in the middle of a restore: it would begin an empty cluster.
///
/// # Errors
/// `restore-unfinished`
pub(crate) fn refuse_unfinished(host: &Host) -> Result<()> {
    let Some(begun) = Marker::read(host)? else { return Ok(()) };
    let file = begun.file.display();
    Err(Error::host("restore-unfinished", format!("a restore from `{file}` was not finished"))
        .because("etcd's data is neither as it was nor, for certain, what the snapshot holds")
        .hint(format!(
            "run `ketcd restore {file}` as before; to give it up, remove `{}`",
            path(host).display()
        )))
}
