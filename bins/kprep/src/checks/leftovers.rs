//! What an earlier installation left: kubeadm, kubelet and etcd would take it for their own.

use khost::fs;

use super::{Found, Outcome, Subject};

/// Files of which one is enough for `kubeadm init` to fail, or etcd to join what is gone.
const IN_THE_WAY: [&str; 8] = [
    "/etc/kubernetes/admin.conf",
    "/etc/kubernetes/controller-manager.conf",
    "/etc/kubernetes/kubelet.conf",
    "/etc/kubernetes/scheduler.conf",
    "/etc/kubernetes/manifests/kube-apiserver.yaml",
    "/var/lib/etcd/member",
    "/var/lib/kubelet/config.yaml",
    "/var/lib/kubelet/pki/kubelet-client-current.pem",
];
/// What the pod network or another distribution of Kubernetes left.
const OF_OTHERS: [&str; 9] = [
    "/sys/class/net/cni0",
    "/sys/class/net/kube-bridge",
    "/sys/class/net/kube-ipvs0",
    "/sys/class/net/cilium_host",
    "/run/flannel/subnet.env",
    "/var/lib/cni/networks",
    "/etc/rancher",
    "/var/lib/rancher",
    "/var/lib/k0s",
];
const CNI: &str = "/etc/cni/net.d";

pub(super) fn none(subject: &Subject<'_>) -> Found {
    if subject.prepared {
        return Outcome::passed("what is here may be this node's own").only();
    }
    // What only root may look into is told of by root alone.
    let there = |path: &&str| fs::exists(&subject.host.path(path));
    let mut others: Vec<_> =
        OF_OTHERS.iter().filter(|path| there(path)).map(|at| (*at).to_owned()).collect();
    let vxlan = format!("/sys/class/net/flannel.{}", subject.cluster.network.flannel.vni);
    others.extend(Some(vxlan).filter(|path| there(&path.as_str())));
    let networks = fs::names(&subject.host.path(CNI)).unwrap_or_default();
    others.extend(networks.iter().map(|name| format!("{CNI}/{name}")));

    let in_the_way: Vec<_> = IN_THE_WAY.iter().copied().filter(there).collect();
    let mut found = Vec::new();
    if !in_the_way.is_empty() {
        found.push(
            Outcome::problem("an earlier Kubernetes left what this one would take for its own")
                .seen(in_the_way.join("\n"))
                .remedy(
                    "keep what you need of it, then run `kubeadm reset` and remove \
                     /etc/kubernetes, /var/lib/etcd and /var/lib/kubelet",
                ),
        );
    }
    if !others.is_empty() {
        found.push(
            Outcome::warning("an earlier pod network left something")
                .seen(others.join("\n"))
                .remedy("remove it, or restart the machine once its owner is removed"),
        );
    }
    if found.is_empty() {
        found.push(Outcome::passed("no earlier Kubernetes left anything"));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;

    #[test]
    fn another_clusters_remains() {
        assert!(Sample::new(&[]).says("leftovers").starts_with("good[leftovers]"));
        let mut sample = Sample::new(&[
            ("/etc/kubernetes/admin.conf", ""),
            ("/var/lib/etcd/member/wal/0", ""),
            ("/etc/cni/net.d/10-calico.conflist", ""),
            ("/sys/class/net/flannel.1/mtu", ""),
        ]);
        insta::assert_snapshot!(sample.says("leftovers"), @"
        problem[leftovers]: an earlier Kubernetes left what this one would take for its own
            seen: /etc/kubernetes/admin.conf
                  /var/lib/etcd/member
            hint: keep what you need of it, then run `kubeadm reset` and remove /etc/kubernetes, /var/lib/etcd and /var/lib/kubelet
        warning[leftovers]: an earlier pod network left something
            seen: /sys/class/net/flannel.1
                  /etc/cni/net.d/10-calico.conflist
            hint: remove it, or restart the machine once its owner is removed
        ");
        sample.prepared = true;
        assert!(sample.says("leftovers").starts_with("good"), "they are this node's own");
    }
}
