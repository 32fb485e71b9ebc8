//! The user that owns Kubernetes' directories (kubespray: `adduser`). etcd's user belongs to
//! ketcd.

use khost::{
    StepList,
    steps::account::{Group, User},
};

/// kubespray's `kube_owner`.
pub(crate) const KUBE: &str = "kube";
/// kubespray's `kube_cert_group`.
const KUBE_CERT: &str = "kube-cert";

pub(crate) fn kube(steps: &mut StepList) {
    steps.add(Group::new(KUBE_CERT));
    steps.add(User::new(KUBE, KUBE_CERT, "Kubernetes user"));
}
