//! A cluster of three real nodes in the lab: one that makes it, one that joins it as a further
//! control plane and etcd member, one that joins it as a worker and etcd member; they leave, and
//! one comes again as a worker and nothing else.

use pipeline_tests::{LEFT, node::Node};

const KUBECTL: &str = "kubectl --kubeconfig /etc/kubernetes/admin.conf";

/// The other two nodes, below the first of the lab's own cluster.toml. Three etcd members: an even
/// number would be refused.
const NODES: &str = r#"
[[node]]
name = "node2"
address = "10.99.0.12"
roles = ["control-plane", "etcd"]

[[node]]
name = "node3"
address = "10.99.0.13"
roles = ["etcd", "worker"]
labels = { "example.com/rack" = "7" }
"#;

/// Carry what `give` says on one node to `take` on another, as `ssh` would.
fn carry(from: &Node, give: &str, to: &Node, take: &str) {
    let (code, said) = to.fed(take, &from.secret(give));
    assert_eq!(code, 0, "`{take}`:\n{said}");
}

/// The node that is called `name`, with its machine prepared.
fn machine(first: &Node, name: &'static str) -> Node {
    let node = first.beside(name, "plain");
    describe(&node);
    node.must("kprep apply && kfetch apply");
    node
}

fn describe(node: &Node) {
    node.must(&format!("cat >> /etc/k8steps/cluster.toml <<'END'\n{NODES}\nEND"));
}

#[test]
fn nodes_come_and_go() {
    let first = Node::boot("k8smany", "plain");
    describe(&first);
    first.must("make -C /root/k8steps up");
    first.must("etcdctl.sh member list | wc -l | grep -x 1");

    let second = machine(&first, "node2");
    a_further_control_plane(&first, &second);
    let third = machine(&first, "node3");
    a_worker(&first, &third);

    // The first learns of the others: its API server asks all members, the worker has its label.
    first.must("make -C /root/k8steps up");
    first.must(
        "grep -q 'etcd-servers=https://10.99.0.11:2379,https://10.99.0.12:2379,\
         https://10.99.0.13:2379' /etc/kubernetes/manifests/kube-apiserver.yaml",
    );
    first.must(&format!("{KUBECTL} get node node3 --show-labels | grep example.com/rack=7"));
    second.must("make -C /root/k8steps up");
    for node in [&first, &second, &third] {
        node.must("make -C /root/k8steps plan");
    }
    first.must(&format!("{KUBECTL} wait --for=condition=Ready nodes --all --timeout=60s"));
    a_pod_on(&first, "node3");
    a_pod_on(&first, "node2");

    first.ends("kcp remove node1 --yes", 2, "error[remove-itself]");
    first.ends("kcp remove node9 --yes", 2, "error[node-not-there]");
    // The worker goes: etcd has two members, the cluster two nodes, and both go on.
    first.must("kcp remove node3 --yes");
    third.must("make -C /root/k8steps down");
    first.must("etcdctl.sh member list | grep -c started | grep -x 2");
    first.must(&format!("{KUBECTL} get nodes --no-headers | wc -l | grep -x 2"));

    // The second control plane takes itself out.
    let said = second.must("make -C /root/k8steps down");
    assert!(said.contains("take node node2 out of the cluster"), "{said}");
    assert!(said.contains("out of the etcd cluster"), "{said}");
    // Nobody is sent to its API server any more: it took its address out before it ended.
    assert!(!said.contains("did not end by itself"), "{said}");
    let addresses = "jsonpath='{.endpoints[*].addresses[*]}'";
    first.must(&format!(
        "{KUBECTL} get endpointslices kubernetes -o {addresses} | grep -x 10.99.0.11"
    ));
    for node in [&second, &third] {
        assert_eq!(node.must(LEFT), "", "left behind by reset");
    }
    first.must("etcdctl.sh member list | grep -c started | grep -x 1");
    first.must(&format!("{KUBECTL} get nodes --no-headers | wc -l | grep -x 1"));
    first.must("make -C /root/k8steps up && make -C /root/k8steps status");
    a_pod_on(&first, "node1");
    a_worker_alone(&first, &third);
    first.down();
}

