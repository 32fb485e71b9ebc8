//! Choices of cluster.toml that are more than an argument, on a tree.

mod common;

use ktest::Tree;

use common::tree;

const CONFIG: &str = "/etc/kubernetes/kubeadm-config.yaml";
const KEYS: &str = "/etc/kubernetes/ssl/secrets_encryption.yaml";
const AUDIT: &str = "/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml";

#[test]
fn the_key_that_secrets_are_encrypted_with_is_made_once_and_shown_to_nobody() {
    let tree = tree("[control-plane.encryption]\nenabled = true\n");
    let (planned, said) = tree.run(&["plan", "-vv"], 3);
    assert!(planned.contains(&format!("create {KEYS} (0600 root:root) with a key")), "{planned}");
    assert!(!tree.path(KEYS).exists());
    tree.run(&["apply"], 0);
    assert!(tree.listing().contains("secrets_encryption.yaml 100600"));
    let keys = tree.read(KEYS);
    let secret = keys.lines().find_map(|line| line.trim().strip_prefix("secret: ")).unwrap();
    assert!(keys.contains("- secretbox:\n") && keys.contains("name: key1"), "{keys}");
    assert!(tree.read(CONFIG).contains("name: encryption-provider-config\n    value: /etc/"));
    assert!(!(planned + &said).contains(secret));

    tree.run(&["apply"], 0);
    assert_eq!(tree.read(KEYS), keys, "another key");
    // Another kind of key comes before the one that things are encrypted with, which stays.
    describe(&tree, "enabled = true", "enabled = true\nprovider = \"aescbc\"");
    let (planned, _) = tree.run(&["plan"], 3);
    assert!(planned.contains(&format!("add a new key to {KEYS}")) && !planned.contains(secret));
    tree.run(&["apply"], 0);
    let both = tree.read(KEYS);
    let [new, old] = ["name: key2", "name: key1"].map(|name| both.find(name).unwrap());
    assert!(new < old && both.contains(secret), "the old key must stay until nothing needs it");
    // Switched off, what was encrypted stays readable.
    describe(&tree, "enabled = true", "enabled = false");
    tree.run(&["apply"], 0);
    assert!(tree.read(KEYS).find("identity").unwrap() < tree.read(KEYS).find("key2").unwrap());
    assert!(tree.read(CONFIG).contains("encryption-provider-config"));

    tree.run(&["reset", "--yes"], 0);
    assert!(!tree.path(KEYS).exists());
}

#[test]
fn keys_that_others_lack_and_keys_that_are_not_understood_are_refused() {
    let encrypted = "[control-plane.encryption]\nenabled = true\n";
    let tree = tree(encrypted);
    tree.write(KEYS, "apiVersion: v1\nsecret: c2VjcmV0\n");
    tree.refuses_phase(1, "encryption-config-unreadable", "it holds the keys");
    let tree = common::tree("");
    tree.write("/var/lib/k8steps/control-plane-made-with", "names sha256:1\nconfig sha256:2\n");
    tree.refuses(&["rotate-key"], 2, "encryption-off", "set `enabled = true`");
    let tree = common::tree(encrypted);
    tree.refuses(&["rotate-key"], 2, "no-cluster", "run `kcp apply`");
    // A running cluster with a second control plane that knows no key.
    tree.write("/var/lib/k8steps/control-plane-made-with", "names sha256:1\nconfig sha256:2\n");
    let more = ["node2", "node3"].map(|name| {
        let address = name.replace("node", "192.0.2.2");
        format!(
            "[[node]]\nname = \"{name}\"\naddress = \"{address}\"\n\
                 roles = [\"control-plane\", \"etcd\"]\n"
        )
    });
    let config = tree.read("/etc/k8steps/cluster.toml") + &more.concat();
    tree.write("/etc/k8steps/cluster.toml", &config);
    tree.refuses(
        &["plan", "--node", "node1"],
        2,
        "encryption-key-missing",
        "encrypt from the beginning",
    );
}

#[test]
fn the_audit_log_has_a_policy_of_kubesprays_or_the_operators() {
    let tree = tree("[control-plane.audit]\nenabled = true\n");
    tree.lives_through_its_phase(|| {
        assert!(tree.read(AUDIT).contains("kind: Policy"));
        let listing = tree.listing();
        assert!(listing.contains("apiserver-audit-policy.yaml 100640"), "{listing}");
        assert!(listing.contains("var/log/kubernetes/audit 40700"), "{listing}");
        let config = tree.read(CONFIG);
        for line in
            ["name: audit-log-maxage\n    value: \"30\"", "hostPath: /var/log/kubernetes/audit"]
        {
            assert!(config.contains(line), "{line} not in\n{config}");
        }
    });

    describe(&tree, "enabled = true", "enabled = true\npolicy-file = \"/root/policy.yaml\"");
    tree.refuses_phase(2, "audit-file-missing", "put it there");
    tree.write("/root/policy.yaml", "kind: Policy\n");
    tree.refuses_phase(2, "audit-policy-invalid", "see \"Auditing\"");
    let own = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n";
    tree.write("/root/policy.yaml", own);
    tree.write("/root/webhook.yaml", "token: aHVudGVyMg\n");
    describe(&tree, "enabled = true", "enabled = true\nwebhook-config = \"/root/webhook.yaml\"");
    let (stdout, stderr) = tree.run(&["plan", "-vv"], 3);
    assert!(!(stdout + &stderr).contains("aHVudGVyMg"), "a token is shown");
    tree.run(&["apply"], 0);
    assert_eq!(tree.read(AUDIT), own);
    assert!(tree.listing().contains("apiserver-audit-webhook-config.yaml 100600"));
}

#[test]
fn a_control_plane_that_kcp_did_not_make_is_not_taken_over() {
    let tree = tree("");
    tree.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "theirs");
    tree.refuses_phase(1, "cluster-there-already", "take it apart");
}

/// Replace `before` in cluster.toml.
#[track_caller]
fn describe(tree: &Tree, before: &str, after: &str) {
    let path = "/etc/k8steps/cluster.toml";
    let text = tree.read(path);
    assert!(text.contains(before), "{text}");
    tree.write(path, &text.replacen(before, after, 1));
}
