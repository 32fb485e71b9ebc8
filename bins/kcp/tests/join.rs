//! Nodes that join, on a tree: who does, and which documents are taken.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests meddle")]

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
};

use ktest::Tree;

/// node1 makes the cluster; node0 is a worker of it, node2 a further control plane.
const MORE: &str = "[[node]]\nname = \"node0\"\naddress = \"192.0.2.10\"\nroles = [\"worker\"]\n";

fn of_three() -> Tree {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kcp"), MORE);
    let files = [tree.store("kubectl", "1.33.3", &["kubectl"])];
    tree.leave(&ktest::artifacts(files, []));
    tree.leave(&ktest::facts());
    tree.leave(&ktest::pki());
    tree.leave(&ktest::etcd());
    tree.leave(&ktest::node());
    let config = tree.read("/etc/k8steps/cluster.toml");
    let further = MORE.replace("node0", "node2").replace(".10", ".12");
    let further = further.replace("worker", "control-plane");
    tree.write("/etc/k8steps/cluster.toml", &(config + &further));
    tree
}

fn private(tree: &Tree) {
    fs::set_permissions(tree.path("/document"), Permissions::from_mode(0o600)).unwrap();
}

/// What `kcp join-command NODE` writes, with something replaced.
fn document(node: &str, from: &str, to: &str) -> String {
    let text = format!(
        r#"{{ "schema": 1, "node": "{node}", "cluster": "cluster.local", "version": "1.33.3",
            "endpoint": "192.0.2.11:6443", "token": "abcdef.0123456789abcdef",
            "ca-key-hash": "sha256:00", "certificate-key": "5ec2e7",
            "expires": "2999-01-01T00:00:00Z" }}"#
    );
    text.replace(from, to)
}

#[test]
fn who_does_not_make_the_cluster_joins_it() {
    let ids = |node: &str| {
        let tree = of_three();
        let (planned, said) = tree.run(&["plan", "-v", "--node", node], 3);
        planned + &said
    };
    let (first, worker, further) = (ids("node1"), ids("node0"), ids("node2"));
    assert!(first.contains("kubeadm:init") && !first.contains("kubeadm:join"), "{first}");
    assert!(further.contains("kubeadm:join") && !further.contains("kubeadm:init"), "{further}");
    assert!(further.contains("kubeadm:authorities"), "{further}");
    assert!(worker.contains("kubeadm:join") && !worker.contains("kubeadm-config"), "{worker}");
}

/// The control plane was made: the first one with `kubeadm init`, another one when it joined.
fn made(tree: &Tree, joined: bool) {
    let joined = if joined { "joined yes\n" } else { "" };
    let marker = format!("names sha256:1\nconfig sha256:2\n{joined}");
    tree.write("/var/lib/k8steps/control-plane-made-with", &marker);
}

#[test]
fn prepared_is_all_that_kubeadm_is_not_needed_for() {
    let tree = of_three();
    let around = |node: &str| tree.around("prepared", &["--node", node]);
    let first = ["kubeconfig:/etc/kubernetes/kubelet.conf", "kubeadm:init"];
    let further = ["kubeconfig:/etc/kubernetes/scheduler.conf", "kubeadm:join"];
    let worker = ["program:/usr/local/bin/kubectl", "kubeadm:join"];
    assert_eq!([around("node1"), around("node2"), around("node0")], [first, further, worker]);
    made(&tree, false);
    assert_eq!(around("node1"), first);
    made(&tree, true);
    assert_eq!([around("node2"), around("node0")], [further, worker]);
}

#[test]
fn a_cluster_is_there_once_it_is_made_and_later_once_the_control_plane_is_in_order() {
    let tree = of_three();
    let around = |node: &str| tree.around("cluster", &["--node", node]);
    let state = "file:/var/lib/k8steps/control-plane.json";
    let joins = || {
        assert_eq!(around("node2"), [state, "command:control-plane-settings"]);
        assert_eq!(around("node0"), [state], "a worker has no more to do");
    };
    assert_eq!(around("node1"), [state, "command:kubelet-running"]);
    joins();
    made(&tree, false);
    assert_eq!(around("node1"), [state, "kube-proxy"]);
    made(&tree, true);
    assert_eq!(around("node1"), [state, "kube-proxy"], "it was replaced");
    joins();
}

#[test]
fn an_etcd_member_alone_is_no_part_of_the_cluster() {
    let tree = of_three();
    let config = tree.read("/etc/k8steps/cluster.toml");
    let etcd = config.replace("roles = [\"worker\"]", "roles = [\"etcd\"]");
    let etcd = etcd.replace("[\"control-plane\"]", "[\"control-plane\", \"etcd\"]");
    tree.write("/etc/k8steps/cluster.toml", &etcd);
    let (_, said) = tree.run(&["apply", "--node", "node0"], 0);
    assert!(said.contains("is an etcd member") && said.contains("nothing to do"), "{said}");
}

