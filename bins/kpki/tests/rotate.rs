//! `kpki rotate-ca` on trees: the stages, kills, and nodes that follow. That etcd and the API server
//! go on working is shown in the lab (`tests/tests/certs.rs`).

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive and meddle")]

use std::{fs, process::Command, thread, time::Duration};

use ktest::Tree;

const KPKI: &str = env!("CARGO_BIN_EXE_kpki");
const DIR: &str = "/etc/ssl/etcd/ssl";
const ONE: &str = "schema = 1\n[pki]\nkey-algorithm = \"ecdsa-p256\"\n\
    [[node]]\nname = \"node1\"\naddress = \"192.0.2.11\"\nroles = [\"control-plane\", \"etcd\"]\n";
const SECOND: &str =
    "[[node]]\nname = \"node2\"\naddress = \"192.0.2.12\"\nroles = [\"control-plane\"]\n";

fn tree(cluster: &str) -> Tree {
    let tree = Tree::new(KPKI);
    tree.write("/etc/k8steps/cluster.toml", cluster);
    tree.leave(&ktest::facts());
    tree
}

fn pem(tree: &Tree, name: &str) -> String {
    tree.read(&format!("{DIR}/{name}.pem"))
}

/// How many authorities are trusted, and whether the certificate `leaf` is of the first.
fn trusted(tree: &Tree, leaf: &str) -> (usize, bool) {
    let ca = pem(tree, "ca");
    let end = "-----END CERTIFICATE-----\n";
    let first = ca.split_inclusive(end).next().unwrap();
    fs::write(tree.path("/run/first.pem"), first).unwrap();
    let mut verify = Command::new("openssl");
    verify.args(["verify", "-CAfile"]).arg(tree.path("/run/first.pem"));
    let verified = verify.arg(tree.path(&format!("{DIR}/{leaf}.pem"))).output().unwrap();
    fs::remove_file(tree.path("/run/first.pem")).unwrap();
    (ca.matches(end).count(), verified.status.success())
}

