//! Files and archives: fetched, resumed, from whoever has them, and put right when damaged.

use std::{fs, time::Duration};

use kspec::{Sha256, state::Artifacts};
use ktest::Tree;

use crate::{
    Lock, RECORD, STORE, blob, bytes, download, partial, run,
    server::{Answer, Server},
    steps, tar_gz, tree,
};

#[test]
fn plan_apply_again_check_and_back() {
    let server = Server::start();
    let archive = tar_gz(&[("./bin/ctr", "the ctr"), ("bin/deep/x", "no"), ("README", "no")]);
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    server.serve("/containerd.tgz", Answer::Bytes(archive.clone()));
    server.image("pause:3.10", &["layer"]);
    let lock = Lock::new()
        .file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet")
        .archive("containerd", &format!("{}/containerd.tgz", server.url()), &archive, &["bin/*"])
        .image("pause", "registry.k8s.io/pause:3.10");
    let registry = registry(&server);
    let tree = tree(&registry, &lock.0);
    tree.write("/var/lib/misc", ""); // every machine has /var/lib
    let before = tree.listing();

    let planned = steps(&tree, &["plan", "--json"], "planned", 3);
    assert_eq!(planned.len(), 5, "{planned:?}");
    assert_eq!(tree.listing(), before, "plan wrote something");
    assert_eq!(server.requests(), [], "plan asked somebody");

    assert_eq!(steps(&tree, &["apply", "--json"], "changed", 0), planned);
    let applied = tree.listing();
    let record: Artifacts = serde_json::from_str(&tree.read(RECORD)).unwrap();
    let member = |file: &str, name: &str| tree.read(&record.member(file, name).unwrap().path);
    assert_eq!(member("kubelet", "kubelet"), "the kubelet");
    assert_eq!(member("containerd", "ctr"), "the ctr");
    assert_eq!(record.files["containerd"].members.len(), 1);
    let ctr = format!("var/lib/k8steps/store/unpacked/{}/ctr 100755", Sha256::of(&archive).hex());
    assert!(applied.contains(&ctr), "{applied}");

    server.requests();
    let (_, stderr) = run(&tree, &["apply"], 0);
    assert_eq!(stderr, "kfetch: nothing to do\n");
    run(&tree, &["check"], 0);
    run(&tree, &["verify"], 0);
    assert_eq!(tree.listing(), applied);
    assert_eq!(server.requests(), [], "the second run asked somebody");

    run(&tree, &["reset", "--yes"], 0);
    assert_eq!(tree.listing(), before);
}

/// A server, and a tree with a file, an archive and an image of it to fetch.
fn some_of_each() -> (Server, Tree) {
    let server = Server::start();
    let archive = tar_gz(&[("bin/ctr", "the ctr"), ("bin/runc", "the runc")]);
    server.serve("/kubelet", Answer::Bytes(bytes(1 << 20)));
    server.serve("/containerd.tgz", Answer::Bytes(archive.clone()));
    server.image("pause:3.10", &["one layer", "another"]);
    let lock = Lock::new()
        .file("kubelet", &format!("{}/kubelet", server.url()), &bytes(1 << 20))
        .archive("containerd", &format!("{}/containerd.tgz", server.url()), &archive, &["bin/*"])
        .image("pause", "registry.k8s.io/pause:3.10");
    let tree = tree(&registry(&server), &lock.0);
    tree.write("/var/lib/misc", "");
    (server, tree)
}

#[test]
fn faults_at_any_system_call_lose_nothing() {
    let (_server, tree) = some_of_each();
    tree.survives_faults("kfetch");
}

#[test]
fn two_at_once_do_not_tear_its_work() {
    let (_server, tree) = some_of_each();
    tree.is_alone_with_its_phase();
}

fn registry(server: &Server) -> String {
    format!(
        "[[containerd.registry]]\nprefix = \"registry.k8s.io\"\n\
         [[containerd.registry.host]]\nurl = \"{}\"\n",
        server.url()
    )
}

