//! Images, from a registry on this machine.

use std::fs;

use kspec::{Sha256, state::Artifacts};
use ktest::Tree;
use serde_json::{Value, json};

use crate::{
    Lock, RECORD, STORE, blob, download, run, served_by,
    server::{Answer, Server},
    this_arch, tree,
};

fn own(digests: [Sha256; 2]) -> Sha256 {
    digests[usize::from(this_arch().as_str() == "arm64")]
}

fn recorded(tree: &Tree, name: &str) -> Sha256 {
    let record: Artifacts = serde_json::from_str(&tree.read(RECORD)).unwrap();
    record.images[name].digest
}

fn index(tree: &Tree) -> Value {
    serde_json::from_str(&tree.read(&format!("{STORE}/index.json"))).unwrap()
}

#[test]
fn a_tag_is_trusted_on_first_use_and_then_stays() {
    let server = Server::start();
    let first = own(server.image("team/app:1", &["base", "app one"]));
    let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/team/app:1").0);

    let (stdout, _) = run(&tree, &["plan"], 3);
    assert!(stdout.contains("~ fetch image r.example/team/app:1 (not pinned)\n"), "{stdout}");
    let (_, stderr) = run(&tree, &["apply"], 0);
    assert_eq!(stderr.matches("not pinned, taking").count(), 1, "{stderr}");
    assert_eq!(recorded(&tree, "app"), first);
    let entry = &index(&tree)["manifests"][0];
    assert_eq!(entry["digest"], json!(first));
    assert_eq!(entry["platform"], json!({ "architecture": this_arch().as_str(), "os": "linux" }));
    for key in ["org.opencontainers.image.ref.name", "io.containerd.image.name"] {
        assert_eq!(entry["annotations"][key], "r.example/team/app:1");
    }
    assert!(blob(&tree, b"base").exists() && blob(&tree, b"app one").exists());

    let second = own(server.image("team/app:1", &["base", "app two"]));
    assert_ne!(first, second);
    server.requests();
    let (_, stderr) = run(&tree, &["apply"], 0);
    assert_eq!(stderr, "kfetch: nothing to do\n");
    assert_eq!(server.requests(), []);

    fs::rename(tree.path(STORE), tree.path("/run/elsewhere")).unwrap();
    let (_, stderr) = run(&tree, &["apply"], 0);
    assert!(!stderr.contains("not pinned"), "{stderr}");
    assert_eq!(recorded(&tree, "app"), first, "the digest was forgotten with the store");

    fs::rename(tree.path(RECORD), tree.path("/run/record")).unwrap();
    server.requests();
    run(&tree, &["apply"], 0);
    assert_eq!(recorded(&tree, "app"), first, "the digest was forgotten with the record");
    assert_eq!(server.requests(), []);
}

#[test]
fn a_pinned_image_is_asked_for_by_its_digest() {
    let server = Server::start();
    let old = own(server.image("app:1", &["one"]));
    server.image("app:1", &["two"]);
    let lock = Lock::new().image("app", "r.example/app:1");
    let tree = tree(&served_by(&server), &lock.clone().pinned(old).0);
    run(&tree, &["apply"], 0);
    assert_eq!(recorded(&tree, "app"), old);
    let tag = |path: &str| path.ends_with("/manifests/1");
    assert!(!server.requests().iter().any(|request| tag(&request.path)), "the tag was asked for");

    let new = own(server.image("app:1", &["three"]));
    tree.write("/etc/k8steps/artifacts.lock", &lock.pinned(new).0);
    run(&tree, &["apply"], 0);
    assert_eq!(recorded(&tree, "app"), new);
    assert_eq!(index(&tree)["manifests"].as_array().unwrap().len(), 1);
}

