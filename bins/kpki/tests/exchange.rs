//! `kpki export` on one node, `kpki import` on another.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive and meddle")]

use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
};

use kspec::PkiExport;
use ktest::Tree;

const KPKI: &str = env!("CARGO_BIN_EXE_kpki");
const DIR: &str = "/etc/ssl/etcd/ssl";
const NODES: &str = "schema = 1\n[pki]\nkey-algorithm = \"ecdsa-p256\"\n\
    [[node]]\nname = \"node1\"\naddress = \"192.0.2.11\"\nroles = [\"control-plane\", \"etcd\"]\n\
    [[node]]\nname = \"node2\"\naddress = \"192.0.2.12\"\nroles = [\"control-plane\", \"etcd\"]\n\
    [[node]]\nname = \"node3\"\naddress = \"192.0.2.13\"\nroles = [\"worker\"]\n\
    [[node]]\nname = \"node4\"\naddress = \"192.0.2.14\"\nroles = [\"etcd\"]\n";

/// A machine that knows the cluster of four.
fn tree() -> Tree {
    let tree = Tree::new(KPKI);
    tree.write("/etc/k8steps/cluster.toml", NODES);
    tree.leave(&ktest::facts());
    tree
}

/// node1, which has made the authority.
fn first() -> Tree {
    let tree = tree();
    tree.run(&["apply", "--node", "node1"], 0);
    tree
}

fn export(tree: &Tree, node: &str) -> String {
    tree.run(&["export", node, "--node", "node1"], 0).0
}

