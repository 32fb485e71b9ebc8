//! What the operator or an archive may have wrong, and what is shown.

use kspec::Sha256;
use serde_json::Value;

use crate::{
    KFETCH, Lock, RECORD, STORE, blob, download, run, served_by,
    server::{Answer, Server},
    tar_gz, tree,
};

/// `plan` and `apply` must refuse `lock` with exactly this and write nothing.
fn refused(extra: &str, lock: &str, error: &str, hint: &str) {
    let tree = tree(extra, lock);
    let before = tree.listing();
    for verb in ["plan", "apply", "list"] {
        let (_, stderr) = run(&tree, &[verb], 2);
        assert!(stderr.contains(&format!("error[{error}]")), "{stderr}");
        assert!(stderr.contains(&format!("hint: {hint}")), "{stderr}");
    }
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_missing_lock() {
    let tree = ktest::Tree::with_cluster(KFETCH, "");
    for verb in ["plan", "apply", "list"] {
        let (_, stderr) = run(&tree, &[verb], 2);
        assert!(stderr.contains("error[input-missing]"), "{stderr}");
        assert!(stderr.contains("/etc/k8steps/artifacts.lock` does not exist"), "{stderr}");
        assert!(stderr.contains("hint: run `kfetch lock`, which makes it"), "{stderr}");
    }
}

#[test]
fn locks_that_make_no_sense() {
    let good = Lock::new().file("kubelet", "https://up/kubelet", b"x");
    let digest = Sha256::of("x").hex();

    let bad = good.0.replace(&digest, &digest[1..]);
    refused("", &bad, "input-invalid", "correct `");
    let bad = good.0.replace("https://", "ftp://");
    refused("", &bad, "address-invalid", "correct the url of `kubelet` in artifacts.lock");
    let twice = good.clone().file("kubelet", "https://up/kubelet", b"x");
    refused("", &twice.0, "name-twice", "keep one of the two sections");
    let bad = good.0.replace(&format!("arch = \"{}\"", crate::this_arch()), "arch = \"OTHER\"");
    let other = if bad.contains("amd64") || crate::this_arch().as_str() == "arm64" {
        bad.replace("OTHER", "amd64")
    } else {
        bad.replace("OTHER", "arm64")
    };
    refused("", &other, "arch-not-locked", "add [[file]] sections");
    let bad = good.0.clone() + "format = \"tar.gz\"\n";
    refused("", &bad, "members-missing", "name `members` of it");
    let bad = good.0.clone() + "format = \"tar.gz\"\nmembers = [\"../x\"]\n";
    refused("", &bad, "member-invalid", "write a path such as bin/ctr");
    let bad = good.0 + "[[image]]\nname = \"a\"\nref = \"Not an image\"\n";
    refused("", &bad, "reference-invalid", "correct `ref` of `a`");
}

#[test]
fn a_cluster_that_names_no_usable_address() {
    let lock = Lock::new().file("kubelet", "https://up/kubelet", b"x");
    let secret = "[download]\nmirrors = [\"https://me:hunter2@h\"]";
    refused(secret, &lock.0, "password-in-address", "use a mirror that needs none");
    let (_, stderr) = run(&tree(secret, &lock.0), &["plan"], 2);
    assert!(!stderr.contains("hunter2"), "{stderr}");
    let mirror = "[download]\nmirrors = [\"10.0.0.1:80\"]";
    refused(mirror, &lock.0, "address-invalid", "correct the download.mirrors of cluster.toml");
    let lock = lock.image("a", "r.example/a:1");
    let registry = "[[containerd.registry]]\nprefix = \"r.example\"\n\
                    [[containerd.registry.host]]\nurl = \"http://h/path?x=1\"";
    refused(
        registry,
        &lock.0,
        "registry-url-invalid",
        "containerd.registry.host.url: write http://",
    );
}

#[test]
fn nowhere_to_ask() {
    let lock = Lock::new().file("kubelet", "https://up/kubelet", b"x");
    let tree = tree(&download("mirrors-only = true"), &lock.0);
    let (_, stderr) = run(&tree, &["apply"], 2);
    assert!(
        stderr.contains("error[no-source]: there is nowhere to fetch kubelet 1.33.3"),
        "{stderr}"
    );
    assert!(stderr.contains("hint: name a mirror in [download]"), "{stderr}");
}

/// An archive that must be refused as a whole.
pub(crate) fn archive_refused(
    archive: &[u8],
    members: &[&str],
    code: i32,
    error: &str,
    hint: &str,
) {
    let server = Server::start();
    server.serve("/a", Answer::Bytes(archive.into()));
    let url = format!("{}/a", server.url());
    let tree = tree(&download(""), &Lock::new().archive("a", &url, archive, members).0);
    let (_, stderr) = run(&tree, &["apply"], code);
    assert!(stderr.contains(&format!("error[{error}]")), "{stderr}");
    assert!(stderr.contains(&format!("hint: {hint}")), "{stderr}");
    let store = tree.listing();
    assert!(blob(&tree, archive).exists(), "it is what the lock asked for");
    assert!(!store.contains("store/unpacked/") && !store.contains("store/partial/"), "{store}");
    assert!(!store.contains("escaped"), "{store}");
    assert!(!tree.path(RECORD).exists());
}

#[test]
fn an_archive_that_leads_out_of_its_directory() {
    for name in ["../escaped", "bin/../../escaped", "/escaped"] {
        let archive = tar_gz(&[("bin/ctr", "the ctr"), (name, "x")]);
        let hint = "do not use this archive";
        archive_refused(&archive, &["bin/*"], 1, "archive-unsafe", hint);
    }
}

#[test]
fn an_archive_that_lacks_a_member() {
    let archive = tar_gz(&[("etcd", "the etcd")]);
    let hint = "correct `members` of `a` in artifacts.lock; `tar -tzf";
    archive_refused(&archive, &["etcd", "etcdctl"], 2, "member-missing", hint);
    archive_refused(b"<html>", &["etcd"], 2, "archive-unreadable", "correct `format` of `a`");
    let archive = tar_gz(&[("a/x", "1"), ("b/x", "2")]);
    archive_refused(&archive, &["a/x", "b/x"], 2, "member-twice", "name only one of them");
}

#[test]
fn nothing_to_verify() {
    let tree = tree("", &Lock::new().0);
    let (_, stderr) = run(&tree, &["verify"], 2);
    assert!(stderr.contains(&format!("error[input-missing]: there is no store at `{STORE}`")));
    assert!(stderr.contains("hint: run `kfetch apply`"), "{stderr}");
}

#[test]
fn list() {
    let server = Server::start();
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet");
    let tree = tree(&download("mirrors-only = true\nmirrors = []"), &lock.0);
    let lock = lock.image("pause", "registry.k8s.io/pause:3.10");
    tree.write("/etc/k8steps/artifacts.lock", &lock.0);
    let (table, _) = run(&tree, &["list"], 0);
    insta::assert_snapshot!(table, @r#"
    KIND   NAME     VERSION                     DIGEST        SIZE  STORE
    file   kubelet  1.33.3                      9b7d213cc5ed  -     missing
    image  pause    registry.k8s.io/pause:3.10  not pinned    -     missing
    "#);
    let (lines, _) = run(&tree, &["list", "--json"], 0);
    insta::assert_snapshot!(lines, @r#"
    {"schema":1,"phase":"kfetch","event":"artifact","kind":"file","name":"kubelet","what":"1.33.3","digest":"sha256:9b7d213cc5ed0b8377a3ee5b0b91b9ac533b5b6bf06bf67cb5fbcbeb431767e6","size":0,"here":false}
    {"schema":1,"phase":"kfetch","event":"artifact","kind":"image","name":"pause","what":"registry.k8s.io/pause:3.10","size":0,"here":false}
    "#);
    assert_eq!(server.requests(), []);
}

#[test]
fn list_of_what_is_here() {
    let server = Server::start();
    let archive = tar_gz(&[("etcd", "the etcd")]);
    server.serve("/etcd", Answer::Bytes(archive.clone()));
    server.image("pause:3.10", &["layer"]);
    let lock = Lock::new()
        .archive("etcd", &format!("{}/etcd", server.url()), &archive, &["etcd"])
        .image("pause", "r.example/pause:3.10");
    let tree = tree(&served_by(&server).replace("mirrors-only = true", ""), &lock.0);
    run(&tree, &["apply"], 0);
    let (lines, _) = run(&tree, &["list", "--json"], 0);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["size"], archive.len());
    assert_eq!(lines[0]["digest"], Sha256::of(&archive).to_string());
    assert!(lines[1]["digest"].as_str().unwrap().starts_with("sha256:"), "a tag that was resolved");
    for line in lines {
        assert_eq!((&line["here"], &line["size"] != 0), (&Value::Bool(true), true), "{line}");
    }
}

#[test]
fn progress_goes_to_standard_error() {
    let server = Server::start();
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet");
    let tree = tree(&download(""), &lock.0);
    let (stdout, stderr) = run(&tree, &["apply"], 0);
    assert_eq!(stdout, "");
    assert!(stderr.contains("kfetch: fetching kubelet 1.33.3\n"), "{stderr}");
    assert!(stderr.contains("kfetch: fetched kubelet 1.33.3 (11 B in "), "{stderr}");
    run(&tree, &["reset", "--yes"], 0);
    assert_eq!(run(&tree, &["apply", "-q"], 0), (String::new(), String::new()));
}

#[test]
fn help() {
    let tree = ktest::Tree::new(KFETCH);
    let (stdout, _) = run(&tree, &["--help"], 0);
    insta::assert_snapshot!(stdout, @r#"
    Have every file and image the node needs, each with the right digest

    Downloads what artifacts.lock names for this machine's architecture, several at
    a time: files from the mirrors of cluster.toml and then from upstream, images
    from the hosts of their registry. Nothing is kept under its name before its
    SHA-256 fits. A download that was cut off goes on where it stopped.

    Everything lies in /var/lib/k8steps/store, one OCI image layout. Needs no
    facts.json: kfetch may run beside kprep and kpki.

    Example: fetch, and see what there is

        kfetch apply
        kfetch list

    Usage: kfetch [OPTIONS] <COMMAND>

    Commands:
      plan    Show what apply would change; exits 3 when there is something
      apply   Make it so; a second run changes nothing
      check   Is it still so, and does it work? Exits 3 when it drifted, 1 when it
              does not work
      reset   Put back exactly what apply changed
      lock    Write artifacts.lock for the kubernetes.version of cluster.toml, with
              the digests of images
      verify  Read everything in the store again; exits 1 when something is damaged
      list    List what the lock names, and whether the store has it
      bundle  Write everything the lock names into one file for a node; the same
              lock, the same bytes
      load    Read a bundle into the store, and its lock where there is none
      prune   Remove what neither the lock nor artifacts.json names; asks first
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Shared options:
          --config <FILE>
              Cluster description
              
              [env: K8STEPS_CONFIG=]

          --node <NAME>
              Which [[node]] of the description this machine is; without it, told by
              name or address
              
              [env: K8STEPS_NODE=]

          --root <DIR>
              Act on the tree DIR instead of on this machine; only files are made
              there

          --json
              One JSON event a line on standard output

          --events <FILE>
              Also add every event to the end of FILE, and each program that is run
              
              [env: K8STEPS_EVENTS=]

      -v, --verbose...
              Say more; twice, also the programs that are run

      -q, --quiet
              Say nothing but errors

          --timeout <SECONDS>
              Longest time to wait for any one thing

    Exit codes: 0 done, 1 the host or cluster failed, 2 bad input or usage, 3
    differs
    Files:      /etc/k8steps/cluster.toml, /var/lib/k8steps; see docs/contract.md
    "#);
}

#[test]
fn a_lock_of_a_thousand_artifacts() {
    let lock = (0..500).fold(Lock::new(), |lock, number| {
        let name = format!("tool{number}");
        let file = lock.file(&name, &format!("https://up.example/{name}"), name.as_bytes());
        let image = format!("image{number}");
        file.image(&image, &format!("registry.example/{image}:1")).pinned(Sha256::of(image))
    });
    let tree = tree("", &lock.0);
    let said = tree.run_in_little_memory(&["plan", "--json"], 3);
    let planned = said.lines().filter(|line| line.contains("\"event\":\"planned\"")).count();
    assert!(planned >= 1_000, "{planned} are planned");
}