#[test]
fn a_manifest_with_another_digest() {
    let server = Server::start();
    server.image("app:1", &["one"]);
    let pinned = Sha256::of("what it should be");
    server.serve(&format!("/v2/app/manifests/{pinned}"), Answer::Bytes(b"{}".into()));
    let lock = Lock::new().image("app", "r.example/app:1").pinned(pinned);
    let tree = tree(&served_by(&server), &lock.0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    let url = format!("{}/v2/app/manifests/{pinned}", server.url());
    let found = Sha256::of("{}");
    assert!(
        stderr.contains(&format!("error[digest-mismatch]: `{url}` is {found}, not {pinned}")),
        "{stderr}"
    );
    assert_eq!(index(&tree)["manifests"], json!([]));
}

#[test]
fn a_layer_with_other_bytes() {
    let server = Server::start();
    server.image("app:1", &["one"]);
    let layer = format!("/v2/app/blobs/{}", Sha256::of("one"));
    server.serve(&layer, Answer::Bytes(b"two".into()));
    let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains(&format!("error[digest-mismatch]: `{}{layer}`", server.url())));
    assert!(!blob(&tree, b"one").exists());
    assert_eq!(index(&tree)["manifests"], json!([]), "half an image is named");
}

#[test]
fn an_image_for_another_architecture() {
    let server = Server::start();
    let [amd64, arm64] = server.image("app:1", &["one"]);
    let foreign = if own([amd64, arm64]) == amd64 { arm64 } else { amd64 };
    let lock = Lock::new().image("app", "r.example/app:1").pinned(foreign);
    let tree = tree(&served_by(&server), &lock.0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains("error[wrong-architecture]: `r.example/app:1` is not for"), "{stderr}");
    assert_eq!(index(&tree)["manifests"], json!([]));
}

#[test]
fn a_shared_layer_is_fetched_once_and_a_cut_one_goes_on() {
    let (server, base) = (Server::start(), "b".repeat(100_000));
    let layer = |repository: &str| format!("/v2/{repository}/blobs/{}", Sha256::of(&base));
    server.image("one:1", &[&base, "one"]);
    server.image("two:1", &[&base, "two"]);
    for repository in ["one", "two"] {
        server.serve(&layer(repository), Answer::Cut(50_000, base.clone().into()));
    }
    let lock = Lock::new().image("one", "r.example/one:1").image("two", "r.example/two:1");
    let tree = tree(&served_by(&server), &lock.0);
    run(&tree, &["apply"], 0);
    let requests = server.requests();
    let of_base: Vec<_> = requests
        .iter()
        .filter(|request| [layer("one"), layer("two")].contains(&request.path))
        .map(|request| request.range.as_deref())
        .collect();
    assert_eq!(of_base, [None, Some("bytes=50000-")]);
    assert_eq!(fs::read(blob(&tree, base.as_bytes())).unwrap(), base.as_bytes());
}

#[test]
fn what_was_kept_of_a_layer_is_not_trusted() {
    let server = Server::start();
    server.image("app:1", &["the layer"]);
    let layer = format!("/v2/app/blobs/{}", Sha256::of("the layer"));
    let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
    let kept = format!("{STORE}/partial/{}", Sha256::of("the layer").hex());
    let then_all = vec![Some("bytes=5-".into()), None];
    for (text, ranges) in [("wrong", then_all), ("longer than it is", vec![None])] {
        tree.write(&kept, text);
        run(&tree, &["apply"], 0);
        assert_eq!(server.ranges(&layer), ranges);
        assert_eq!(fs::read(blob(&tree, b"the layer")).unwrap(), b"the layer");
        fs::rename(blob(&tree, b"the layer"), tree.root().with_file_name("gone")).unwrap();
    }
}

#[test]
fn a_stalled_layer_goes_on_at_the_next_host() {
    let (stalled, server, text) = (Server::start(), Server::start(), "b".repeat(100_000));
    let layer = format!("/v2/app/blobs/{}", Sha256::of(&text));
    for host in [&stalled, &server] {
        host.image("app:1", &[&text]);
    }
    stalled.serve(&layer, Answer::Hang(50_000, text.clone().into()));
    let hosts = [&stalled, &server]
        .map(|host| format!("[[containerd.registry.host]]\nurl = \"{}\"\n", host.url()));
    let extra = "[download]\nattempts = 1\nstall-seconds = 1\nmirrors-only = true\n".to_owned()
        + "[[containerd.registry]]\nprefix = \"r.example\"\n"
        + &hosts.concat();
    let tree = tree(&extra, &Lock::new().image("app", "r.example/app:1").0);
    run(&tree, &["apply"], 0);
    assert_eq!(server.ranges(&layer), [Some("bytes=50000-".into())]);
}