#[test]
fn what_joins_is_kept_for_apply_and_gone_with_reset() {
    let tree = of_three();
    let before = tree.listing();
    tree.write("/document", &document("node0", "", ""));
    let (file, args) = (tree.path("/document"), ["join", "--node", "node0"]);
    let file = file.display().to_string();
    let args = [&args[..], &[&file]].concat();
    let (_, said) = tree.run(&args, 2);
    assert!(said.contains("error[import-exposed]") && said.contains("chmod 600"), "{said}");
    private(&tree);
    let (told, said) = tree.run(&args, 0);
    assert!(!(told + &said).contains("0123456789abcdef"), "the token is shown: {said}");
    assert!(said.contains("`kcp apply` joins `node0` now"), "{said}");
    assert!(tree.listing().contains("etc/kubernetes/kubeadm-join.json 100600"));
    tree.run(&args, 0);
    tree.run(&["reset", "--yes", "--node", "node0"], 0);
    fs::remove_file(tree.path("/document")).unwrap();
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_control_plane_brings_the_keys_that_etcd_is_encrypted_with() {
    let tree = of_three();
    let keys = r#""encryption": "kind: EncryptionConfiguration", "expires""#;
    tree.write("/document", &document("node2", r#""expires""#, keys));
    private(&tree);
    let file = tree.path("/document").display().to_string();
    let (told, said) = tree.run(&["join", "--node", "node2", &file], 0);
    assert!(!(told + &said).contains("EncryptionConfiguration"), "keys are shown: {said}");
    let path = "/etc/kubernetes/ssl/secrets_encryption.yaml";
    assert_eq!(tree.read(path), "kind: EncryptionConfiguration");
    assert!(tree.listing().contains("secrets_encryption.yaml 100600"));
}

#[test]
fn a_document_that_does_not_fit_is_refused() {
    let refused = |node: &str, text: &str, error: &str, hint: &str| {
        let tree = of_three();
        tree.write("/document", text);
        private(&tree);
        let file = tree.path("/document").display().to_string();
        tree.refuses(&["join", "--node", node, &file], 2, error, hint);
        assert!(!tree.path("/etc/kubernetes/kubeadm-join.json").exists());
    };
    let again = "run `kcp join-command node0` on a control plane";
    refused("node0", "{", "join-invalid", "make it anew with `kcp join-command`");
    refused(
        "node0",
        &document("node0", r#""schema": 1"#, r#""schema": 2"#),
        "join-invalid",
        "make it anew",
    );
    refused("node0", &document("node2", "", ""), "join-other-node", again);
    refused("node0", &document("node0", "2999", "1999"), "join-expired", again);
    let other = document("node0", "192.0.2.11:6443", "192.0.2.99:6443");
    refused("node0", &other, "join-other-cluster", "give all nodes the same cluster.toml");
    refused(
        "node0",
        &document("node0", "1.33.3", "1.33.4"),
        "join-other-cluster",
        "give all nodes",
    );
    let worker = document("node2", r#""certificate-key": "5ec2e7","#, "");
    let again = "run `kcp join-command node2` on a control plane";
    refused("node2", &worker, "join-without-certificates", again);
}

#[test]
fn who_has_joined_does_not_join_again() {
    let tree = of_three();
    tree.write("/document", &document("node0", "", ""));
    private(&tree);
    tree.write("/var/lib/k8steps/control-plane-made-with", "names \nconfig sha256:1\njoined yes\n");
    let file = tree.path("/document").display().to_string();
    let args = ["join", "--node", "node0", &file];
    tree.refuses(&args, 2, "join-needless", "run `kcp check`");
}

#[test]
fn a_node_of_another_cluster_is_left_alone() {
    let tree = of_three();
    tree.write("/etc/kubernetes/kubelet.conf", "theirs");
    for node in ["node0", "node2"] {
        let args = ["plan", "--node", node];
        tree.refuses(&args, 1, "cluster-there-already", "take it out with what made it");
    }
}

#[test]
fn nobody_joins_from_where_no_control_plane_runs() {
    let tree = of_three();
    let args = ["join-command", "node0", "--node", "node1"];
    tree.refuses(&args, 2, "not-a-control-plane", "run it on a control plane");
    let args = ["join-command", "node1", "--node", "node1"];
    tree.refuses(&args, 2, "join-itself", "name the node that is to join");
    let args = ["join-command", "node9", "--node", "node1"];
    tree.refuses(&args, 2, "node-unknown", "choose one of");
    let args = ["remove", "node0", "--node", "node1"];
    tree.refuses(&args, 2, "no-admin-kubeconfig", "run `kcp remove node0` on a control plane");
}
