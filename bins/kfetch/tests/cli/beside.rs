//! Two processes at one store: one changes it, others read it or give way.

use std::{fs, thread};

use kspec::Sha256;

use crate::{
    Lock, blob, bytes, run,
    server::{Answer, Server},
    tree,
};

#[test]
fn who_comes_second_gives_way_and_readers_need_not() {
    let (server, kubelet) = (Server::start(), bytes(300_000));
    server.serve("/etcd", Answer::Bytes(b"the etcd".into()));
    server.serve("/kubelet", Answer::Hang(100_000, kubelet.clone()));
    let url = |path: &str| format!("{}/{path}", server.url());
    let lock = Lock::new().file("etcd", &url("etcd"), b"the etcd").file(
        "kubelet",
        &url("kubelet"),
        &kubelet,
    );
    let tree = tree("[download]\nstall-seconds = 6\nattempts = 4\n", &lock.0);

    thread::scope(|scope| {
        let first = scope.spawn(|| run(&tree, &["apply"], 0));
        let mut asked = Vec::new();
        while !asked.contains(&"/kubelet".to_owned()) || !blob(&tree, b"the etcd").exists() {
            asked.extend(server.requests().into_iter().map(|request| request.path));
            thread::yield_now();
        }
        let busy = " apply` is at work (pid ";
        for second in [&["apply"][..], &["prune", "--yes"], &["reset", "--yes"], &["load", "-"]] {
            let (_, stderr) = run(&tree, second, 1);
            let pid = stderr.split_once(busy).and_then(|(_, rest)| rest.split_once(')'));
            let pid = pid.unwrap_or_else(|| panic!("{second:?}: {stderr}")).0;
            assert!(stderr.starts_with("error[already-running]: `kfetch "), "{stderr}");
            let holder = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap();
            assert_eq!(holder, "kfetch\n", "{stderr}");
            assert!(stderr.contains("hint: wait for it"), "{stderr}");
        }
        let (table, _) = run(&tree, &["list"], 0);
        assert_eq!(table.matches("  here\n").count(), 1, "{table}");
        assert_eq!(table.matches("  missing\n").count(), 1, "{table}");
        run(&tree, &["plan"], 3);
        let (_, stderr) = run(&tree, &["bundle", "-"], 1);
        assert!(stderr.contains("not in the store: kubelet 1.33.3"), "{stderr}");

        server.serve("/kubelet", Answer::Bytes(kubelet.clone()));
        first.join().unwrap();
    });
    let digest = Sha256::of(fs::read(blob(&tree, &kubelet)).unwrap());
    assert_eq!(digest, Sha256::of(&kubelet), "torn");
    assert_eq!(server.ranges("/kubelet"), [Some("bytes=100000-".into())]);
    run(&tree, &["verify"], 0);
    assert_eq!(run(&tree, &["apply"], 0).1, "kfetch: nothing to do\n");
}
