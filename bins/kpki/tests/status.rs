//! `kpki status`: every certificate of a node.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive and meddle")]

mod common;

use std::fs;

use common::{SSL, control_plane};
use ktest::Tree;
use serde_json::Value;

const KPKI: &str = env!("CARGO_BIN_EXE_kpki");

/// The table with ends of validity left out.
fn table(tree: &Tree, code: i32) -> String {
    let (text, _) = tree.run(&["status"], code);
    let end = |word: &str| word.len() == 20 && word.ends_with('Z') && word.contains('T');
    let hidden = |line: &str| {
        let date = line.split_whitespace().find(|word| end(word)).unwrap_or_default();
        if date.is_empty() { line.to_owned() } else { line.replace(date, "YYYY-MM-DDThh:mm:ssZ") }
    };
    text.lines().map(|line| hidden(line) + "\n").collect()
}

fn json(tree: &Tree, code: i32) -> Vec<Value> {
    let (text, _) = tree.run(&["status", "--json"], code);
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn row(tree: &Tree, name: &str) -> Value {
    json(tree, 3).into_iter().find(|row| row["name"] == name).unwrap()
}

#[test]
fn before_there_is_a_cluster_only_etcds_are_missed() {
    let tree = Tree::with_cluster(KPKI, common::EC);
    insta::assert_snapshot!(table(&tree, 3));
    tree.leave(&ktest::facts());
    tree.run(&["apply"], 0);
    insta::assert_snapshot!(table(&tree, 0));
}

#[test]
fn all_of_a_control_plane_those_that_end_first_first() {
    let tree = control_plane(KPKI, 200);
    insta::assert_snapshot!(table(&tree, 0));
    let rows = json(&tree, 0);
    assert_eq!(rows.len(), 16);
    let api = rows.iter().find(|row| row["name"] == "apiserver").unwrap();
    assert_eq!(api["state"], "good");
    assert_eq!(api["days-left"], 200);
    assert_eq!(api["renewed-by"], "kpki");
    assert_eq!(api["subject"], "CN=kube-apiserver");
    assert_eq!(api["issuer"], "CN=kubernetes");
    assert_eq!(api["file"], format!("{SSL}/apiserver.crt"));
    let names = ["DNS:kubernetes", "DNS:node1", "IP:192.0.2.11"];
    assert_eq!(api["names"], serde_json::json!(names));
    assert!(api.get("problem").is_none());
}

#[test]
fn what_ends_soon_and_what_has_ended() {
    let tree = control_plane(KPKI, 29);
    let api = row(&tree, "apiserver");
    assert_eq!((&api["state"], &api["days-left"]), (&"due".into(), &29.into()));
    assert!(api["problem"].as_str().unwrap().ends_with(", in 29 days"), "{api}");
    let tree = control_plane(KPKI, -3);
    let api = row(&tree, "scheduler.conf");
    assert_eq!((&api["state"], &api["days-left"]), (&"ended".into(), &(-2).into()));
    assert!(api["problem"].as_str().unwrap().starts_with("it ended on "), "{api}");
    assert_eq!(row(&tree, "kubelet-client")["state"], "good");
    assert_eq!(json(&tree, 3)[0]["state"], "ended", "they come first");
}

#[test]
fn a_damaged_one_has_a_row_that_says_so() {
    let tree = control_plane(KPKI, 200);
    let put = |path: &str, text: &str| tree.write(path, text);
    put("/etc/ssl/etcd/ssl/node-node1.pem", "garbage");
    let half = tree.read(&format!("{SSL}/apiserver.crt"));
    put(&format!("{SSL}/apiserver.crt"), &half[..half.len() / 2]);
    put(&format!("{SSL}/front-proxy-client.key"), &tree.read(&format!("{SSL}/apiserver.key")));
    fs::remove_file(tree.path(&format!("{SSL}/apiserver-kubelet-client.key"))).unwrap();
    fs::remove_file(tree.path("/etc/kubernetes/scheduler.conf")).unwrap();
    let half = tree.read("/etc/kubernetes/admin.conf");
    put("/etc/kubernetes/admin.conf", &half[..half.len() - 30]);
    put("/etc/kubernetes/controller-manager.conf", "");
    common::Authority::new(&tree, "kubernetes", "ca");
    let text = table(&tree, 3);
    let upset = text.lines().take_while(|line| !line.contains(" good "));
    let first = |line: &str| line.split("  /").next().unwrap().trim_end().to_owned() + "\n";
    insta::assert_snapshot!(upset.map(first).collect::<String>());
    let said = text + &tree.run(&["status", "--json", "-vv"], 3).0;
    assert!(!said.contains("PRIVATE") && !said.contains("garbage"), "{said}");
    assert_eq!(row(&tree, "etcd-node")["problem"], "it is not PEM");
}

#[test]
fn the_keys_of_the_clusters_authorities_may_be_kept_elsewhere() {
    let tree = control_plane(KPKI, 200);
    fs::remove_file(tree.path(&format!("{SSL}/ca.key"))).unwrap();
    fs::remove_file(tree.path(&format!("{SSL}/front-proxy-ca.key"))).unwrap();
    fs::remove_file(tree.path("/etc/kubernetes/super-admin.conf")).unwrap();
    tree.run(&["status"], 0);
}
