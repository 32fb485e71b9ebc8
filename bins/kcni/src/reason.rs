//! Why this node gets no share, in an operator's words: what flanneld says when something is
//! missing that others provide.

use khost::pods::Meaning;

/// Of flannel's `main.go` and `pkg/subnet/kube`.
pub(crate) const KNOWN: [Meaning; 7] = [
    (
        &["pod cidr not assigned"],
        "the controller manager gave this node no part of pod-cidr: see `kcp check` and \
         `kubectl -n kube-system logs -l component=kube-controller-manager`",
    ),
    (
        &["is forbidden"],
        "flannel's account may not do that: `kcni apply` puts its roles right; \
         `kubectl auth can-i --list --as system:serviceaccount:kube-system:flannel` shows them",
    ),
    (
        &["Unauthorized"],
        "the API server does not know flannel's account: its token is of another cluster",
    ),
    (
        &["Failed to find interface to use that matches", "Could not find valid interface"],
        "no interface of this node is the one of network.flannel.interface or interface-regex: \
         `ip -brief address` shows what there is",
    ),
    (
        &["Failed to find any valid interface to use"],
        "flanneld takes the interface of the default route, and there is none: \
         name one in network.flannel.interface",
    ),
    (
        &["dial tcp", "i/o timeout", "connection refused"],
        "flanneld does not reach the API server at the address of control-plane.json",
    ),
    (
        &["address already in use", "device or resource busy"],
        "another program of this node has flannel's UDP port or VXLAN number: \
         `ip -details link show type vxlan` and `ss -ulnp` show which",
    ),
];

#[cfg(test)]
mod tests {
    use khost::pods::explained;

    #[track_caller]
    fn is_explained(said: &str, word: &str) {
        let means = explained(said, &super::KNOWN).replace(said, "");
        assert!(means.contains(word), "{said}");
    }

    #[test]
    fn what_is_known_has_a_meaning_and_a_command() {
        is_explained(
            "Error registering network: failed to acquire lease: node \"n\" pod cidr not assigned",
            "kcp check",
        );
        is_explained(
            "nodes \"n\" is forbidden: User \"system:serviceaccount:kube-system:flannel\" cannot get",
            "kcni apply",
        );
        is_explained("Could not find valid interface matching eth9", "ip -brief address");
        is_explained("container flannel waits: ImagePullBackOff, Back-off pulling", "knode apply");
    }
}
