//! What kfetch keeps in the store, by the names that `artifacts.lock` gives it.

use kspec::state::{Artifacts, FileArtifact, ImageArtifact, Member};

use crate::{Error, Result};

/// The file that the lock calls `name`.
///
/// # Errors
/// `artifact-missing` when the lock did not name it.
pub fn file<'a>(artifacts: &'a Artifacts, name: &str) -> Result<&'a FileArtifact> {
    artifacts.files.get(name).ok_or_else(|| missing(name))
}

/// The program that is called like the file it is in, or is all of it: `kubeadm`, `helm`.
///
/// # Errors
/// `artifact-missing` when the lock named neither.
pub fn program<'a>(artifacts: &'a Artifacts, name: &str) -> Result<&'a Member> {
    artifacts.member(name, name).ok_or_else(|| missing(name))
}

/// The image that the lock calls `name`.
///
/// # Errors
/// `artifact-missing` when the lock did not name it.
pub fn image<'a>(artifacts: &'a Artifacts, name: &str) -> Result<&'a ImageArtifact> {
    artifacts.images.get(name).ok_or_else(|| missing(name))
}

/// The error for something that the lock did not name, or not whole.
pub fn missing(name: &str) -> Error {
    Error::input("artifact-missing", format!("artifacts.json has no `{name}`")).hint(
        "name it in artifacts.lock (`make install` puts a complete one there), \
         then run `kfetch apply`",
    )
}
