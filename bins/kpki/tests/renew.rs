//! `kpki renew` on a tree: what is renewed, and what it says afterwards. That programs go on working
//! is shown in the lab (`tests/tests/certs.rs`).

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive and meddle")]

mod common;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{Authority, SSL, control_plane};
use ktest::Tree;
use serde_json::Value;

const KPKI: &str = env!("CARGO_BIN_EXE_kpki");
/// What kubeadm issues that ends, in the order it is renewed; the kubelet's serving certificate
/// comes first, and root's kubeconfig follows admin.conf.
const RENEWED: [&str; 8] = [
    "apiserver",
    "admin.conf",
    "super-admin.conf",
    "root-kubeconfig",
    "apiserver-kubelet-client",
    "front-proxy-client",
    "controller-manager.conf",
    "scheduler.conf",
];

/// State and days left by name, from `kpki status`.
fn state(tree: &Tree, name: &str) -> (String, i64) {
    let output = tree.tool().args(["status", "--json"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let mut rows = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let row = rows.find(|row| row["name"] == name).unwrap();
    (row["state"].as_str().unwrap().into(), row["days-left"].as_i64().unwrap_or_default())
}

/// The names that a plan or a run tells of.
fn names(said: &str) -> Vec<String> {
    let words = said.lines().filter_map(|line| {
        let (_, rest) = line.split_once("renew ")?;
        Some(rest.split_once(", /")?.0.to_owned())
    });
    words.collect()
}

/// `openssl x509` of a certificate below [`SSL`], without what is new in a renewed one.
fn shown(tree: &Tree, name: &str) -> String {
    let extensions = "subjectAltName,keyUsage,extendedKeyUsage,basicConstraints";
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-subject", "-issuer", "-ext", extensions, "-in"]);
    let output = openssl.arg(tree.path(&format!("{SSL}/{name}.crt"))).output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    // In the order of DER, which kubeadm and we choose differently.
    let mut lines: Vec<_> = text.lines().map(str::trim).collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn what_ends_soon_is_renewed_and_says_the_same() {
    let tree = control_plane(KPKI, 20);
    let pairs = ["apiserver", "apiserver-kubelet-client", "front-proxy-client"];
    let before = pairs.map(|name| shown(&tree, name));
    let config = tree.read("/etc/kubernetes/admin.conf");
    let untouched = ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key"]
        .map(|name| (name, tree.read(&format!("{SSL}/{name}"))));

    let listing = tree.listing();
    let (planned, _) = tree.run(&["renew", "--plan"], 3);
    assert_eq!(tree.listing(), listing, "a plan changes something");
    // Not root's kubeconfig: it is still what admin.conf is.
    let due: Vec<_> =
        names(&planned).into_iter().filter(|name| name != "root-kubeconfig").collect();
    let expected = ["kubelet-server"].iter().chain(&RENEWED).copied();
    let expected: Vec<_> = expected.filter(|name| *name != "root-kubeconfig").collect();
    assert_eq!(due, expected);

    let (_, said) = tree.run(&["renew"], 0);
    assert_eq!(names(&said).len(), 9, "{said}");
    assert_eq!(pairs.map(|name| shown(&tree, name)), before);
    for name in &RENEWED {
        assert_eq!(state(&tree, name), ("good".into(), 364), "{name}");
    }
    assert_eq!(state(&tree, "kubelet-client").1, 365, "that is the kubelet's business");
    assert!(!tree.path("/var/lib/kubelet/pki/kubelet.crt").exists(), "it makes itself another");
    for (name, text) in untouched {
        assert_eq!(tree.read(&format!("{SSL}/{name}")), text, "{name}");
    }
    // Nothing but certificate and key of the kubeconfig; root's is a copy.
    let renewed = tree.read("/etc/kubernetes/admin.conf");
    let rest = |text: &str| -> Vec<String> {
        text.lines()
            .filter(|line| !line.contains("-data: ") || line.contains("authority"))
            .map(String::from)
            .collect()
    };
    assert_eq!(rest(&renewed), rest(&config));
    assert_eq!(tree.read("/root/.kube/config"), renewed);
    for purpose in [("apiserver", "sslserver"), ("apiserver-kubelet-client", "sslclient")] {
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-CAfile", "ca.crt", "-purpose", purpose.1]);
        let verify = verify.arg(format!("{}.crt", purpose.0)).current_dir(tree.path(SSL));
        assert!(verify.stdin(Stdio::null()).status().unwrap().success(), "{purpose:?}");
    }

    let listing = tree.listing();
    assert!(tree.run(&["renew"], 0).1.contains("nothing to do"));
    tree.run(&["renew", "--plan"], 0);
    assert_eq!(tree.listing(), listing);
    tree.run(&["status"], 0);
    tree.run(&["check"], 0);
    assert!(!tree.path("/var/lib/k8steps/renewal").exists());
}

#[test]
fn everything_that_has_ended_is_renewed() {
    let tree = control_plane(KPKI, -1);
    tree.run(&["status"], 3);
    tree.run(&["renew"], 0);
    tree.run(&["status"], 0);
    assert_eq!(state(&tree, "apiserver"), ("good".into(), 364));
}

#[test]
fn the_threshold_and_names_can_be_chosen() {
    let tree = control_plane(KPKI, 200);
    tree.run(&["renew", "--plan"], 0);
    tree.run(&["renew", "--plan", "--within", "200"], 0);
    let (planned, _) = tree.run(&["renew", "--plan", "--within", "201"], 3);
    assert_eq!(names(&planned).len(), 9, "{planned}");
    tree.refuses(&["renew", "--within", "365"], 2, "within-too-long", "choose fewer than 365 days");

    let (_, said) = tree.run(&["renew", "scheduler.conf", "etcd-node"], 0);
    assert_eq!(names(&said), ["etcd-node", "scheduler.conf"], "{said}");
    assert_eq!(state(&tree, "scheduler.conf").1, 364);
    assert_eq!(state(&tree, "apiserver").1, 200);
    tree.run(&["check"], 0); // pki.json goes along
    let hint = "choose one of: etcd-ca, etcd-member, etcd-admin, etcd-node, ca, apiserver";
    tree.refuses(&["renew", "apiserver", "nothing"], 2, "certificate-unknown", hint);
    let hint = "`kpki rotate-ca` replaces etcd's";
    tree.refuses(&["renew", "ca"], 2, "renewal-unsupported", hint);
}

#[test]
fn the_kubelets_certificate_is_issued_only_when_it_failed_to() {
    let tree = control_plane(KPKI, 200);
    let current = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    let put = |days: i64| {
        let ca = fs::read_to_string(tree.path(&format!("{SSL}/ca.crt"))).unwrap();
        let key = fs::read_to_string(tree.path(&format!("{SSL}/ca.key"))).unwrap();
        let issued =
            Authority::known(&ca, &key).issue("system:nodes", "system:node:node1", &[], days);
        tree.write("/var/lib/kubelet/pki/kubelet-client-1.pem", &(issued.cert + &issued.key));
        fs::remove_file(tree.path(current)).unwrap();
        std::os::unix::fs::symlink("kubelet-client-1.pem", tree.path(current)).unwrap();
    };
    put(5);
    assert_eq!(state(&tree, "kubelet-client"), ("due".into(), 5));
    tree.run(&["renew", "--plan"], 0);
    put(-5);
    let (_, said) = tree.run(&["renew"], 0);
    assert_eq!(names(&said), ["kubelet-client"], "{said}");
    assert_eq!(state(&tree, "kubelet-client"), ("good".into(), 364));
    let target = fs::read_link(tree.path(current)).unwrap().display().to_string();
    assert!(target.starts_with("kubelet-client-2"), "{target}");
    let file = fs::metadata(tree.path(current)).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert!(tree.path("/var/lib/kubelet/pki/kubelet-client-1.pem").exists(), "the old one stays");
}

#[test]
fn a_key_of_another_certificate_is_mended() {
    let tree = control_plane(KPKI, 200);
    tree.write(
        &format!("{SSL}/apiserver.key"),
        &tree.read(&format!("{SSL}/front-proxy-client.key")),
    );
    let (_, said) = tree.run(&["renew"], 0);
    assert_eq!(names(&said), ["apiserver"]);
    assert!(said.contains("its key belongs to another certificate"), "{said}");
    tree.run(&["status"], 0);
}

#[test]
fn what_cannot_be_renewed_is_left_as_it_is() {
    let tree = control_plane(KPKI, -1);
    let path = format!("{SSL}/apiserver.crt");
    let whole = tree.read(&path);
    tree.write(&path, &whole[..whole.len() / 2]);
    let hint = "run `kcp apply`, which lets kubeadm issue it anew";
    tree.refuses(&["renew", "apiserver"], 1, "certificate-damaged", hint);
    tree.write(&path, &whole);

    let key = tree.read(&format!("{SSL}/ca.key"));
    fs::remove_file(tree.path(&format!("{SSL}/ca.key"))).unwrap();
    tree.refuses(&["renew", "apiserver"], 1, "authority-key-missing", "bring its key here");
    tree.write(&format!("{SSL}/ca.key"), &tree.read(&format!("{SSL}/front-proxy-ca.key")));
    tree.refuses(&["renew", "apiserver"], 1, "authority-key-missing", "bring its key here");
    tree.write(&format!("{SSL}/ca.key"), &key);

    let ca = tree.read(&format!("{SSL}/ca.crt"));
    let hint = "restore it from a backup or another control plane";
    tree.write(&format!("{SSL}/ca.crt"), &ca[..ca.len() / 2]);
    tree.refuses(&["renew", "apiserver"], 1, "authority-damaged", hint);
    fs::remove_file(tree.path(&format!("{SSL}/ca.crt"))).unwrap();
    tree.refuses(&["renew", "apiserver"], 1, "authority-missing", hint);
    tree.write(&format!("{SSL}/ca.crt"), &ca);
    assert_eq!(tree.read(&path), whole, "none of it has changed anything");
    Authority::ending(&tree, "front-proxy-ca", "front-proxy-ca", -1);
    let hint = "the cluster needs a new authority";
    tree.refuses(&["renew", "front-proxy-client"], 1, "authority-ended", hint);
    // The others are renewed all the same, and it is told which was not.
    let (_, said) = tree.run(&["renew", "apiserver", "admin.conf"], 0);
    assert_eq!(names(&said), ["apiserver", "admin.conf", "root-kubeconfig"], "it is a copy");
}

#[test]
fn an_interrupted_renewal_is_taken_up_with_the_same_key() {
    let tree = control_plane(KPKI, 200);
    let old =
        (tree.read(&format!("{SSL}/apiserver.crt")), tree.read(&format!("{SSL}/apiserver.key")));
    let lock = |mode| fs::set_permissions(tree.path(SSL), Permissions::from_mode(mode)).unwrap();
    lock(0o555);
    let (_, said) = tree.run(&["renew", "apiserver"], 1);
    assert!(said.contains("error[write-failed]"), "{said}");
    lock(0o755);
    assert_eq!(tree.read(&format!("{SSL}/apiserver.crt")), old.0);
    let record = tree.path("/var/lib/k8steps/renewal/apiserver");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&record), mode(record.parent().unwrap())), (0o600, 0o700));
    let noted = fs::read_to_string(&record).unwrap();

    // Dying between the key and its certificate.
    let key = serde_json::from_str::<Value>(&noted).unwrap()["files"][0]["new"]["text"].clone();
    tree.write(&format!("{SSL}/apiserver.key"), key.as_str().unwrap());
    let (planned, _) = tree.run(&["renew", "--plan"], 3);
    assert!(planned.contains("a renewal of it was interrupted"), "{planned}");
    tree.run(&["renew"], 0);
    assert_eq!(tree.read(&format!("{SSL}/apiserver.key")), key.as_str().unwrap());
    assert!(!record.exists());
    assert_eq!(state(&tree, "apiserver"), ("good".into(), 364));

    // Somebody else has changed it since: what was noted is of no use.
    fs::create_dir_all(record.parent().unwrap()).unwrap();
    tree.write("/var/lib/k8steps/renewal/apiserver", &noted);
    tree.write(&format!("{SSL}/apiserver.crt"), &old.0);
    tree.write(&format!("{SSL}/apiserver.key"), &old.1);
    tree.run(&["renew"], 0);
    let seen = state(&tree, "apiserver").0;
    assert_eq!(seen, "good");
    tree.run(&["reset", "--yes"], 0);
    assert!(!record.exists(), "reset takes a half-done renewal's keys away");
}