/// What it lacks is said with what to type; then etcd votes and an API server of its own answers.
fn a_further_control_plane(first: &Node, node: &Node) {
    node.ends("kpki apply", 2, "run `kpki export node2` on node `node1`");
    carry(first, "kpki export node2", node, "kpki import -");
    // As if an earlier run had been killed between adding the member and starting it.
    first.must("etcdctl.sh member add etcd2 --learner --peer-urls=https://10.99.0.12:2380");
    node.must("kpki apply && ketcd apply && knode apply");
    node.ends("ketcd plan", 0, "nothing to do");
    let members = first.must("etcdctl.sh member list -w json");
    assert!(!members.contains("isLearner"), "{members}");
    first.must("etcdctl.sh member list | grep -c started | grep -x 2");

    let said = node.ends("kcp apply", 2, "error[join-document-missing]");
    assert!(said.contains("run `kcp join-command node2` on a control plane"), "{said}");
    first.ends("kcp join-command node9 > /tmp/x", 2, "there is no node `node9`");
    first.ends("kcp join-command node1 > /tmp/x", 2, "name the node that is to join");
    let others = first.secret("kcp join-command node3");
    assert!(!String::from_utf8_lossy(&others).contains("certificate-key"), "it is for a worker");
    let (code, said) = node.fed("kcp join -", &others);
    assert!(code == 2 && said.contains("error[join-other-node]"), "{code}: {said}");

    carry(first, "kcp join-command node2", node, "kcp join -");
    spoil(node, "certificate-key");
    let said = node.ends("kcp apply", 1, "error[certificates-not-fetched]");
    assert!(said.contains("run `kcp join-command node2` on a control plane"), "{said}");

    // The same is looked at as before `kubeadm init`, and a run that was killed is gone on with.
    carry(first, "kcp join-command node2", node, "kcp join -");
    node.must(
        "nohup python3 -c 'import signal, socket; s = socket.create_server((\"\", 10250)); \
         signal.pause()' > /dev/null 2>&1 & echo $! > /root/squatter; \
         until ss -Hltn | grep -q :10250; do sleep 0.1; done",
    );
    node.ends("kcp apply", 1, "error[port-taken]: port 10250 is taken by `python3`");
    node.must("kill $(cat /root/squatter); rm /root/squatter");
    for seconds in [2, 6, 10] {
        node.run(&format!("timeout -s KILL {seconds} kcp apply; true"));
    }
    node.must("make -C /root/k8steps up");
    node.ends("kcp plan", 0, "nothing to do");
    node.must("curl -sk https://127.0.0.1:6443/readyz | grep -x ok");
    node.must("grep -q node-node2.pem /etc/kubernetes/manifests/kube-apiserver.yaml");
    node.must("! ls /etc/ssl/etcd/ssl | grep node-node1");
    for node in [first, node] {
        let token = "[a-z0-9]{6}[.][a-z0-9]{16}";
        node.must("! test -e /etc/kubernetes/kubeadm-join.json");
        node.must(&format!("! journalctl --no-pager -o cat | grep -wE '{token}'"));
        node.must(&format!(
            "! grep -rwE '{token}' /var/lib/k8steps --include=*.json --include=log"
        ));
    }
}

/// What was brought for the node is another key or digest than the cluster's.
fn spoil(node: &Node, what: &str) {
    node.must(&format!(
        "sed -i -E 's/(\"{what}\": *\"(sha256:)?)[0-9a-f]{{8}}/\\100000000/' \
         /etc/kubernetes/kubeadm-join.json && grep -q '[\":]00000000' /etc/kubernetes/kubeadm-join.json"
    ));
}

