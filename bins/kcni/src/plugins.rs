//! The CNI programs that every network plugin builds on.

use khost::{Owner, Result, artifacts, steps::program::Program};
use kspec::{paths::CNI_BIN_DIR, state::Artifacts};

/// All of the archive, in `/opt/cni/bin`.
///
/// Owned by `kube` as kubespray has them (`cni_bin_owner`). The flannel program beside them is
/// copied by a container and stays root's.
pub(crate) fn installed(store: &Artifacts) -> Result<Vec<Program>> {
    let archive = artifacts::file(store, "cni-plugins")?;
    if archive.members.is_empty() {
        return Err(artifacts::missing("cni-plugins"));
    }
    Ok(archive
        .members
        .iter()
        .filter(|(name, _)| !is_document(name))
        .map(|(name, member)| {
            Program::at(format!("{CNI_BIN_DIR}/{name}"), member).owner(Owner::new("kube", "root"))
        })
        .collect())
}

/// The released archive holds `LICENSE` and `README.md` beside its programs.
fn is_document(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase())
}