#[test]
fn what_was_cut_off_is_not_sent_again() {
    let (server, kubelet) = (Server::start(), bytes(300_000));
    server.serve("/kubelet", Answer::Cut(100_000, kubelet.clone()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), &kubelet);
    let tree = tree(&download(""), &lock.0);

    run(&tree, &["apply"], 0);
    assert_eq!(server.ranges("/kubelet"), [None, Some("bytes=100000-".into())]);
    assert_eq!(fs::read(blob(&tree, &kubelet)).unwrap(), kubelet);
    assert!(!partial(&tree, &kubelet).exists());
}

#[test]
fn a_killed_download_goes_on_in_the_next_run() {
    let (server, kubelet) = (Server::start(), bytes(300_000));
    server.serve("/kubelet", Answer::Hang(200_000, kubelet.clone()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), &kubelet);
    let tree = tree(&download(""), &lock.0);

    let killed = tree.tool().arg("apply").timeout(Duration::from_secs(4)).output().unwrap();
    assert_eq!(killed.status.code(), None, "it ended by itself");
    assert_eq!(fs::metadata(partial(&tree, &kubelet)).unwrap().len(), 200_000);
    assert!(!blob(&tree, &kubelet).exists());
    assert_eq!(server.ranges("/kubelet"), [None]);

    server.serve("/kubelet", Answer::Bytes(kubelet.clone()));
    run(&tree, &["apply"], 0);
    assert_eq!(server.ranges("/kubelet"), [Some("bytes=200000-".into())]);
    assert_eq!(fs::read(blob(&tree, &kubelet)).unwrap(), kubelet);
}

#[test]
fn a_stalled_download_is_given_up_and_goes_on() {
    let (stalled, server, kubelet) = (Server::start(), Server::start(), bytes(300_000));
    stalled.serve("/up/kubelet", Answer::Hang(100_000, kubelet.clone()));
    server.serve("/up/kubelet", Answer::Bytes(kubelet.clone()));
    let lock = Lock::new().file("kubelet", "https://up/kubelet", &kubelet);
    let mirrors = format!("mirrors = [\"{}\", \"{}\"]", stalled.url(), server.url());
    let tree = tree(&format!("[download]\nattempts = 1\nstall-seconds = 1\n{mirrors}\n"), &lock.0);

    run(&tree, &["apply"], 0);
    assert_eq!(server.ranges("/up/kubelet"), [Some("bytes=100000-".into())]);
}

#[test]
fn a_server_without_ranges_sends_all_of_it() {
    let (server, kubelet) = (Server::start(), bytes(1000));
    server.serve("/kubelet", Answer::Whole(kubelet.clone()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), &kubelet);
    let tree = tree(&download(""), &lock.0);
    run(&tree, &["apply"], 0);
    fs::rename(blob(&tree, &kubelet), partial(&tree, &kubelet)).unwrap();
    fs::File::options()
        .write(true)
        .open(partial(&tree, &kubelet))
        .and_then(|file| file.set_len(10))
        .unwrap();

    run(&tree, &["apply"], 0);
    assert_eq!(server.ranges("/kubelet"), [None, Some("bytes=10-".into())]);
    assert_eq!(fs::read(blob(&tree, &kubelet)).unwrap(), kubelet);
}

#[test]
fn the_next_mirror_has_what_the_first_has_wrong() {
    let (first, second) = (Server::start(), Server::start());
    first.serve("/up/kubelet", Answer::Bytes(b"another kubelet".into()));
    second.serve("/up/kubelet", Answer::Bytes(b"the kubelet".into()));
    let lock = Lock::new().file("kubelet", "https://up/kubelet", b"the kubelet");
    let mirrors = format!("mirrors = [\"{}\", \"{}\"]", first.url(), second.url());
    let tree = tree(&download(&mirrors), &lock.0);

    run(&tree, &["apply"], 0);
    assert_eq!(first.requests().len(), 1, "wrong bytes were asked for again");
    assert_eq!(fs::read(blob(&tree, b"the kubelet")).unwrap(), b"the kubelet");
}

