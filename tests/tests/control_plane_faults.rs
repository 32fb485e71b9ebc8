//! kcp on a real node where it cannot make the control plane: each fault is told by its code with
//! what is behind it, nothing is lost, and the next `apply` finishes.

use pipeline_tests::node::Node;

#[test]
fn a_control_plane_comes_up_in_the_end() {
    let node = Node::boot("k8scf", "plain");
    node.must("kprep apply && kfetch apply && kpki apply && ketcd apply && knode apply");
    node.must("cp /etc/k8steps/cluster.toml /root/good.toml");

    what_kubeadm_does_not_know(&node);
    ports_are_taken(&node);
    what_is_not_fit(&node);
    another_kubeadm_is_at_work(&node);
    kubeadm_fails(&node);
    the_kubelet_does_not_run(&node);
    the_api_server_is_slow(&node);
    etcd_is_not_trusted_any_more(&node);
    etcd_dies_on_the_way(&node);
    node.must("kcp check && kcp plan");
    node.must("kubectl get --raw=/readyz");

    another_cluster_is_left_alone(&node);
    node.down();
}

/// A field of kube-proxy's, which `kubeadm init` would only warn of.
fn what_kubeadm_does_not_know(node: &Node) {
    node.describe("[kube-proxy.extra]\nnoSuchField = 1");
    let said = node.ends("kcp apply", 2, "error[kubeadm-config-invalid]");
    assert!(said.contains("unknown field \"noSuchField\""), "{said}");
    node.must("cp /root/good.toml /etc/k8steps/cluster.toml");
}

/// By a program that does not belong there, each port of a control plane.
fn ports_are_taken(node: &Node) {
    for port in [6443, 10250, 10257, 10259] {
        node.must(&format!(
            "systemd-run --quiet --unit=squatter{port} perl -MIO::Socket::INET -e \
             'my @s = IO::Socket::INET->new(LocalPort => {port}, Listen => 1); sleep 600'; \
             timeout 10 bash -c 'until ss -tln | grep -q :{port}; do sleep 0.1; done'"
        ));
        let taken = format!("error[port-taken]: port {port} is taken by `perl`");
        let said = node.ends("kcp apply", 1, &taken);
        assert!(said.contains("hint: stop it: `ps -fp "), "{said}");
        node.must(&format!("systemctl stop squatter{port}"));
    }
}

/// Images and etcd, before kubeadm is run at all.
fn what_is_not_fit(node: &Node) {
    let image = "registry.k8s.io/kube-scheduler:v1.33.3";
    node.must(&format!("ctr -n k8s.io images remove --sync {image}"));
    let said = node.ends("kcp apply", 1, "error[image-missing]");
    assert!(said.contains(image) && said.contains("hint: run `kfetch apply` and `knode apply`"));
    node.must("knode apply");

    node.must("systemctl stop containerd");
    node.ends("kcp apply", 1, "error[containerd-stopped]");
    node.must("knode apply");

    node.must("systemctl stop etcd");
    node.ends("kcp --timeout 2 apply", 1, "error[etcd-unreachable]");
    node.must("systemctl start etcd");

    node.must(OTHER_AUTHORITY);
    node.ends("kcp apply", 1, "error[etcd-certificate-refused]");
    node.must(OWN_AUTHORITY);
}

/// An authority of etcd's that did not sign its certificate.
const OTHER_AUTHORITY: &str = "cp -p /etc/ssl/etcd/ssl/ca.pem /root/ca.pem; \
    openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=etcd-ca \
    -keyout /dev/null -out /etc/ssl/etcd/ssl/ca.pem 2>/dev/null";
const OWN_AUTHORITY: &str = "cp -p /root/ca.pem /etc/ssl/etcd/ssl/ca.pem";

/// One that a killed run left behind holds its lock.
fn another_kubeadm_is_at_work(node: &Node) {
    let lock = "systemd-run --quiet --unit=other flock /usr/local/bin/kubeadm sleep 600; \
                timeout 10 bash -c 'while flock --nonblock /usr/local/bin/kubeadm true; do sleep 0.1; done'";
    node.must(lock);
    let said = node.ends("kcp --timeout 1 apply", 1, "error[kubeadm-busy]");
    assert!(said.contains("pgrep -a kubeadm"), "{said}");
    node.must("systemctl stop other");
}

/// Somewhere in the middle, three times; its own words are told.
fn kubeadm_fails(node: &Node) {
    let dir = "/etc/kubernetes/manifests";
    node.must(&format!("mount --bind {dir} {dir} && mount -o remount,bind,ro {dir}"));
    let said = node.ends("kcp apply", 1, "error[kubeadm-init-failed]");
    assert!(said.contains("attempt 2 failed") && !said.contains("attempt 3"), "{said}");
    assert!(said.contains("read-only file system"), "{said}");
    node.must(&format!("umount {dir}"));

    // What follows takes its time to be given up: once is enough, and soon.
    node.must(
        "sed -i 's/^.kubeadm.$/&\\ninit-attempts = 1\\ninit-timeout-seconds = 25/' \
         /etc/k8steps/cluster.toml",
    );
}

