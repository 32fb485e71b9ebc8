//! What is shown while bytes come: on a terminal, in a file, to a program, and with `-q`.

use std::process::Command;

use kspec::Sha256;
use ktest::Tree;

use crate::{
    Lock, bytes, download,
    faults::{Fault, Wire},
    run,
    server::{Answer, Server, nap},
    tree,
};

/// A server of one file that takes a second, and a tree that wants it.
fn slow() -> (Server, Tree) {
    let (server, body) = (Server::start(), bytes(2_000_000));
    let slow = Fault::new("slow", |wire: &mut Wire<'_>| {
        let body = wire.body;
        wire.answer(&format!("200 OK\r\ncontent-length: {}", body.len()), b"")?;
        body.chunks(100_000).try_for_each(|part| {
            nap(50);
            wire.raw(part)
        })
    });
    server.serve("/kubelet", Answer::Faulty(slow, body.clone()));
    let url = format!("{}/kubelet", server.url());
    (server, tree(&download(""), &Lock::new().file("kubelet", &url, &body).0))
}

/// What `kfetch apply` with `flags` shows on a terminal of its own.
#[expect(clippy::disallowed_methods, reason = "script(1) lends a terminal to the tool under test")]
fn on_a_terminal(tree: &Tree, flags: &str) -> String {
    let tool = tree.tool().get_program().to_string_lossy().into_owned();
    let line = format!("stty cols 120; exec {tool} --root {} {flags} apply", tree.root().display());
    let output = Command::new("script")
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn on_a_terminal_there_are_rate_and_time_left() {
    let (_server, tree) = slow();
    let shown = on_a_terminal(&tree, "");
    for name in ["kubelet 1.33.3", "all of it"] {
        // Bars are drawn over each other: each ends where a control character or another begins.
        let ends = |rest: &str| rest.split(|c: char| c.is_control()).next().unwrap().to_owned();
        let bars = shown.split(name).skip(1).map(ends);
        let bars: Vec<_> =
            bars.map(|bar| bar.replace("kubelet", "").trim_end().to_owned()).collect();
        let told = |bar: &&String| bar.contains("/1.91 MiB") && !bar.contains(" 0 B/s");
        let told: Vec<_> = bars.iter().filter(told).collect();
        assert!(
            told.iter().any(|bar| bar.contains("iB/s") && bar.ends_with('s')),
            "{name}: {bars:?}"
        );
    }
    assert!(!shown.contains("fetching"), "bars and lines: {shown}");
}

#[test]
fn with_q_there_is_nothing() {
    let (_server, tree) = slow();
    assert_eq!(on_a_terminal(&tree, "-q"), "");
    let (_server, tree) = slow();
    assert_eq!(run(&tree, &["apply", "-q"], 0), (String::new(), String::new()));
}

#[test]
fn in_a_file_there_are_lines() {
    let (_server, tree) = slow();
    let (stdout, stderr) = run(&tree, &["apply"], 0);
    assert_eq!(stdout, "");
    let lines: Vec<_> = stderr.lines().filter(|line| line.contains("kubelet")).collect();
    assert_eq!(lines.len(), 3, "{stderr}");
    assert_eq!(lines[0], "kfetch: fetching kubelet 1.33.3");
    assert!(lines[1].starts_with("kfetch: fetched kubelet 1.33.3 (1.91 MiB in "), "{stderr}");
    assert!(lines[2].starts_with("kfetch: done: fetch kubelet 1.33.3"), "{stderr}");
    assert!(!stderr.contains('\r') && !stderr.contains('\x1b'), "{stderr:?}");
}

#[test]
fn memory_stays_flat_while_a_large_file_comes() {
    const LARGE: u64 = 256 << 20;
    let mut zeros = std::io::Read::take(std::io::repeat(0), LARGE);
    let digest = khost::fs::copy_hashed(&mut zeros, &mut std::io::sink()).unwrap();
    let server = Server::start();
    let large = Fault::new("large", |wire: &mut Wire<'_>| {
        wire.answer(&format!("200 OK\r\ncontent-length: {LARGE}"), b"")?;
        let zeros = vec![0; 1 << 16];
        (0..LARGE >> 16).try_for_each(|_| wire.to.write_all(&zeros))
    });
    server.serve("/large", Answer::Faulty(large, Vec::new()));
    let lock = Lock::new().file("large", &format!("{}/large", server.url()), b"").0;
    let lock = lock.replace(&Sha256::of("").hex(), &digest.hex());
    let tree = tree(&download(""), &lock);
    let (_, stderr) = run(&tree, &["apply", "-vv"], 0);
    let (_, peak) = stderr.split_once("peak_memory=\"").unwrap();
    let peak: u64 = peak.split(' ').next().unwrap().parse().unwrap();
    assert!(peak < 60 * 1024, "{peak} KiB");
}
