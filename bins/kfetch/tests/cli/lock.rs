//! The lock: written from the catalogue, completed by registries, and held to the cluster.

use std::path::Path;

use ktest::Tree;

use crate::{KFETCH, Lock, STORE, download, run, server::Server, tree};

const LOCK: &str = "/etc/k8steps/artifacts.lock";
const SHIPPED: &str = include_str!("../../../../share/artifacts.lock");

/// Every registry of the shipped lock, and `r.example`, served by `server`.
pub(crate) fn everywhere(server: &Server) -> String {
    let section = |prefix: &str| {
        format!(
            "[[containerd.registry]]\nprefix = \"{prefix}\"\n\
             [[containerd.registry.host]]\nurl = \"{}\"\n",
            server.url()
        )
    };
    download("mirrors-only = true")
        + &["registry.k8s.io", "docker.io", "r.example"].map(section).concat()
}

/// A server with every image of the shipped lock.
fn registry() -> Server {
    let server = Server::start();
    for reference in SHIPPED.lines().filter_map(|line| line.strip_prefix("ref = \"")) {
        let (_, name) = reference.trim_end_matches('"').split_once('/').unwrap();
        server.image(name, &[name]);
    }
    server
}

fn without_lock(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KFETCH, extra);
    tree.write("/run/user", "");
    tree
}

#[test]
fn the_seeds_lock_is_made_without_asking_anybody() {
    let server = Server::start();
    let tree = without_lock(&everywhere(&server));
    let (stdout, stderr) = run(&tree, &["lock", "--offline", "--check"], 3);
    assert!(stdout.contains("    +name = \"kubelet\"\n"), "{stdout}");
    assert!(!tree.path(LOCK).exists(), "--check wrote something");
    assert!(stderr.contains("kfetch: 12 images stay without a digest"), "{stderr}");

    let (_, stderr) = run(&tree, &["lock", "--offline"], 0);
    assert!(stderr.contains("kfetch: kubelet for amd64: 1.33.3\n"), "{stderr}");
    assert_eq!(tree.read(LOCK), SHIPPED);
    let (_, stderr) = run(&tree, &["lock", "--offline"], 0);
    assert!(stderr.ends_with("kfetch: nothing to do\n"), "{stderr}");
    run(&tree, &["lock", "--offline", "--check"], 0);
    assert_eq!(server.requests(), []);
}

#[test]
fn registries_are_asked_for_the_digests_that_lack_and_only_for_those() {
    let server = registry();
    let [amd64, arm64] = server.image("app:1", &["one"]);
    let lock = format!("# mine\n{}# end\n", Lock::new().image("app", "r.example/app:1").0);
    let tree = tree(&everywhere(&server), &lock);

    let (_, stderr) = run(&tree, &["lock"], 0);
    let pinned = format!("kfetch: r.example/app:1 for amd64: not pinned -> {amd64}\n");
    assert!(stderr.contains(&pinned), "{stderr}");
    let written = tree.read(LOCK);
    let digest = format!("digest = {{ amd64 = \"{amd64}\", arm64 = \"{arm64}\" }}\n");
    let own = format!("ref = \"r.example/app:1\"\n{digest}");
    assert!(written.starts_with("# mine\n") && written.ends_with("# end\n"), "{written}");
    assert!(written.contains(&own), "{written}");
    assert_eq!(written.matches("digest = {").count(), 13, "{written}");
    assert!(!Path::new(&tree.path(STORE)).exists(), "lock fetched something");

    server.image("app:1", &["two"]);
    server.requests();
    let (_, stderr) = run(&tree, &["lock"], 0);
    assert_eq!(stderr, "kfetch: nothing to do\n");
    assert_eq!(server.requests(), [], "a digest that is there was asked for");

    tree.write(LOCK, &written.replace(&digest, ""));
    run(&tree, &["lock"], 0);
    let asked = server.requests();
    assert!(asked.iter().any(|request| request.path == "/v2/app/manifests/1"), "{asked:?}");
    assert!(!asked.iter().any(|request| request.path.contains("pause")), "{asked:?}");
    assert_ne!(tree.read(LOCK), written, "the tag has moved meanwhile");
}