/// A worker, which is an etcd member as well, and loses that disk.
fn a_worker(first: &Node, node: &Node) {
    carry(first, "kpki export node3", node, "kpki import -");
    node.must("kpki apply && ketcd apply");
    first.must("etcdctl.sh member list | grep -c started | grep -x 3");
    node.must("systemctl stop etcd && rm -rf /var/lib/etcd/member");
    let said = node.must("ketcd apply");
    assert!(said.contains("in place of member"), "{said}");
    first.must("etcdctl.sh member list | grep -c started | grep -x 3");

    node.must("knode apply");
    carry(first, "kcp join-command node3", node, "kcp join -");
    spoil(node, "ca-key-hash");
    let said = node.ends("kcp apply", 1, "error[kubeadm-join-failed]");
    assert!(said.contains("run `kcp join-command node3` on a control plane"), "{said}");
    carry(first, "kcp join-command node3", node, "kcp join -");
    node.must("make -C /root/k8steps up");
    node.must(
        "! test -e /etc/kubernetes/admin.conf && ! test -e /etc/kubernetes/kubeadm-join.json",
    );
    node.must("grep -q 'server: https://10.99.0.11:6443' /etc/kubernetes/kubelet.conf");
}

/// A worker that is nothing else, on the machine of one that left: it needs no certificate of etcd.
fn a_worker_alone(first: &Node, node: &Node) {
    for node in [first, node] {
        node.must(
            "cd /etc/k8steps && sed -i '/^name = \"node2\"/,$d' cluster.toml && cat >>cluster.toml <<'END'\n\
             name = \"node3\"\naddress = \"10.99.0.13\"\nroles = [\"worker\"]\nEND",
        );
    }
    first.must("make -C /root/k8steps up");
    node.must("kprep apply && kfetch apply && kpki apply && ketcd apply && knode apply");
    node.ends("kcp apply", 2, "run `kcp join-command node3` on a control plane");
    carry(first, "kcp join-command node3", node, "kcp join -");
    node.must("make -C /root/k8steps up && make -C /root/k8steps plan");
    node.must("make -C /root/k8steps status");
    node.must("! test -e /etc/ssl/etcd && ! test -e /etc/etcd.env");
    first.must(&format!("{KUBECTL} wait --for=condition=Ready node/node3 --timeout=60s"));
    // Its logs are served with a certificate that a control plane approves: every five minutes, or now.
    let served = "test -e /var/lib/kubelet/pki/kubelet-server-current.pem || { sleep 1; false; }";
    let approved = |_| {
        first.must("kapps approve");
        node.run(served).0 == 0
    };
    assert!((0..60).any(approved), "node3 gets no certificate");
    a_pod_on(first, "node3");
    first.must("kcp remove node3 --yes");
    node.must("make -C /root/k8steps down");
    assert_eq!(node.must(LEFT), "", "left behind by reset");
}

/// A pod on the node `name` asks the cluster's DNS, which may take a while after a node came or went:
/// until the endpoints of what ran there are gone, and until those who watch the API server, the
/// kubelet among them, ask one again that was started anew (up to 60 s, client-go's reflector).
fn a_pod_on(first: &Node, name: &str) {
    let overrides =
        format!(r#"{{"spec":{{"nodeName":"{name}","tolerations":[{{"operator":"Exists"}}]}}}}"#);
    first.must(&format!(
        "{KUBECTL} run probe-{name} --image=docker.io/k8steps/toolbox:1 --image-pull-policy=IfNotPresent \
         --restart=Never --overrides='{overrides}' -- \
         sh -c 'until nslookup kubernetes.default.svc.cluster.local; do sleep 1; done' \
         && {KUBECTL} wait --for=jsonpath='{{.status.phase}}'=Succeeded pod/probe-{name} --timeout=180s \
         && {KUBECTL} logs probe-{name} | grep 10.233.0.1 \
         || {{ {KUBECTL} get pods -A -o wide; {KUBECTL} get endpointslices -A; {KUBECTL} logs probe-{name}; \
         {KUBECTL} -n kube-system logs -l k8s-app=kube-dns --prefix; exit 1; }}"
    ));
}
