//! What goes from the store when the lock no longer names it, and what stays.

use std::fs;

use kspec::Sha256;

use crate::{
    Lock, STORE, blob, bytes, partial, run, served_by,
    server::{Answer, Server},
    tar_gz, tree,
};

const LOCK: &str = "/etc/k8steps/artifacts.lock";

#[test]
fn what_no_lock_names_goes_and_all_else_stays() {
    let server = Server::start();
    let (old, new) = (tar_gz(&[("etcd", "old etcd")]), tar_gz(&[("etcd", "new etcd")]));
    for (path, bytes) in [("/old", &old), ("/new", &new), ("/kubelet", &bytes(1000))] {
        server.serve(path, Answer::Bytes(bytes.clone()));
    }
    server.image("app:1", &["base", "one"]);
    server.image("app:2", &["base", "two"]);
    let url = |path: &str| format!("{}/{path}", server.url());
    let lock = |etcd: &str, archive: &[u8], app: &str| {
        Lock::new()
            .file("kubelet", &url("kubelet"), &bytes(1000))
            .archive("etcd", &url(etcd), archive, &["etcd"])
            .image("app", app)
    };
    let extra = served_by(&server).replace("mirrors-only = true", "");
    let tree = tree(&extra, &lock("old", &old, "r.example/app:1").0);
    run(&tree, &["apply"], 0);
    assert_eq!(run(&tree, &["prune"], 0).1, "kfetch: nothing to remove\n");

    tree.write(LOCK, &lock("new", &new, "r.example/app:2").0);
    let before = tree.listing();
    run(&tree, &["prune", "--yes"], 0);
    assert_eq!(tree.listing(), before, "the other phases still use what is there");

    run(&tree, &["apply"], 0);
    tree.write(&format!("{STORE}/partial/{}", Sha256::of("gone").hex()), "go");
    tree.write(&format!("{STORE}/partial/{}", Sha256::of("base").hex()), "ba");
    tree.write(&format!("{STORE}/blobs/sha256/.x.k8steps-1"), "half");
    tree.refuses(&["prune"], 2, "not-confirmed", "run `kfetch prune --yes`");
    let (_, stderr) = run(&tree, &["prune"], 2);
    assert!(stderr.contains("kfetch: forget image r.example/app:1\n"), "{stderr}");
    let line = format!("kfetch: remove unpacked/{} (8 B)\n", Sha256::of(&old).hex());
    assert!(stderr.contains(&line), "{stderr}");

    let (_, stderr) = run(&tree, &["prune", "--yes"], 0);
    assert!(stderr.contains(" removed, ") && stderr.contains(" freed\n"), "{stderr}");
    for gone in [&old, &b"one".to_vec()] {
        assert!(!blob(&tree, gone).exists());
    }
    for kept in [&new, &b"two".to_vec(), &b"base".to_vec(), &bytes(1000)] {
        assert!(blob(&tree, kept).exists());
    }
    assert!(partial(&tree, b"base").exists() && !partial(&tree, b"gone").exists());
    assert!(!tree.path(&format!("{STORE}/blobs/sha256/.x.k8steps-1")).exists());
    let unpacked = |archive: &[u8]| {
        tree.path(&format!("{STORE}/unpacked/{}", Sha256::of(archive).hex())).exists()
    };
    assert!(unpacked(&new) && !unpacked(&old));
    assert!(!tree.read(&format!("{STORE}/index.json")).contains("app:1"));
    run(&tree, &["check"], 0);
    run(&tree, &["verify"], 0);
    assert_eq!(run(&tree, &["prune"], 0).1, "kfetch: nothing to remove\n");
    assert!(fs::metadata(tree.path(LOCK)).is_ok());
}