#[test]
fn another_kubernetes_is_refused_until_the_lock_is_for_it() {
    let server = Server::start();
    let version = "[kubernetes]\nversion = \"1.34.2\"\n";
    let tree = tree(&(version.to_owned() + &everywhere(&server)), SHIPPED);
    for verb in ["plan", "apply", "check"] {
        let (_, stderr) = run(&tree, &[verb], 2);
        let what = "error[lock-version-mismatch]: artifacts.lock has kubelet 1.33.3, \
                    cluster.toml wants Kubernetes 1.34.2";
        assert!(stderr.contains(what), "{stderr}");
        assert!(stderr.contains("hint: run `kfetch lock`"), "{stderr}");
    }
    let (stdout, _) = run(&tree, &["lock", "--offline", "--check"], 3);
    assert!(stdout.contains("    -version = \"1.33.3\"\n    +version = \"1.34.2\"\n"), "{stdout}");
    assert_eq!(tree.read(LOCK), SHIPPED, "--check wrote something");
    run(&tree, &["lock", "--offline"], 0);
    let (_, stderr) = run(&tree, &["plan"], 3);
    assert!(stderr.contains("to change"), "{stderr}");

    let image = Lock::new().image("kube-proxy", "registry.k8s.io/kube-proxy:v1.33.3");
    tree.write(LOCK, &image.0);
    let (_, stderr) = run(&tree, &["plan"], 2);
    assert!(stderr.contains("artifacts.lock has kube-proxy 1.33.3"), "{stderr}");
}

#[test]
fn versions_that_cannot_be_locked() {
    let refused = |extra: &str, error: &str, hint: &str| {
        without_lock(extra).refuses(&["lock", "--offline"], 2, error, hint);
    };
    let near = "choose one it has, such as 1.33.11 or 1.34.0; or write [[file]] sections";
    refused("[kubernetes]\nversion = \"1.33.99\"", "version-unknown", near);
    let near = "choose one it has, such as 3.5.29 or 3.6.0;";
    refused("[download]\nversions = { etcd = \"3.5.99\" }", "version-unknown", near);
    let near = "choose one it has, such as 3.6.10; or";
    refused("[download]\nversions = { etcd = \"latest\" }", "version-unknown", near);
    let names = "choose of: cluster-proportional-autoscaler, cni-plugins, ";
    refused("[download]\nversions = { etcds = \"3.5.1\" }", "artifact-unknown", names);
    let follows = "set kubernetes.version, and take `kubelet` out of versions";
    refused(
        "[download]\nversions = { kubelet = \"1.33.4\" }",
        "version-follows-kubernetes",
        follows,
    );
}

#[test]
fn a_version_by_number() {
    let versions = "[download]\nversions = { etcd = \"3.5.24\", nginx = \"1.28.1\" }\n";
    let tree = without_lock(versions);
    run(&tree, &["lock", "--offline"], 0);
    let written = tree.read(LOCK);
    assert!(written.contains("/v3.5.24/etcd-v3.5.24-linux-arm64.tar.gz"), "{written}");
    assert!(written.contains("\"etcd-v3.5.24-linux-arm64/etcdctl\""), "{written}");
    assert!(written.contains("docker.io/library/nginx:1.28.1-alpine"), "{written}");

    // A release the catalogue does not know yet: its sections are the operator's.
    let newer = "[kubernetes]\nversion = \"1.33.99\"\n";
    let known = written.replace("1.33.3", "1.33.99");
    let tree = crate::tree(newer, &known.replace("3.5.24", "3.5.25").replace("1.28.1", "1.28.0"));
    let (_, stderr) = run(&tree, &["lock", "--offline"], 0);
    assert!(stderr.contains("etcd for amd64: its SHA-256 is not the published one"), "{stderr}");
}

#[test]
fn a_lock_that_cannot_be_read_is_left_alone() {
    let inline = "schema = 1\nimage = [{ name = 'a', ref = 'r.io/a:1' }]\n";
    for (bad, error, hint) in [
        ("schema = 2\n", "input-invalid", "correct it and run again"),
        (inline, "lock-unusual", "write every file and image as a section"),
        ("[", "lock-unusual", "write every file and image as a section"),
    ] {
        tree("", bad).refuses(&["lock", "--offline"], 2, error, hint);
    }
}

#[test]
fn nothing_is_written_when_a_registry_is_silent() {
    let server = registry();
    let lock = Lock::new().image("gone", "r.example/gone:1");
    let tree = tree(&everywhere(&server), &lock.0);
    let before = tree.listing();
    let (_, stderr) = run(&tree, &["lock"], 1);
    assert!(stderr.contains("error[mirror-down]: cannot fetch image r.example/gone:1"), "{stderr}");
    assert!(stderr.contains("/v2/gone/manifests/1: HTTP 404"), "{stderr}");
    assert_eq!(tree.listing(), before);
}