#[test]
fn a_missing_layer_is_fetched_again_alone() {
    let server = Server::start();
    server.image("app:1", &["one", "two"]);
    let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
    run(&tree, &["apply"], 0);
    let applied = tree.listing();
    let run_dir = tree.path("/run/user");
    fs::rename(blob(&tree, b"two"), run_dir).unwrap();
    server.requests();

    let (stdout, _) = run(&tree, &["plan"], 3);
    assert_eq!(stdout.matches("~ ").count(), 1, "{stdout}");
    run(&tree, &["apply"], 0);
    let blobs = |path: &str| path.contains("/blobs/");
    assert_eq!(server.requests().iter().filter(|request| blobs(&request.path)).count(), 1);
    tree.write("/run/user", "");
    assert_eq!(tree.listing(), applied);
}

#[test]
fn the_second_host_serves_what_the_first_cannot() {
    let server = Server::start();
    let digest = own(server.image("app:1", &["one"]));
    let hosts = [Server::down(), server.url()]
        .map(|url| format!("[[containerd.registry.host]]\nurl = \"{url}\"\n"));
    let extra = download("mirrors-only = true")
        + "[[containerd.registry]]\nprefix = \"r.example\"\n"
        + &hosts.concat();
    let tree = tree(&extra, &Lock::new().image("app", "r.example/app:1").0);
    run(&tree, &["apply"], 0);
    assert_eq!(recorded(&tree, "app"), digest);
}

#[test]
fn a_registry_that_wants_a_token_is_given_one() {
    let server = Server::start();
    server.image("app:1", &["one"]);
    server.serve("/token", Answer::Bytes(br#"{"token":"open-sesame"}"#.into()));
    server.serve("/v2/", Answer::Private(Vec::new()));
    let layer = format!("/v2/app/blobs/{}", Sha256::of("one"));
    server.serve(&layer, Answer::Private(b"one".into()));
    let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
    run(&tree, &["apply"], 0);
    assert!(blob(&tree, b"one").exists());
}

#[test]
fn a_registry_that_gives_no_token() {
    let server = Server::start();
    server.image("app:1", &["one"]);
    let layer = format!("/v2/app/blobs/{}", Sha256::of("one"));
    server.serve(&layer, Answer::Private(b"one".into()));
    server.serve("/token", Answer::Status(503));
    let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
    let (_, stderr) = run(&tree, &["apply"], 1);
    let why = format!("{layer}: no token from the server that gives them: HTTP 503");
    assert!(stderr.contains(&why), "{stderr}");

    server.serve("/token", Answer::Bytes(br#"{"token":"of no use"}"#.into()));
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains(&format!("{layer}: HTTP 401 Unauthorized")), "{stderr}");
    server.serve("/token", Answer::Bytes(br#"{"token":"a\r\nb: c"}"#.into()));
    let (_, stderr) = run(&tree, &["apply"], 1);
    assert!(stderr.contains("gives them: it says something else"), "{stderr}");
}

#[test]
fn what_is_no_manifest_of_one_image() {
    let server = Server::start();
    server.image("app:1", &["one"]);
    let Some(Answer::Bytes(list)) = server.served("/v2/app/manifests/1") else {
        panic!("no list of images is served");
    };
    let digest = Sha256::of(&list);
    server.serve(&format!("/v2/app/manifests/{digest}"), Answer::Bytes(list));
    let lock = Lock::new().image("app", "r.example/app:1");
    let tree = tree(&served_by(&server), &lock.clone().pinned(digest).0);
    let (_, stderr) = run(&tree, &["apply"], 2);
    let what = "error[digest-of-index]: `r.example/app:1` is pinned to a list of images";
    assert!(stderr.contains(what), "{stderr}");
    assert!(stderr.contains("hint: remove the digest from artifacts.lock"), "{stderr}");

    for (reply, why) in [("<html>", "not an image manifest"), ("{}", "missing field `config`")] {
        let digest = Sha256::of(reply);
        server.serve(&format!("/v2/app/manifests/{digest}"), Answer::Bytes(reply.into()));
        tree.write("/etc/k8steps/artifacts.lock", &lock.clone().pinned(digest).0);
        let (_, stderr) = run(&tree, &["apply"], 1);
        assert!(stderr.contains("error[image-unreadable]") && stderr.contains(why), "{stderr}");
        assert!(!blob(&tree, reply.as_bytes()).exists());
    }
    assert_eq!(index(&tree)["manifests"], json!([]));
}
