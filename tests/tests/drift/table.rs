//! What happens to a node behind the tools' back.

/// One thing that somebody did.
pub(crate) struct Drift {
    pub(crate) name: &'static str,
    /// Whose it is to mend.
    pub(crate) phase: &'static str,
    /// Does it, in the node.
    pub(crate) make: &'static str,
}

const fn drift(phase: &'static str, name: &'static str, make: &'static str) -> Drift {
    Drift { name, phase, make }
}

/// Few of them restart etcd or the API server, which takes long.
pub(crate) const DRIFTS: &[Drift] = &[
    // The operating system.
    drift("kprep", "sysctl reset", "sysctl -w net.ipv4.ip_forward=0"),
    drift("kprep", "sysctl file edited", "echo '# mine' >>/etc/sysctl.d/90-k8steps.conf"),
    drift("kprep", "node in hosts moved", "sed -i 's/^10.99.0.11 /10.99.0.12 /' /etc/hosts"),
    drift("kprep", "host renamed", "hostname other"),
    drift("kprep", "host renamed at boot", "echo other >/etc/hostname"),
    drift("kprep", "user deleted", "userdel kube"),
    drift("kprep", "directory closed", "chmod 700 /usr/local/bin/kubernetes-scripts"),
    drift("kprep", "directory given away", "chown root /etc/cni/net.d"),
    drift("kprep", "link removed", "rm /etc/kubernetes/pki"),
    drift("kprep", "resolver of pods edited", "echo >>/var/lib/k8steps/resolv.conf"),
    drift("kprep", "search domains removed", "sed -i '/^search/d' /etc/resolv.conf"),
    drift("kprep", "facts edited", "sed -i 's/debian/ubuntu/' /var/lib/k8steps/facts.json"),
    // The store.
    drift(
        "kfetch",
        "blob removed",
        "cd /var/lib/k8steps/store/blobs/sha256 && rm \"$(ls -S | tail -n 1)\"",
    ),
    drift(
        "kfetch",
        "layer cut off",
        "cd /var/lib/k8steps/store/blobs/sha256 && truncate -s 100 \"$(ls -S | tail -n 30 | head -n 1)\"",
    ),
    drift(
        "kfetch",
        "program edited",
        "echo >>\"$(find /var/lib/k8steps/store/unpacked -name crictl -type f)\"",
    ),
    drift("kfetch", "index removed", "rm /var/lib/k8steps/store/index.json"),
    drift("kfetch", "list edited", "echo >>/var/lib/k8steps/artifacts.json"),
    // etcd's certificates.
    drift("kpki", "key open to all", "chmod 644 /etc/ssl/etcd/ssl/admin-node1-key.pem"),
    drift("kpki", "key lost", "rm /etc/ssl/etcd/ssl/admin-node1-key.pem"),
    drift(
        "kpki",
        "certificate swapped",
        "cd /etc/ssl/etcd/ssl && cat node-node1.pem >admin-node1.pem",
    ),
    drift("kpki", "directory open to all", "chmod 755 /etc/ssl/etcd/ssl"),
    drift("kpki", "renewal stopped", "systemctl disable --now k8s-certs-renew.timer"),
    drift("kpki", "renewal edited", "echo '# mine' >>/etc/systemd/system/k8s-certs-renew.service"),
    drift("kpki", "authority not trusted", "rm /usr/local/share/ca-certificates/etcd-ca.crt"),
    drift("kpki", "list removed", "rm /var/lib/k8steps/pki.json"),
    // etcd.
    drift("ketcd", "wrapper edited", "echo '# mine' >>/usr/local/bin/etcdctl.sh"),
    drift("ketcd", "program not executable", "chmod 644 /usr/local/bin/etcdutl"),
    drift("ketcd", "settings edited", "echo ETCD_LOG_LEVEL=warn >>/etc/etcd.env"),
    drift("ketcd", "not started at boot", "systemctl disable etcd"),
    drift("ketcd", "etcd stopped", "systemctl kill --signal=KILL etcd; systemctl stop etcd"),
    drift("ketcd", "data of root", "touch /var/lib/etcd/member/alien"),
    drift("ketcd", "data open to all", "chmod 755 /var/lib/etcd"),
    drift("ketcd", "state removed", "rm /var/lib/k8steps/etcd.json"),
    // The runtime and the kubelet.
    drift(
        "knode",
        "image removed",
        "ctr -n k8s.io images rm \"$(ctr -n k8s.io images ls -q | grep -m 1 /pause:)\"",
    ),
    drift(
        "knode",
        "client reconfigured",
        "sed -i 's/containerd.sock/other.sock/' /etc/crictl.yaml",
    ),
    drift("knode", "program removed", "rm /usr/local/bin/nerdctl"),
    drift(
        "knode",
        "program edited, length and time as before",
        "cd /usr/local/bin; touch -r nerdctl /run/before; \
         printf X | dd of=nerdctl bs=1 seek=4096 conv=notrunc; touch -r /run/before nerdctl; rm /run/before",
    ),
    drift("knode", "registry removed", "rm /etc/containerd/certs.d/registry.k8s.io/hosts.toml"),
    drift("knode", "containerd reconfigured", "echo '# mine' >>/etc/containerd/config.toml"),
    drift("knode", "containerd stopped", "systemctl stop containerd"),
    drift(
        "knode",
        "kubelet reconfigured",
        "sed -i 's/maxPods: 110/maxPods: 11/' /etc/kubernetes/kubelet-config.yaml",
    ),
    // The control plane.
    drift("kcp", "kubelet stopped", "systemctl stop kubelet"),
    drift("kcp", "completion removed", "rm /etc/bash_completion.d/kubectl.sh"),
    drift("kcp", "kubeconfig removed", "rm /root/.kube/config"),
    drift("kcp", "kubeconfig open to all", "chmod 644 /etc/kubernetes/admin.conf"),
    drift("kcp", "super administrator open to all", "chmod 644 /etc/kubernetes/super-admin.conf"),
    drift("kcp", "super administrator given away", "chown kube /etc/kubernetes/super-admin.conf"),
    drift("kcp", "root's kubeconfig given away", "chown kube /root/.kube/config"),
    drift("kcp", "kubelet's kubeconfig given away", "chown kube /etc/kubernetes/kubelet.conf"),
    drift("kcp", "kubelet's kubeconfig removed", "rm /etc/kubernetes/kubelet.conf"),
    drift("kcp", "kubelet's kubeconfig cut off", "truncate -s 600 /etc/kubernetes/kubelet.conf"),
    drift("kcp", "super administrator removed", "rm /etc/kubernetes/super-admin.conf"),
    drift(
        "kcp",
        "scheduler moved",
        "sed -i 's/127.0.0.1/10.99.0.11/' /etc/kubernetes/scheduler.conf",
    ),
    drift(
        "kcp",
        "manifest edited",
        "sed -i 's/cpu: 100m/cpu: 101m/' /etc/kubernetes/manifests/kube-scheduler.yaml",
    ),
    drift(
        "kcp",
        "kube-proxy on other nodes",
        "kubectl -n kube-system patch daemonset kube-proxy --type=json \
         -p '[{\"op\": \"remove\", \"path\": \"/spec/template/spec/nodeSelector\"}]'",
    ),
    drift("kcp", "state removed", "rm /var/lib/k8steps/control-plane.json"),
    // The pod network.
    drift("kcni", "plugin removed", "rm /opt/cni/bin/portmap"),
    drift("kcni", "plugin not executable", "chmod 644 /opt/cni/bin/bridge"),
    drift("kcni", "boot file removed", "rm /etc/tmpfiles.d/k8steps-flannel.conf"),
    drift("kcni", "right taken away", "kubectl delete clusterrole flannel"),
    drift(
        "kcni",
        "DaemonSet changed",
        "kubectl -n kube-system patch daemonset kube-flannel --type=json -p '[{\"op\": \"replace\", \
         \"path\": \"/spec/template/spec/containers/0/resources/requests/cpu\", \"value\": \"90m\"}]'",
    ),
    drift("kcni", "state edited", "echo >>/var/lib/k8steps/cni.json"),
    // What runs on top.
    drift("kapps", "helm removed", "rm /usr/local/bin/helm"),
    drift("kapps", "approval stopped", "systemctl stop kapps-approve.timer"),
    drift("kapps", "Service deleted", "kubectl -n kube-system delete service metrics-server"),
    drift(
        "kapps",
        "scaled down",
        "kubectl -n node-feature-discovery scale deployment node-feature-discovery-gc --replicas=0",
    ),
    drift(
        "kapps",
        "Corefile changed",
        "kubectl -n kube-system get configmap coredns -o yaml | sed 's/cache 30/cache 31/' \
         | kubectl replace -f -",
    ),
    drift("kapps", "PriorityClass deleted", "kubectl delete priorityclass k8s-cluster-critical"),
    drift("kapps", "state removed", "rm /var/lib/k8steps/apps.json"),
];
