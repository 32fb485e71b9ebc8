//! `--offline`: nobody is asked, and what is there is enough.

use std::{fs, process::Command};

use ktest::Tree;

use crate::{
    KFETCH, Lock,
    bundle::{bundled, node},
    download,
    lock::everywhere,
    run,
    server::{Answer, Server},
    tree,
};

#[test]
fn nobody_is_asked() {
    let server = Server::start();
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    let lock = Lock::new()
        .file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet")
        .image("app", "r.example/app:1");
    let tree = tree(&everywhere(&server).replace("mirrors-only = true", ""), &lock.0);
    run(&tree, &["plan", "--offline"], 3);
    let (_, stderr) = run(&tree, &["apply", "--offline"], 2);
    assert!(stderr.contains("error[offline-missing]"), "{stderr}");
    assert!(stderr.contains("artifact:kubelet") && stderr.contains("image:r.example/app:1"));
    assert_eq!(server.requests(), []);
}

/// The calls to socket(2) of kfetch with `args`, which must end with `code`.
#[expect(clippy::disallowed_methods, reason = "the tool under test, watched")]
fn sockets(tree: &Tree, args: &[&str], code: i32) -> usize {
    let seen = tree.root().with_file_name("seen");
    let output = Command::new("strace")
        .args(["-f", "-e", "trace=socket,connect", "-o"])
        .arg(&seen)
        .arg(KFETCH)
        .args(args)
        .arg("--root")
        .arg(tree.root())
        .output();
    let Ok(output) = output else {
        panic!("strace is needed: `scripts/bootstrap unit` installs it");
    };
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{said}");
    let calls = fs::read_to_string(seen).unwrap();
    assert!(calls.contains(&format!("+++ exited with {code} +++")), "{calls}");
    calls.lines().filter(|line| line.contains(" socket(") || line.contains(" connect(")).count()
}

#[test]
fn not_even_a_socket() {
    let (_, bundle) = bundled();
    let (tree, path) = node(&bundle);
    for (args, code) in [
        (&["load", &path][..], 0),
        (&["plan", "--offline"], 3),
        (&["lock", "--offline", "--check"], 3),
        (&["apply", "--offline"], 0),
        (&["apply", "--offline"], 0),
    ] {
        assert_eq!(sockets(&tree, args, code), 0, "{args:?}");
    }
    let server = Server::start();
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    let lock = Lock::new().file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet");
    let online = crate::tree(&download(""), &lock.0);
    assert_ne!(sockets(&online, &["apply"], 0), 0, "sockets are not seen");
}