/// It does not know the kind of its configuration, and ends at once.
fn the_kubelet_does_not_run(node: &Node) {
    let config = "/etc/kubernetes/kubelet-config.yaml";
    node.must(&format!(
        "cp -p {config} /root/kubelet.yaml; sed -i 's/^kind: .*/kind: NoSuchKind/' {config}"
    ));
    let said = node.ends("kcp apply", 1, "error[kubelet-not-running]");
    assert!(said.contains("the kubelet said last:") && said.contains("NoSuchKind"), "{said}");
    assert!(said.contains("run `knode apply`"), "{said}");
    node.must("knode apply");
    assert_eq!(node.must(&format!("cmp {config} /root/kubelet.yaml")), "");
}

/// It is stopped as soon as it runs, and cannot answer.
fn the_api_server_is_slow(node: &Node) {
    node.must(
        "systemd-run --quiet --unit=slow bash -c \
         'until pkill -STOP -x kube-apiserver; do sleep 0.05; done'",
    );
    node.ends("kcp apply", 1, "error[api-server-slow]");
    node.must("systemctl stop slow 2>/dev/null; pgrep -x kube-apiserver");
}

/// Changed under the API server, once `kubeadm init` is under way.
fn etcd_is_not_trusted_any_more(node: &Node) {
    // The one that does not answer is to start anew, and to meet this.
    node.must("rm -f /etc/kubernetes/manifests/kube-*.yaml; pkill -KILL -x kube-apiserver");
    node.must("timeout 60 bash -c 'while pgrep -x kube-apiserver; do sleep 0.2; done'");
    node.must(&format!(
        "systemd-run --quiet --unit=distrust bash -c 'until [ -e /etc/kubernetes/manifests/kube-apiserver.yaml ]; \
         do sleep 0.02; done; {OTHER_AUTHORITY}; systemctl kill --signal=KILL etcd'"
    ));
    let said = node.ends("kcp apply", 1, "error[certificate-wrong]");
    assert!(said.contains("hint: see `kpki status`"), "{said}");
    node.must(&format!("{OWN_AUTHORITY}; systemctl restart etcd"));
    node.must("cp /root/good.toml /etc/k8steps/cluster.toml");
}

/// The API server has to wait for an etcd that is killed.
fn etcd_dies_on_the_way(node: &Node) {
    node.must("rm -f /etc/kubernetes/manifests/kube-*.yaml");
    node.must(
        "kcp apply >/root/apply.log 2>&1 & apply=$!
timeout 60 bash -c 'until [ -e /etc/kubernetes/manifests/kube-scheduler.yaml ]; do sleep 0.1; done'
systemctl kill --signal=KILL etcd
wait $apply || { cat /root/apply.log; exit 1; }",
    );
}

/// A cluster that somebody made here with kubeadm.
const THEIRS: &str = "apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
nodeRegistration: {name: node1, criSocket: unix:///run/containerd/containerd.sock}
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
kubernetesVersion: v1.33.3
certificatesDir: /etc/kubernetes/ssl
networking: {serviceSubnet: 10.233.0.0/18, podSubnet: 10.233.64.0/18}
etcd:
  external:
    endpoints: [https://10.99.0.11:2379]
    caFile: /etc/ssl/etcd/ssl/ca.pem
    certFile: /etc/ssl/etcd/ssl/node-node1.pem
    keyFile: /etc/ssl/etcd/ssl/node-node1-key.pem
";

/// Objects in etcd of another authority than a new one would be; then a control plane that kcp did
/// not make. Neither is touched, and what the message says gets rid of both.
fn another_cluster_is_left_alone(node: &Node) {
    let objects = "error[cluster-there-already]: etcd holds the objects";
    node.must("cp /usr/local/bin/kubeadm /root/ && kcp reset --yes");
    node.ends("kcp apply", 1, objects);
    node.must("ketcd reset --yes && ketcd apply");

    let init = "/root/kubeadm init --config /root/theirs.yaml --ignore-preflight-errors=all \
                --skip-phases=addon,show-join-command --skip-token-print 2>&1";
    node.must(&format!("cat >/root/theirs.yaml <<'END'\n{THEIRS}END\n{init}"));
    // The oldest of a name: what a kubelet is about to run has its name for a moment.
    let files = "cd /etc/kubernetes && find . -type f | sort | xargs sha256sum; \
                 pgrep -ox kube-apiserver; pgrep -ox kubelet";
    let before = node.must(files);
    let theirs = "error[cluster-there-already]: this machine is a control plane already";
    node.ends("kcp plan", 1, theirs);
    let said = node.ends("kcp apply", 1, theirs);
    assert!(said.contains("hint: take it apart with what made it, such as `kubeadm reset`"));
    assert_eq!(node.must(files), before, "their control plane is another");

    node.must("/root/kubeadm reset --force --cert-dir /etc/kubernetes/ssl 2>&1");
    node.ends("kcp apply", 1, objects);
    node.must("ketcd reset --yes && ketcd apply && knode apply && kcp apply && kcp check");
}
