//! kpki as its user meets it, on a tree and as an ordinary user; what it makes, as openssl sees it.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive and meddle")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use ktest::Tree;

const KPKI: &str = env!("CARGO_BIN_EXE_kpki");
const DIR: &str = "/etc/ssl/etcd/ssl";
const EC: &str = "[pki]\nkey-algorithm = \"ecdsa-p256\"\n";
const LEAVES: [&str; 3] = ["member-node1", "admin-node1", "node-node1"];

/// A tree of one node with quick keys.
fn tree() -> Tree {
    tree_with(EC)
}

fn tree_with(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KPKI, extra);
    tree.leave(&ktest::facts());
    tree
}

fn pem(name: &str) -> String {
    format!("{DIR}/{name}.pem")
}

/// The openssl program in the certificate directory.
fn openssl(tree: &Tree, args: &[&str]) -> String {
    let output = Command::new("openssl").args(args).current_dir(tree.path(DIR)).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "openssl {args:?}: {said}");
    said
}

#[test]
fn other_nodes_are_no_work() {
    tree().has_no_more_to_do_among_500_nodes(&[]);
}

#[test]
fn plan_apply_again_check_and_back() {
    let planned = tree().lives_through_its_phase(|| {});
    insta::assert_snapshot!(planned.join("\n"), @r"
    make directory /etc/ssl/etcd/ssl (0700 etcd:root)
    make the certificate authority etcd-ca, /etc/ssl/etcd/ssl/ca.pem
    issue /etc/ssl/etcd/ssl/member-node1.pem (CN=etcd-member-node1): it does not exist
    issue /etc/ssl/etcd/ssl/admin-node1.pem (CN=etcd-admin-node1): it does not exist
    issue /etc/ssl/etcd/ssl/node-node1.pem (CN=etcd-node-node1): it does not exist
    create /var/lib/k8steps/pki.json
    create /etc/systemd/system/k8s-certs-renew.service (0644 root:root)
    create /etc/systemd/system/k8s-certs-renew.timer (0644 root:root)
    ");
}

#[test]
fn keys_are_private_and_certificates_are_not() {
    let tree = tree();
    tree.run(&["apply"], 0);
    let mode = |path: &str| fs::metadata(tree.path(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(DIR), 0o700);
    for name in LEAVES.iter().chain(&["ca"]) {
        assert_eq!(mode(&pem(&format!("{name}-key"))), 0o600, "{name}");
        assert_eq!(mode(&pem(name)), 0o644, "{name}");
    }
    let key = tree.path(&pem("member-node1-key"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let (planned, _) = tree.run(&["plan"], 3);
    insta::assert_snapshot!(planned, @r"
    ~ set the mode of /etc/ssl/etcd/ssl/member-node1-key.pem
        -0644
        +0600
    ");
    let text = fs::read(&key).unwrap();
    tree.run(&["apply"], 0);
    assert_eq!(mode(&pem("member-node1-key")), 0o600);
    assert_eq!(fs::read(&key).unwrap(), text, "the key itself stays");
}

#[test]
fn no_secret_is_ever_shown() {
    let tree = tree();
    let mut said = String::new();
    for args in [&["plan", "--json"][..], &["plan", "-vv"], &["apply", "--json", "-vv"]] {
        let output = tree.tool().args(args).output().unwrap();
        said += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    tree.write(&pem("node-node1-key"), "MEDDLED");
    for args in [&["check"][..], &["plan", "--json"], &["apply", "-vv"], &["status", "--json"]] {
        let output = tree.tool().args(args).output().unwrap();
        said += &String::from_utf8_lossy(&[output.stdout, output.stderr].concat());
    }
    said += &tree.read("/var/lib/k8steps/pki.json");
    for name in LEAVES.iter().chain(&["ca"]) {
        let key = tree.read(&pem(&format!("{name}-key")));
        let secret = key.lines().nth(2).unwrap();
        assert!(secret.len() > 16 && !said.contains(secret), "{name}: {said}");
    }
    assert!(!said.contains("PRIVATE") && !said.contains("MEDDLED"), "{said}");
}

#[test]
fn openssl_agrees() {
    let tree = tree_with(""); // RSA, the default
    tree.run(&["apply"], 0);
    for name in LEAVES {
        let name = format!("{name}.pem");
        for purpose in ["sslserver", "sslclient"] {
            let strict =
                ["verify", "-x509_strict", "-CAfile", "ca.pem", "-purpose", purpose, &name];
            openssl(&tree, &strict);
        }
        openssl(&tree, &["verify", "-CAfile", "ca.pem", "-verify_ip", "192.0.2.11", &name]);
        openssl(&tree, &["verify", "-CAfile", "ca.pem", "-verify_hostname", "localhost", &name]);
    }
    let shown = |name, extensions| {
        let names = ["-noout", "-subject", "-issuer", "-nameopt", "RFC2253"];
        openssl(&tree, &[&["x509", "-in", name, "-ext", extensions][..], &names].concat())
    };
    let member = shown("member-node1.pem", "basicConstraints,extendedKeyUsage");
    insta::assert_snapshot!(member, @r"
    X509v3 Extended Key Usage: 
        TLS Web Client Authentication, TLS Web Server Authentication
    X509v3 Basic Constraints: critical
        CA:FALSE
    subject=CN=etcd-member-node1
    issuer=CN=etcd-ca
    ");
    let ca = shown("ca.pem", "basicConstraints,keyUsage");
    insta::assert_snapshot!(ca, @r"
    X509v3 Key Usage: critical
        Certificate Sign, CRL Sign
    X509v3 Basic Constraints: critical
        CA:TRUE
    subject=CN=etcd-ca
    issuer=CN=etcd-ca
    ");
    let text = openssl(&tree, &["x509", "-in", "admin-node1.pem", "-noout", "-text"]);
    assert!(text.contains("Public-Key: (2048 bit)"), "{text}");
    let key = openssl(&tree, &["rsa", "-in", "admin-node1-key.pem", "-check", "-noout"]);
    assert!(key.contains("RSA key ok"), "{key}");
}

/// Make a change, see exactly `expected` planned, apply it, and see that openssl still agrees.
fn reissued(tree: &Tree, expected: &[&str]) {
    let names = LEAVES.map(pem).into_iter().chain([pem("ca"), pem("ca-key")]);
    let before: Vec<_> = names.clone().map(|name| fs::read(tree.path(&name)).ok()).collect();
    let (planned, _) = tree.run(&["plan"], 3);
    tree.run(&["apply"], 0);
    let changed: Vec<_> = names
        .zip(before)
        .filter(|(name, before)| fs::read(tree.path(name)).ok() != *before)
        .map(|(name, _)| Path::new(&name).file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(changed, expected, "{planned}");
    for name in LEAVES {
        openssl(tree, &["verify", "-CAfile", "ca.pem", &format!("{name}.pem")]);
    }
    tree.run(&["check"], 0);
}

#[test]
fn new_names_reissue_leaves_and_leave_the_authority() {
    let tree = tree();
    tree.run(&["apply"], 0);
    let config = tree.read("/etc/k8steps/cluster.toml");
    let more = config.replace(EC, &format!("{EC}extra-sans = [\"etcd.example.com\"]\n"));
    tree.write("/etc/k8steps/cluster.toml", &more);
    let (planned, _) = tree.run(&["plan"], 3);
    insta::assert_snapshot!(planned, @r"
    ~ issue /etc/ssl/etcd/ssl/member-node1.pem (CN=etcd-member-node1): it lacks DNS:etcd.example.com
    ~ issue /etc/ssl/etcd/ssl/admin-node1.pem (CN=etcd-admin-node1): it lacks DNS:etcd.example.com
    ~ issue /etc/ssl/etcd/ssl/node-node1.pem (CN=etcd-node-node1): it lacks DNS:etcd.example.com
    ~ change /var/lib/k8steps/pki.json
    ");
    reissued(&tree, &LEAVES);
    tree.write("/etc/k8steps/cluster.toml", &config);
    assert!(tree.run(&["plan"], 3).0.contains("it still has DNS:etcd.example.com"));
}

#[test]
fn what_is_damaged_or_gone_is_issued_again_and_nothing_else() {
    let tree = tree();
    tree.run(&["apply"], 0);
    tree.write(&pem("member-node1"), "garbage");
    reissued(&tree, &["member-node1"]);
    fs::remove_file(tree.path(&pem("admin-node1-key"))).unwrap();
    reissued(&tree, &["admin-node1"]);
    // What a kill between the two writes leaves: a new key, the old certificate.
    let key = tree.read(&pem("admin-node1-key"));
    tree.write(&pem("node-node1-key"), &key);
    assert!(tree.run(&["plan"], 3).0.contains("its key belongs to another certificate"));
    reissued(&tree, &["node-node1"]);
    // The authority's certificate can be made again from its key; what it issued stays good.
    fs::remove_file(tree.path(&pem("ca"))).unwrap();
    reissued(&tree, &["ca"]);
}

#[test]
fn a_certificate_of_another_authority_is_replaced() {
    let (tree, other) = (tree(), tree());
    tree.run(&["apply"], 0);
    other.run(&["apply"], 0);
    for name in ["member-node1", "member-node1-key"] {
        tree.write(&pem(name), &other.read(&pem(name)));
    }
    assert!(tree.run(&["plan"], 3).0.contains("another authority issued it"));
    reissued(&tree, &["member-node1"]);
}

#[test]
fn an_authority_without_its_key_is_never_replaced() {
    let tree = tree();
    tree.run(&["apply"], 0);
    let key = tree.read(&pem("ca-key"));
    fs::remove_file(tree.path(&pem("ca-key"))).unwrap();
    tree.refuses_phase(1, "ca-key-missing", "restore `/etc/ssl/etcd/ssl/ca-key.pem` from a backup");
    fs::remove_file(tree.path(&pem("ca"))).unwrap();
    tree.refuses_phase(1, "ca-missing", "restore `/etc/ssl/etcd/ssl/ca.pem`");
    tree.write(&pem("ca-key"), "garbage");
    tree.refuses_phase(1, "ca-key-unusable", "restore `/etc/ssl/etcd/ssl/ca-key.pem`");
    tree.write(&pem("ca-key"), &key);
    reissued(&tree, &["ca"]);
}

#[test]
fn a_wrong_authority_is_refused() {
    let tree = tree();
    tree.run(&["apply"], 0);
    let member = tree.read(&pem("member-node1-key"));
    tree.write(&pem("ca-key"), &member);
    tree.refuses_phase(1, "ca-key-unusable", "restore `/etc/ssl/etcd/ssl/ca-key.pem`");
    tree.write(&pem("ca"), &tree.read(&pem("member-node1")));
    tree.refuses_phase(1, "ca-unusable", "restore `/etc/ssl/etcd/ssl/ca.pem`");
}

#[test]
fn bad_descriptions_are_refused() {
    let bad = |extra: &str, error: &str, hint: &str| tree_with(extra).refuses_phase(2, error, hint);
    bad("[pki]\nextra-sans = [\"a b\"]", "san-invalid", "write DNS names");
    bad("[pki]\nvalidity-days = 30", "validity-too-short", "raise validity-days");
    bad("[pki]\nvalidity-days = 4000000", "validity-too-long", "36500 days");
    bad("[pki]\nkey-algoritm = \"rsa-2048\"", "input-invalid", "did you mean `key-algorithm`?");
    let tree = Tree::with_cluster(KPKI, EC);
    tree.refuses_phase(2, "input-missing", "run `kprep apply`, which makes it");
}

#[test]
fn help() {
    let help = Tree::new(KPKI).help();
    let own = help.split("\nOptions:").next().unwrap(); // the shared flags are khost's
    insta::assert_snapshot!(own, @r"
    Issue the certificates of etcd, once

    Keeps etcd's certificate authority and this node's certificates in
    /etc/ssl/etcd/ssl: member (etcd) and admin (etcdctl) on etcd nodes, node (the
    API server) on control planes. A certificate is issued again only when its
    names, its key, its issuer or its remaining life give a reason; the authority
    keeps its key for good. Also makes the user etcd, which owns the directory.

    The first etcd node of cluster.toml makes the authority, and issues what the
    other etcd nodes and control planes need: before `kpki apply` there,

      kpki export node2 | ssh node2 kpki import -

    Then, on any of them,

      kpki plan      which certificates would be issued, and why
      kpki status    what there is, and how long it lasts
      kpki renew     renew what ends soon, kubeadm's and the kubelet's as well

    Usage: kpki [OPTIONS] <COMMAND>

    Commands:
      plan       Show what apply would change; exits 3 when there is something
      apply      Make it so; a second run changes nothing
      check      Is it still so, and does it work? Exits 3 when it drifted, 1 when
                 it does not work
      reset      Put back exactly what apply changed
      status     List every certificate of this node; exits 3 when one is not good
      renew      Renew what ends soon, one after the other, seeing each at work
                 before the next
      rotate-ca  Replace etcd's authority: trust both, issue anew, drop the old one
      export     Issue another node's certificates, for `import` there
      import     Take what `export` made for this node, all of it or nothing
      help       Print this message or the help of the given subcommand(s)
    ");
}

#[test]
fn two_at_once_do_not_tear_its_work() {
    tree().is_alone_with_its_phase();
}

#[test]
fn faults_at_any_system_call_lose_nothing() {
    tree().survives_faults("kpki");
}
