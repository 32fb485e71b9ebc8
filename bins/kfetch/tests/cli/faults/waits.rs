//! How long a server is waited for, and how often it is asked.

use std::time::{Duration, Instant};

use super::wire::{Fault, Wire};
use crate::{
    Lock, bytes, run,
    server::{Answer, Server},
    tree,
};

/// A server that says that it has time tomorrow.
fn busy() -> Server {
    let server = Server::start();
    let busy = Fault::new("busy", |wire: &mut Wire<'_>| {
        wire.answer("503 Busy\r\nretry-after: 86400\r\ncontent-length: 0", b"")
    });
    server.serve("/up/tool", Answer::Faulty(busy, Vec::new()));
    server
}

fn description(servers: &[&Server], attempts: u8) -> String {
    let urls: Vec<_> = servers.iter().map(|server| server.url()).collect();
    format!("[download]\nmirrors = {urls:?}\nmirrors-only = true\nattempts = {attempts}\n")
}

#[test]
fn who_has_time_tomorrow_is_passed_over() {
    let (busy, good) = (busy(), Server::start());
    good.serve("/up/tool", Answer::Bytes(b"the tool".into()));
    let lock = Lock::new().file("tool", "http://up/tool", b"the tool");
    let tree = tree(&description(&[&busy, &good], 4), &lock.0);
    run(&tree, &["apply"], 0);
    assert_eq!(busy.requests().len(), 1);
}

#[test]
fn who_has_time_tomorrow_and_is_the_only_one_is_not_waited_for_until_then() {
    let busy = busy();
    let lock = Lock::new().file("tool", "http://up/tool", b"the tool");
    let tree = tree(&description(&[&busy], 2), &lock.0);
    let begun = Instant::now();
    let (_, stderr) = run(&tree, &["apply", "--timeout", "2"], 1);
    assert!(stderr.contains("/up/tool: HTTP 503 "), "{stderr}");
    assert!(begun.elapsed() >= Duration::from_secs(2), "asked again at once");
    assert_eq!(busy.requests().len(), 2);
}

#[test]
fn an_attempt_that_brings_much_is_not_counted() {
    let (server, body) = (Server::start(), bytes(5 << 20));
    let fault = Fault::new("cut-late", |wire: &mut Wire<'_>| {
        let end = wire.from.unwrap_or(0) + (5 << 18); // more than a mebibyte
        wire.cut(end.min(wire.body.len()))
    });
    server.serve("/up/tool", Answer::Faulty(fault, body.clone()));
    let lock = Lock::new().file("tool", "http://up/tool", &body);
    let tree = tree(&description(&[&server], 1), &lock.0);
    run(&tree, &["apply"], 0);
    assert_eq!((server.requests().len(), server.sent()), (4, body.len()));
}