#[test]
fn wrong_bytes_are_named_and_not_kept() {
    let server = Server::start();
    server.serve("/kubelet", Answer::Bytes(b"another kubelet".into()));
    let url = format!("{}/kubelet", server.url());
    let tree = tree(&download(""), &Lock::new().file("kubelet", &url, b"the kubelet").0);

    let (_, stderr) = run(&tree, &["apply"], 1);
    let (found, wanted) = (Sha256::of("another kubelet"), Sha256::of("the kubelet"));
    assert!(
        stderr.contains(&format!("error[digest-mismatch]: `{url}` is {found}, not {wanted}")),
        "{stderr}"
    );
    assert!(stderr.contains("hint: compare with the digest its project publishes"), "{stderr}");
    for kept in [b"the kubelet".as_slice(), b"another kubelet"] {
        assert!(!blob(&tree, kept).exists() && !partial(&tree, kept).exists());
    }
    assert!(!tree.path(RECORD).exists());
}

#[test]
fn every_address_that_was_tried_is_named() {
    let (down, empty) = (Server::down(), Server::start());
    let lock = Lock::new().file("kubelet", "https://up/kubelet", b"the kubelet");
    let mirrors = format!("mirrors = [\"{down}\", \"{}\"]\nmirrors-only = true", empty.url());
    let tree = tree(&download(&mirrors), &lock.0);

    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains("error[mirror-down]: cannot fetch kubelet 1.33.3"), "{stderr}");
    assert!(stderr.contains(&format!("{down}/up/kubelet: Connection refused")), "{stderr}");
    assert!(stderr.contains(&format!("{}/up/kubelet: HTTP 404", empty.url())), "{stderr}");
    assert!(stderr.contains("hint: see that one of these answers (`curl -I ADDRESS`)"), "{stderr}");
    assert_eq!(empty.requests().len(), 1, "a lasting answer was asked for again");
    assert!(!tree.path(RECORD).exists());
}

#[test]
fn a_busy_server_is_asked_again() {
    let server = Server::start();
    server.serve("/kubelet", Answer::Status(503));
    let url = format!("{}/kubelet", server.url());
    let tree = tree(&download(""), &Lock::new().file("kubelet", &url, b"x").0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains(&format!("{url}: HTTP 503")), "{stderr}");
    assert_eq!(server.requests().len(), 2);
}

#[test]
fn a_proxy_is_asked_for_others_and_never_for_the_cluster() {
    let (proxy, direct) = (Server::start(), Server::start());
    let (far, near) = ("http://files.example/far", format!("{}/near", direct.url()));
    proxy.serve(far, Answer::Bytes(b"far".to_vec())); // a proxy is asked for the whole address
    direct.serve("/near", Answer::Bytes(b"near".to_vec()));
    let lock = Lock::new().file("far", far, b"far").file("near", &near, b"near");
    let proxied = format!("[proxy]\nhttp = \"{}\"\n{}", proxy.url(), download(""));
    let tree = tree(&proxied, &lock.0);
    run(&tree, &["apply"], 0);
    // The servers listen on 127.0.0.1, which is of the machine itself.
    assert_eq!((proxy.requests().len(), direct.requests().len()), (1, 1));
}

#[test]
fn an_offline_machine_asks_nobody_and_names_all_it_lacks() {
    let server = Server::start();
    let url = |path: &str| format!("{}{path}", server.url());
    server.serve("/a", Answer::Bytes(b"a".to_vec()));
    server.serve("/b", Answer::Bytes(b"b".to_vec()));
    let lock = Lock::new().file("a", &url("/a"), b"a").file("b", &url("/b"), b"b");
    let offline = tree(&download("offline = true"), &lock.0);
    let (_, stderr) = run(&offline, &["apply"], 2);
    assert!(
        stderr.contains("error[offline-missing]: not in the store: artifact:a, artifact:b\n"),
        "{stderr}"
    );
    assert_eq!(server.requests().len(), 0);

    // With all of it in the store, it is as good as any other.
    let online = tree(&download(""), &lock.0);
    run(&online, &["apply"], 0);
    online.write("/etc/k8steps/cluster.toml", &{
        let path = offline.path("/etc/k8steps/cluster.toml");
        std::fs::read_to_string(path).unwrap()
    });
    let (_, said) = run(&online, &["apply"], 0);
    assert!(said.contains("nothing to do"), "{said}");
}

