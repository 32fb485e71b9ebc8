//! What kubeadm is to change in the static pods that it makes (kubespray: `kubeadm_patches`).

use khost::steps::file::File;
use kspec::state::{Facts, SelinuxMode};

/// kubespray's place for it (`kubeadm_patches_dir`).
pub(crate) const DIR: &str = "/etc/kubernetes/patches";

const PODS: [&str; 3] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler"];

/// The control plane reads keys and configuration of the machine, which `SELinux` keeps from
/// ordinary containers: `spc_t` is container-selinux's type for those that are part of it.
const SELINUX: &str = "spec:\n  securityContext:\n    seLinuxOptions:\n      type: spc_t\n";

/// Whether there is anything to change.
pub(crate) fn needed(facts: &Facts) -> bool {
    facts.selinux == SelinuxMode::Enforcing
}

/// Name and content of each, as `kubeadm init --patches` wants them: a pod's name, then the kind
/// of patch.
pub(crate) fn texts(facts: &Facts) -> Vec<(String, String)> {
    let pods = if needed(facts) { &PODS[..] } else { &[] };
    pods.iter().map(|pod| (format!("{pod}+strategic.yaml"), SELINUX.into())).collect()
}

/// They, where kubeadm finds them.
pub(crate) fn files(facts: &Facts) -> Vec<File> {
    let file = |(name, text): (String, String)| File::new(format!("{DIR}/{name}")).text(text);
    texts(facts).into_iter().map(file).collect::<Vec<_>>()
}
