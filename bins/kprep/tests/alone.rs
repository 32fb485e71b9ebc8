//! `kprep alone`: a row of tools that nobody comes between.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
};

use ktest::Tree;

const KPREP: &str = env!("CARGO_BIN_EXE_kprep");

/// A tree as a freshly installed machine has it.
fn tree() -> Tree {
    let tree = Tree::with_cluster(KPREP, "");
    for (path, text) in [
        ("/var/lib/dpkg/status", ""),
        ("/etc/hostname", "debian\n"),
        ("/etc/hosts", "127.0.0.1 localhost\n"),
        ("/etc/fstab", ""),
        ("/etc/resolv.conf", "nameserver 192.0.2.53\n"),
    ] {
        tree.write(path, text);
    }
    tree
}

/// A script that `kprep alone` is about to run; `$0` in it is the tool, `$1` the tree.
fn script(tree: &Tree, text: &str) -> Command {
    let mut command = tree.tool_with_streams();
    let tool = command.get_program().to_owned();
    command.args(["alone", "sh", "-c", text]).arg(tool).arg(tree.root());
    command
}

/// A pipeline between two tools, until it gets a line to go on.
fn between_two_tools(tree: &Tree) -> (Child, ChildStdin) {
    let row = "\"$0\" --root \"$1\" apply 2>/dev/null; echo between; \
               read line || exit; exec \"$0\" --root \"$1\" check";
    let mut pipeline = script(tree, row);
    let mut pipeline = pipeline.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(pipeline.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "between\n");
    let go_on = pipeline.stdin.take().unwrap();
    (pipeline, go_on)
}

#[test]
fn nobody_comes_between_two_tools_of_a_row() {
    let tree = tree();
    let (mut pipeline, mut go_on) = between_two_tools(&tree);
    let refused = [&["apply"][..], &["reset", "--yes"], &["alone", "true"]];
    for args in refused {
        let (_, said) = tree.run(args, 1);
        assert!(said.starts_with("error[already-running]: `kprep --root "), "{said}");
        assert!(said.contains(&format!("is at work (pid {})\n", pipeline.id())), "{said}");
    }
    tree.run(&["plan"], 0);
    tree.run(&["check"], 0);
    go_on.write_all(b"\n").unwrap();
    assert_eq!(pipeline.wait().unwrap().code(), Some(0));
    assert!(!tree.path("/run/k8steps/pipeline.lock").exists());
    tree.run(&["reset", "--yes"], 0);
    assert!(!tree.path("/run/k8steps").exists());
}

#[test]
fn a_pipeline_that_was_killed_is_in_nobodys_way() {
    let tree = tree();
    let (mut pipeline, go_on) = between_two_tools(&tree);
    pipeline.kill().unwrap();
    pipeline.wait().unwrap();
    tree.run(&["alone", "true"], 0);
    tree.run(&["apply"], 0);
    drop(go_on); // its shell ends
}

#[test]
fn a_pipeline_and_what_it_starts_wait_for_nobody_and_begin_beside_nobody() {
    let tree = tree();
    // Pipelines of a pipeline belong to it.
    let nested = "exec \"$0\" --root \"$1\" alone \"$0\" --root \"$1\" apply";
    assert!(script(&tree, nested).status().unwrap().success());
    // Two at the same moment: the one that is refused has run nothing.
    let once = "test ! -e \"$1/run/mark\" && : >\"$1/run/mark\" && rm \"$1/run/mark\"";
    for _ in 0..20 {
        let spawned = [0, 1].map(|_| script(&tree, once).stderr(Stdio::piped()).spawn().unwrap());
        let ended = spawned.map(|pipeline| pipeline.wait_with_output().unwrap());
        assert!(ended.iter().any(|output| output.status.success()), "{ended:?}");
        for output in ended.iter().filter(|output| !output.status.success()) {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(said.starts_with("error[already-running]: "), "{said}");
        }
    }
}

#[test]
fn it_ends_as_the_program_does_and_passes_on_who_wants_it_to_end() {
    let tree = tree();
    for (code, seen) in [(0, 0), (1, 1), (2, 2), (3, 3), (7, 1)] {
        tree.run(&["alone", "sh", "-c", &format!("exit {code}")], seen);
    }
    let (_, said) = tree.run(&["alone", "k8steps-no-such-program"], 1);
    assert!(said.starts_with("error[program-missing]: cannot run `k8steps-no-such"), "{said}");
    // Once it waits, for signals that is, it is told to end, and so is the program.
    let told = "until grep -q '^State:.S' /proc/$PPID/status; do :; done; \
                kill -TERM $PPID; exec sleep 600";
    assert_eq!(script(&tree, told).status().unwrap().code(), Some(1));
    assert!(!tree.path("/run/k8steps").exists());
}

#[test]
fn its_events_are_those_of_the_tools_it_runs() {
    let tree = tree();
    let row = "exec \"$0\" --root \"$1\" --events \"$1/run/events\" apply";
    let mut pipeline = script(&tree, row);
    pipeline.env("K8STEPS_EVENTS", tree.path("/run/events")).stderr(Stdio::null());
    assert!(pipeline.status().unwrap().success());
    let events = tree.read("/run/events");
    assert_eq!(events.matches("\"event\":\"started\"").count(), 1, "{events}");
    assert!(!events.contains("alone"), "{events}");
}
