//! Directories that several phases share, as kubespray makes them
//! (`preinstall/tasks/0050-create_directories.yml`).
//!
//! Each phase removes its own files at reset; these go when nothing is left in them.

use khost::{
    Owner, StepList,
    steps::{directory::Directory, link::Link},
};
use kspec::paths;

/// Where kubelet finds volume plugins (kubespray: `kubelet_flexvolumes_plugins_dir`).
const VOLUME_PLUGINS: &str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec";
/// kubespray's `kube_script_dir`.
const SCRIPTS: &str = "/usr/local/bin/kubernetes-scripts";
const COMPLETION: &str = "/etc/bash_completion.d";
/// Where kubeadm's own default is, for whoever looks there.
const PKI: &str = "/etc/kubernetes/pki";

/// Directories with their owners, all 0755, parents first.
pub(crate) fn shared(steps: &mut StepList) {
    // kubespray names the owner alone: the group is that of whoever made it, root.
    let kube = || Owner::new(super::accounts::KUBE, "root");
    let made = |path: &str| Directory::new(path);
    steps.extend([
        made(COMPLETION),
        made(paths::BIN_DIR),
        made(paths::KUBE_DIR).owner(kube()),
        made(paths::MANIFEST_DIR).owner(kube()),
        made(SCRIPTS).owner(kube()),
        made(VOLUME_PLUGINS).owner(kube()),
        made(paths::KUBE_CERT_DIR),
        made(paths::CNI_CONF_DIR).owner(kube()),
        made(paths::CNI_BIN_DIR).owner(kube()),
    ]);
    steps.add(Link::new(PKI, paths::KUBE_CERT_DIR));
}