#[test]
fn it_can_be_killed_at_any_time() {
    let tree = control_plane(KPKI, -1);
    for after in (0..160).step_by(8) {
        let mut command = Command::new(tree.path("../kpki"));
        command.args(["renew", "-q", "--root"]).arg(tree.root());
        let mut renew = command.stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(after));
        renew.kill().unwrap();
        renew.wait().unwrap();
    }
    let output = Command::new(tree.path("../kpki"))
        .args(["renew", "--root"])
        .arg(tree.root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = Command::new(tree.path("../kpki"))
        .args(["status", "--root"])
        .arg(tree.root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!tree.path("/var/lib/k8steps/renewal").exists());
}

#[test]
fn no_key_is_shown() {
    let tree = control_plane(KPKI, 20);
    let output = tree.tool().args(["renew", "-vv", "--json"]).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!said.contains("PRIVATE"), "{said}");
    let key = tree.read(&format!("{SSL}/apiserver.key"));
    assert!(!said.contains(key.lines().nth(1).unwrap()));
}

#[test]
fn a_serving_certificate_of_the_clusters_stays_behind_its_link() {
    let tree = control_plane(KPKI, 200);
    let read = |name: &str| tree.read(&format!("{SSL}/{name}"));
    let ca = Authority::known(&read("ca.crt"), &read("ca.key"));
    let ended = ca.issue("system:nodes", "system:node:node1", &["node1"], -5);
    tree.write("/var/lib/kubelet/pki/kubelet-server-1.pem", &(ended.cert + &ended.key));
    let current = tree.path("/var/lib/kubelet/pki/kubelet-server-current.pem");
    std::os::unix::fs::symlink("kubelet-server-1.pem", &current).unwrap();
    let (_, said) = tree.run(&["renew"], 0);
    assert_eq!(names(&said), ["kubelet-server"], "{said}");
    let target = fs::read_link(&current).unwrap().display().to_string();
    assert!(target.starts_with("kubelet-server-2"), "{target}");
    assert_eq!(state(&tree, "kubelet-server"), ("good".into(), 364));
}