#[test]
fn another_authority_takes_over_and_the_old_one_goes() {
    let tree = tree(ONE);
    tree.run(&["apply"], 0);
    let (ca, key) = (pem(&tree, "ca"), pem(&tree, "ca-key"));
    let (_, said) = tree.run(&["rotate-ca"], 0);
    insta::assert_snapshot!(said, @r"
    kpki: done: make another authority, /etc/ssl/etcd/ssl/ca-next.pem
    kpki: done: trust both authorities, the old one issues
    kpki: done: trust both authorities, the new one issues
    kpki: done: renew etcd-member, /etc/ssl/etcd/ssl/member-node1.pem: another authority issued it
    kpki: done: renew etcd-admin, /etc/ssl/etcd/ssl/admin-node1.pem: another authority issued it
    kpki: done: renew etcd-node, /etc/ssl/etcd/ssl/node-node1.pem: another authority issued it
    kpki: done: trust the new authority alone
    kpki: done: change /var/lib/k8steps/pki.json
    kpki: 8 changed
    ");
    assert!(pem(&tree, "ca") != ca && pem(&tree, "ca-key") != key);
    assert_eq!(trusted(&tree, "member-node1"), (1, true));
    assert!(!tree.path(&format!("{DIR}/ca-next.pem")).exists());
    tree.run(&["check"], 0);
    tree.run(&["status"], 0);
    tree.run(&["reset", "--yes"], 0);
    assert!(!tree.path(DIR).exists(), "nothing of either is left");
}

/// `kpki VERB`, to be killed.
fn kpki(tree: &Tree, verb: &str) -> Command {
    let mut command = Command::new(tree.path("../kpki"));
    command.args([verb, "--root"]).arg(tree.root());
    command
}

#[test]
fn it_can_be_killed_at_any_time() {
    let tree = tree(ONE);
    tree.run(&["apply"], 0);
    let before = pem(&tree, "ca");
    let rotate = || kpki(&tree, "rotate-ca");
    for after in (4..80).step_by(4) {
        let mut run = rotate().stderr(std::process::Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(after));
        run.kill().unwrap();
        run.wait().unwrap();
        // However far it is: what there is fits together, or the next run makes it so.
        let output = kpki(&tree, "plan").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = said.contains("hint: run `kpki rotate-ca` again, which was interrupted");
        assert!(output.status.code() != Some(1) || told, "{said}");
    }
    assert!(rotate().output().unwrap().status.success());
    assert_ne!(pem(&tree, "ca"), before);
    assert_eq!(trusted(&tree, "node-node1"), (1, true));
    let output = kpki(&tree, "check").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Removing is what ends a stage: killed before each removal, the next run finishes.
#[test]
fn killed_between_two_removals_it_is_finished_by_the_next_run() {
    let mut killed = 0;
    for at in 1.. {
        let tree = tree(ONE);
        tree.run(&["apply"], 0);
        let inject = format!("--inject=unlink,unlinkat:signal=KILL:when={at}");
        let mut traced = Command::new("strace");
        traced.args(["--follow-forks", "--output=/dev/null", "--trace=unlink,unlinkat", &inject]);
        let rotate = kpki(&tree, "rotate-ca");
        traced.arg(rotate.get_program()).args(rotate.get_args());
        if traced.output().unwrap().status.success() {
            break;
        }
        killed += 1;
        assert!(kpki(&tree, "rotate-ca").output().unwrap().status.success());
        assert_eq!(trusted(&tree, "node-node1"), (1, true), "killed before removal {at}");
        let next =
            ["ca-next.pem", "ca-next-key.pem"].map(|name| tree.path(&format!("{DIR}/{name}")));
        assert!(next.iter().all(|path| !path.exists()), "killed before removal {at}");
    }
    assert!(killed >= 2, "killed {killed} times");
}

#[test]
fn other_nodes_follow_stage_by_stage() {
    let both = format!("{ONE}{SECOND}");
    let (first, second) = (tree(&both), tree(&both));
    let on = |tree: &Tree, args: &[&str], node: &str, code: i32| {
        let args: Vec<_> = args.iter().copied().chain(["--node", node]).collect();
        tree.run(&args, code)
    };
    let follow = || {
        let (text, _) = on(&first, &["export", "node2"], "node1", 0);
        let args = ["import", "-", "--node", "node2"];
        second.tool().args(args).write_stdin(text).assert().code(0);
        on(&second, &["apply"], "node2", 0);
        on(&second, &["check"], "node2", 0);
    };
    on(&first, &["apply"], "node1", 0);
    follow();
    let old = pem(&first, "ca");

    let (_, said) = on(&first, &["rotate-ca"], "node1", 0);
    assert!(said.contains("now for each of node2: `kpki export NODE` here"), "{said}");
    assert_eq!(
        (trusted(&first, "node-node1"), pem(&first, "ca").starts_with(&old)),
        ((2, true), true)
    );
    follow();
    assert_eq!(trusted(&second, "node-node2"), (2, true));
    on(&first, &["check"], "node1", 0);

    on(&first, &["rotate-ca"], "node1", 0);
    assert_eq!(
        (trusted(&first, "node-node1"), pem(&first, "ca").starts_with(&old)),
        ((2, true), false)
    );
    follow();
    assert_eq!(
        (trusted(&second, "node-node2"), pem(&second, "ca").starts_with(&old)),
        ((2, true), false)
    );

    on(&first, &["rotate-ca"], "node1", 0);
    assert_eq!(trusted(&first, "node-node1"), (1, true));
    follow();
    assert_eq!(trusted(&second, "node-node2"), (1, true));
    assert!(!pem(&second, "ca").contains(&old));
    on(&first, &["check"], "node1", 0);
}

#[test]
fn it_is_done_where_the_authority_is_made() {
    let both = format!("{ONE}{SECOND}");
    let second = tree(&both);
    let refuses = |tree: &Tree, node: &str, code: i32, error: &str, hint: &str| {
        tree.refuses(&["rotate-ca", "--node", node], code, error, hint);
    };
    refuses(&second, "node2", 2, "ca-elsewhere", "run it on node `node1`");
    refuses(&second, "node1", 2, "ca-not-ready", "run `kpki apply`");
    let worker = format!(
        "{both}[[node]]\nname = \"node3\"\naddress = \"192.0.2.13\"\nroles = [\"worker\"]\n"
    );
    refuses(&tree(&worker), "node3", 2, "rotation-needless", "run it on the first etcd node");
    let first = tree(ONE);
    first.run(&["apply"], 0);
    fs::remove_file(first.path(&format!("{DIR}/ca-key.pem"))).unwrap();
    refuses(&first, "node1", 1, "ca-key-missing", "restore `/etc/ssl/etcd/ssl/ca-key.pem`");
}