#[test]
fn downloads_overlap_but_not_more_than_allowed() {
    let server = Server::start();
    let mut lock = Lock::new();
    for at in 0..6 {
        let (path, bytes) = (format!("/file{at}"), format!("bytes {at}").into_bytes());
        lock = lock.file(&path[1..], &format!("{}{path}", server.url()), &bytes);
        server.serve(&path, Answer::Late(bytes));
    }
    let tree = tree(&download("parallel = 2"), &lock.0);
    run(&tree, &["apply"], 0);
    assert_eq!(server.most_at_once(), 2);
    assert_eq!(server.requests().len(), 6);
}

#[test]
fn a_failure_leaves_what_has_come_for_the_next_run() {
    let server = Server::start();
    server.serve("/good", Answer::Bytes(b"good".into()));
    let lock = Lock::new().file("good", &format!("{}/good", server.url()), b"good").file(
        "bad",
        &format!("{}/bad", server.url()),
        b"bad",
    );
    let tree = tree(&download("parallel = 1"), &lock.0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains("cannot fetch bad 1.2.3"), "{stderr}");

    server.serve("/bad", Answer::Bytes(b"bad".into()));
    server.requests();
    run(&tree, &["apply"], 0);
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn the_failure_that_stopped_the_others_is_the_one_shown() {
    let (server, slow) = (Server::start(), bytes(200_000));
    server.serve("/slow", Answer::Hang(100_000, slow.clone()));
    let lock = Lock::new().file("slow", &format!("{}/slow", server.url()), &slow).file(
        "bad",
        &format!("{}/bad", server.url()),
        b"bad",
    );
    server.serve("/bad", Answer::Status(503)); // asked again, so that the other has begun by then
    let tree = tree(&download("stall-seconds = 1"), &lock.0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains("error[mirror-down]: cannot fetch bad 1.2.3"), "{stderr}");
    assert_eq!(fs::metadata(partial(&tree, &slow)).unwrap().len(), 100_000);
    assert_eq!(server.ranges("/slow").len(), 1, "it went on after another had failed");
}

#[test]
fn what_was_kept_is_not_trusted() {
    let (server, kubelet) = (Server::start(), bytes(1000));
    server.serve("/kubelet", Answer::Bytes(kubelet.clone()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), &kubelet);
    let tree = tree("[download]\nattempts = 1\n", &lock.0);
    let kept = format!("{STORE}/partial/{}", Sha256::of(&kubelet).hex());
    for (text, ranges) in [("other bytes", "bytes=11-"), (&"x".repeat(2000), "bytes=2000-")] {
        tree.write(&kept, text);
        run(&tree, &["apply"], 0);
        assert_eq!(server.ranges("/kubelet"), [Some(ranges.into()), None]);
        assert_eq!(fs::read(blob(&tree, &kubelet)).unwrap(), kubelet);
        fs::rename(blob(&tree, &kubelet), tree.root().with_file_name("gone")).unwrap();
    }
    fs::rename(tree.root().with_file_name("gone"), tree.path(&kept)).unwrap();
    run(&tree, &["apply"], 0);
    assert_eq!(server.requests(), [], "all of it had come");
}

#[test]
fn damage_is_found_and_put_right() {
    let server = Server::start();
    let archive = tar_gz(&[("etcd", "the etcd"), ("etcdctl", "the etcdctl")]);
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    server.serve("/etcd", Answer::Bytes(archive.clone()));
    let lock = Lock::new()
        .file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet")
        .archive("etcd", &format!("{}/etcd", server.url()), &archive, &["etcd", "etcdctl"]);
    let tree = tree(&download(""), &lock.0);
    run(&tree, &["apply"], 0);
    let (applied, _) = (tree.listing(), server.requests());

    let kubelet = format!("{STORE}/blobs/sha256/{}", Sha256::of("the kubelet").hex());
    let etcdctl = format!("{STORE}/unpacked/{}/etcdctl", Sha256::of(&archive).hex());
    tree.write(&kubelet, "the kubelet, bent");
    fs::rename(tree.path(&etcdctl), tree.root().with_file_name("gone")).unwrap();

    let (stdout, stderr) = run(&tree, &["verify"], 1);
    let bent = Sha256::of("the kubelet, bent");
    assert_eq!(stdout, format!("{kubelet}: is {bent}\n{etcdctl}: missing\n"));
    assert!(stderr.contains("error[store-damaged]: 2 of 4 files"), "{stderr}");
    // Paths in the tree: the line is to be typed, and must not reach into the machine's own store.
    let [kubelet, etcdctl] = [&kubelet, &etcdctl].map(|path| tree.path(path).display().to_string());
    assert!(stderr.contains(&format!("hint: run `rm -f {kubelet} {etcdctl}`")), "{stderr}");

    let (stdout, _) = run(&tree, &["plan"], 3);
    assert!(stdout.contains("~ fetch kubelet 1.33.3 again\n"), "{stdout}");
    assert!(stdout.contains("~ unpack etcd 1.2.3\n"), "{stdout}");
    assert_eq!(stdout.matches("~ ").count(), 2, "artifacts.json does not change: {stdout}");
    let planned = steps(&tree, &["plan", "--json"], "planned", 3);
    run(&tree, &["check"], 3);
    assert_eq!(steps(&tree, &["apply", "--json"], "changed", 0), planned);
    assert_eq!(tree.listing(), applied);
    assert_eq!(server.requests().len(), 1, "the archive was fetched again");
    run(&tree, &["verify"], 0);
}

#[test]
fn other_members_of_the_same_archive() {
    let server = Server::start();
    let archive = tar_gz(&[("etcd", "the etcd"), ("etcdctl", "the etcdctl")]);
    let url = format!("{}/etcd", server.url());
    server.serve("/etcd", Answer::Bytes(archive.clone()));
    let tree = tree(&download(""), &Lock::new().archive("etcd", &url, &archive, &["etcd"]).0);
    run(&tree, &["apply"], 0);
    server.requests();

    let lock = Lock::new().archive("etcd", &url, &archive, &["*"]);
    tree.write("/etc/k8steps/artifacts.lock", &lock.0);
    run(&tree, &["apply"], 0);
    let record: Artifacts = serde_json::from_str(&tree.read(RECORD)).unwrap();
    assert_eq!(record.files["etcd"].members.len(), 2);
    assert_eq!(server.requests(), [], "the archive was there already");
}

#[test]
fn a_machine_without_certificates_can_use_a_plain_mirror() {
    let server = Server::start();
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    server.image("pause:3.10", &["layer"]);
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet");
    let tree = tree(&(download("mirrors-only = false") + &registry(&server)), &lock.0);
    let apply = || {
        let mut tool = tree.tool();
        tool.arg("apply").env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nonexistent");
        tool.assert()
    };
    apply().success();

    let lock = lock.image("pause", "registry.k8s.io/pause:3.10");
    tree.write("/etc/k8steps/artifacts.lock", &lock.0);
    apply().success();

    // Where there is TLS it is of no use to ask, and kfetch says why.
    let secure = server.url().replace("http:", "https:");
    let lock = lock.image("other", "other.example/app:1");
    tree.write("/etc/k8steps/artifacts.lock", &lock.0);
    let only = format!(
        "mirrors-only = true\n[[containerd.registry]]\nprefix = \"other.example\"\n\
         [[containerd.registry.host]]\nurl = \"{secure}\"\n"
    );
    let cluster = tree.read("/etc/k8steps/cluster.toml");
    let cluster = cluster.replace("mirrors-only = false", &only);
    tree.write("/etc/k8steps/cluster.toml", &cluster);
    let stderr = String::from_utf8(apply().code(1).get_output().stderr.clone()).unwrap();
    let why = format!("{secure}/v2/app/manifests/1: this machine trusts no authority: install");
    assert!(stderr.contains("error[mirror-down]") && stderr.contains(&why), "{stderr}");
}