/// `kpki import -` on node2, fed `text`.
fn import(tree: &Tree, text: &str, code: i32) -> String {
    let args = ["import", "-", "--node", "node2"];
    let output = tree.tool().args(args).write_stdin(text).assert().code(code).get_output().clone();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// It must be refused with `error`, for `reason`, and change nothing.
fn refused(tree: &Tree, text: &str, error: &str, reason: &str) {
    let before = tree.listing();
    let said = import(tree, text, 2);
    assert!(said.contains(&format!("error[{error}]")) && said.contains(reason), "{said}");
    assert!(said.contains("hint: "), "{said}");
    assert!(!said.contains("PRIVATE"), "{said}");
    assert_eq!(tree.listing(), before, "{error} ({reason}) changes something");
}

#[test]
fn a_second_member_is_given_its_certificates_and_never_the_authoritys_key() {
    let (first, second) = (first(), tree());
    let before = (first.listing(), second.listing());
    let text = export(&first, "node2");
    assert_eq!(first.listing(), before.0, "export leaves nothing behind");
    let export: PkiExport = serde_json::from_str(&text).unwrap();
    assert_eq!(export.pairs.keys().collect::<Vec<_>>(), ["admin", "member", "node"]);
    assert!(!text.contains(first.read(&format!("{DIR}/ca-key.pem")).lines().nth(1).unwrap()));
    assert!(!format!("{export:?} {:?}", export.pairs["node"]).contains("PRIVATE"));

    let said = import(&second, &text, 0);
    assert!(!said.contains("PRIVATE") && said.contains("5 changed"), "{said}");
    assert!(import(&second, &text, 0).contains("nothing to do"));
    let mode = |name: &str| {
        let found = fs::metadata(second.path(&format!("{DIR}/{name}"))).unwrap();
        found.permissions().mode() & 0o7777
    };
    for name in ["member-node2", "admin-node2", "node-node2"] {
        assert_eq!(
            (mode(&format!("{name}.pem")), mode(&format!("{name}-key.pem"))),
            (0o644, 0o600)
        );
        let args = ["verify", "-CAfile", "ca.pem", "-verify_ip", "192.0.2.12"];
        let mut verify = Command::new("openssl");
        verify.args(args).arg(format!("{name}.pem")).current_dir(second.path(DIR));
        assert!(verify.output().unwrap().status.success(), "{name}");
    }
    assert!(!second.path(&format!("{DIR}/ca-key.pem")).exists());

    // What is left to do is not to issue: the record.
    let (planned, _) = second.run(&["plan", "--node", "node2"], 3);
    assert!(!planned.contains("issue ") && planned.contains("create "), "{planned}");
    second.run(&["apply", "--node", "node2"], 0);
    second.run(&["check", "--node", "node2"], 0);
    damaged_where_nothing_can_be_issued(&second);
    second.run(&["reset", "--yes", "--node", "node2"], 0);
    assert_eq!(second.listing(), before.1, "reset takes what was brought away as well");
}

/// What only another node can issue is named, by `renew` and by `apply`, and left as it is.
fn damaged_where_nothing_can_be_issued(second: &Tree) {
    let (path, hint) =
        (format!("{DIR}/admin-node2.pem"), "run `kpki export node2` on node `node1`");
    let whole = second.read(&path);
    second.write(&path, &whole[..whole.len() / 2]);
    let refuses = |args: &[&str], error: &str| {
        let args: Vec<_> = args.iter().copied().chain(["--node", "node2"]).collect();
        second.refuses(&args, 1, error, hint);
    };
    refuses(&["renew"], "renewal-elsewhere");
    refuses(&["apply"], "ca-key-missing");
    let (shown, _) = second.run(&["status", "--node", "node2"], 3);
    assert!(shown.contains("etcd-admin") && shown.contains("damaged"), "{shown}");
    second.write(&path, &whole);
}

#[test]
fn a_node_is_given_what_its_roles_need() {
    let first = first();
    let pairs = |node: &str| -> Vec<String> {
        let export: PkiExport = serde_json::from_str(&export(&first, node)).unwrap();
        export.pairs.into_keys().collect()
    };
    assert_eq!(pairs("node4"), ["admin", "member"]);
    let refuses = |node: &str, error: &str, hint: &str| {
        first.refuses(&["export", node, "--node", "node1"], 2, error, hint);
    };
    refuses("node3", "export-needless", "only nodes with the role `etcd` or `control-plane` do");
    refuses("node9", "node-unknown", "choose one of: node1, node2, node3, node4");
}

#[test]
fn only_what_can_sign_exports() {
    let tree = tree();
    let hint = "run `kpki apply`, then this again";
    tree.refuses(&["export", "node2", "--node", "node1"], 2, "ca-not-ready", hint);
    let hint = "run `kpki export node2` on node `node1`, and `kpki import` here";
    tree.refuses(&["export", "node4", "--node", "node2"], 2, "ca-elsewhere", hint);
    import(&tree, &export(&first(), "node2"), 0);
    tree.refuses(&["export", "node4", "--node", "node2"], 1, "ca-key-missing", hint);
}

#[test]
fn nobody_else_can_read_what_is_exported() {
    let first = first();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    first.write("/tmp/to/nothing", ""); // a directory that the tool's user may write
    let file = first.path("/tmp/to/node2.json");
    let args = ["export", "node2", "--node", "node1", "--output", file.to_str().unwrap()];
    assert_eq!(first.run(&args, 0).0, "");
    assert_eq!(mode(&file), 0o600);

    // A shell's redirection makes 0644; it is private before the first byte.
    first.write("/tmp/to/redirected.json", "");
    let redirected = first.path("/tmp/to/redirected.json");
    fs::set_permissions(&redirected, Permissions::from_mode(0o644)).unwrap();
    let mut shell = Command::new(first.path("../kpki"));
    shell.args(["export", "node2", "--node", "node1", "--root"]).arg(first.root());
    shell.stdout(Stdio::from(File::create(&redirected).unwrap()));
    assert!(shell.status().unwrap().success());
    assert_eq!(mode(&redirected), 0o600);

    // And a file that others may read is not taken.
    let second = tree();
    second.write("/tmp/node2.json", &fs::read_to_string(&file).unwrap());
    let copy = second.path("/tmp/node2.json");
    fs::set_permissions(&copy, Permissions::from_mode(0o640)).unwrap();
    let args = ["import", copy.to_str().unwrap(), "--node", "node2"];
    second.refuses(&args, 2, "import-exposed", "run `chmod 600 ");
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
    second.run(&args, 0);
}

#[test]
fn what_is_not_whole_is_refused_whole() {
    let (first, second) = (first(), tree());
    let text = export(&first, "node2");
    for cut in [0, 1, text.len() / 2, text.len() - 3] {
        refused(&second, &text[..cut], "import-invalid", "it ends too early");
    }
    refused(&second, "not at all", "import-invalid", "it cannot be read");
    let strange = text.replacen("\"schema\": 1", "\"schema\": 2", 1);
    refused(&second, &strange, "import-invalid", "schema 2 is not supported");
    refused(&second, &export(&first, "node4"), "import-other-node", "it is for node `node4`");

    let changed = |change: &dyn Fn(&mut PkiExport)| {
        let mut export: PkiExport = serde_json::from_str(&text).unwrap();
        change(&mut export);
        export.to_json().unwrap()
    };
    let mismatch = |change: &dyn Fn(&mut PkiExport), reason: &str| {
        refused(&second, &changed(change), "import-mismatch", reason);
    };
    mismatch(&|export| drop(export.pairs.remove("admin")), "it is missing, and this node needs it");
    mismatch(
        &|export| drop(export.pairs.insert("more".into(), export.pairs["node"].clone())),
        "this node needs no such certificate",
    );
    mismatch(
        &|export| {
            let key = export.pairs["admin"].key.clone();
            export.pairs.get_mut("node").unwrap().key = key;
        },
        "its key belongs to another certificate",
    );
    mismatch(
        &|export| export.pairs.get_mut("node").unwrap().key.truncate(80),
        "its key cannot be read",
    );
    mismatch(&|export| export.pairs.get_mut("member").unwrap().cert.truncate(200), "it is not PEM");
    mismatch(
        &|export| {
            let admin = export.pairs["admin"].clone();
            export.pairs.insert("member".into(), admin);
        },
        "its subject is CN=etcd-admin-node2",
    );
    mismatch(
        &|export| export.ca = export.pairs["node"].cert.clone(),
        "is no certificate authority",
    );
    mismatch(&|export| export.ca.clear(), "it is not PEM");
    let other = crate::first().read(&format!("{DIR}/ca.pem"));
    mismatch(&|export| export.ca.clone_from(&other), "another authority issued it");

    // The nodes do not agree on what the cluster is.
    let more = NODES.replace("[[node]]\nname = \"node4\"", "[[node]]\nname = \"other\"");
    second.write("/etc/k8steps/cluster.toml", &more);
    refused(&second, &text, "import-mismatch", "it lacks DNS:other and still has DNS:node4");
}

#[test]
fn a_node_does_not_go_over_to_another_authority_by_accident() {
    let (one, other, second) = (first(), first(), tree());
    import(&second, &export(&one, "node2"), 0);
    import(&second, &export(&one, "node2"), 0); // again, newly issued
    let text = export(&other, "node2");
    let ca = format!("{DIR}/ca.pem");
    refused(&second, &text, "import-other-authority", &format!("move `{ca}` away"));
    let trusted = second.read(&ca) + &other.read(&ca);
    second.write(&ca, &trusted);
    import(&second, &text, 0);
    assert_eq!(second.read(&ca), other.read(&ca));
}

#[test]
fn a_killed_import_is_finished_by_the_next() {
    let (first, second) = (first(), tree());
    let text = export(&first, "node2");
    import(&second, &text, 0);
    let done = second.listing();
    // The key is written before the certificate.
    fs::remove_file(second.path(&format!("{DIR}/node-node2.pem"))).unwrap();
    fs::remove_file(second.path(&format!("{DIR}/admin-node2-key.pem"))).unwrap();
    let args = ["apply", "--node", "node2"];
    let hint = "run `kpki export node2` on node `node1`, and `kpki import` here";
    second.refuses(&args, 1, "ca-key-missing", hint);
    import(&second, &text, 0);
    assert_eq!(second.listing(), done);
}

/// `kpki export node2`, with `out` as standard output.
fn export_to(out: File) -> (i32, String) {
    let root = first();
    let mut command = Command::new(KPKI);
    command.arg("--root").arg(root.path("/")).args(["export", "node2", "--node", "node1"]);
    let output = command.stdout(out).stderr(Stdio::piped()).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn secrets_are_not_shown_on_a_terminal() {
    let terminal = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let (code, said) = export_to(terminal.try_clone().unwrap());
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("error[export-to-terminal]: secrets would be shown"), "{said}");
    assert!(said.contains("`kpki import -` on the other node"), "{said}");
}

#[test]
fn secrets_do_not_go_where_others_can_read_them() {
    // A file that nobody can take from the others, not even root: the kernel refuses its mode.
    let open = File::options().write(true).open("/proc/self/comm").unwrap();
    let (code, said) = export_to(open);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("error[export-exposed]: others could read"), "{said}");
    assert!(said.contains("`--output FILE`"), "{said}");
    assert!(!said.contains("PRIVATE"), "{said}");
}
