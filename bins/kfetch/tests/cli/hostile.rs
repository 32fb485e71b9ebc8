//! Registries that want to fill the memory, or to be told a password that is not theirs.

use std::{fs, os::unix::fs::PermissionsExt as _, sync::atomic::Ordering};

use kspec::Sha256;

use crate::{
    Lock,
    faults::{Fault, Wire},
    run, served_by,
    server::{Answer, Server},
    tree,
};

/// How much a client may have taken before it hangs up: what it accepts, and what is on its way.
const TAKEN: usize = 40 << 20;

/// `head`, and bytes without an end.
fn endless(head: &'static str) -> Answer {
    let act = move |wire: &mut Wire<'_>| {
        wire.answer(head, b"{\"token\": \"")?;
        let part = "7".repeat(1 << 16);
        loop {
            wire.raw(&part)?;
            wire.sent.fetch_add(part.len(), Ordering::SeqCst);
        }
    };
    Answer::Faulty(Fault::new("endless", act), Vec::new())
}

#[test]
fn a_reply_without_an_end_fills_no_memory() {
    let layer = format!("/v2/app/blobs/{}", Sha256::of("one"));
    for (path, head, why) in [
        ("/v2/app/manifests/1", "200 OK", "it sends more than 4194304 bytes"),
        (
            "/v2/app/manifests/1",
            "200 OK\r\ncontent-length: 99999999999",
            "it has more than 4194304 bytes",
        ),
        ("/token", "200 OK", "it sends more than 1048576 bytes"),
        ("/token", "403 No", "no token from the server that gives them: HTTP 403"),
        (&layer, "404 No", "HTTP 404"),
        (&layer, "401 No\r\nwww-authenticate: Basic realm=\"x\"", "HTTP 401"),
        ("/v2/app/manifests/1", "429 Wait", "HTTP 429"),
    ] {
        let server = Server::start();
        server.image("app:1", &["one"]);
        if path == "/token" {
            server.serve(&layer, Answer::Private(b"one".into()));
        }
        server.serve(path, endless(head));
        let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
        let (_, stderr) = run(&tree, &["apply", "-vv"], 1);
        assert!(stderr.contains("error[mirror-down]") && stderr.contains(why), "{stderr}");
        let (_, peak) = stderr.split_once("peak_memory=\"").unwrap();
        let peak: u64 = peak.split(' ').next().unwrap().parse().unwrap();
        assert!(peak < 60 * 1024, "{head} at {path} takes {peak} KiB");
        assert!(server.sent() < TAKEN, "{head} at {path}: {} bytes were taken", server.sent());
    }
}

/// A header line without an end, and more headers than anybody needs.
#[test]
fn headers_without_an_end_fill_no_memory() {
    for line in ["7", "x: 7\r\n"] {
        let server = Server::start();
        server.image("app:1", &["one"]);
        let act = move |wire: &mut Wire<'_>| {
            wire.raw("HTTP/1.1 200 OK\r\nx: ")?;
            let part = line.repeat(1 << 14);
            loop {
                wire.raw(&part)?;
                wire.sent.fetch_add(part.len(), Ordering::SeqCst);
            }
        };
        let answer = Answer::Faulty(Fault::new("headers", act), Vec::new());
        server.serve("/v2/app/manifests/1", answer);
        let tree = tree(&served_by(&server), &Lock::new().image("app", "r.example/app:1").0);
        let (_, stderr) = run(&tree, &["apply"], 1);
        assert!(stderr.contains("error[mirror-down]"), "{stderr}");
        assert!(server.sent() < TAKEN, "{} bytes were taken", server.sent());
    }
}

/// Whether the host asks for the password first, or not at all.
#[test]
fn who_is_redirected_to_learns_no_password() {
    for challenges in [0, 1] {
        let (server, elsewhere) = (Server::start(), Server::start());
        server.image("app:1", &["one"]);
        let layer = format!("/v2/app/blobs/{}", Sha256::of("one"));
        let target = format!("{}{layer}", elsewhere.url());
        let redirect = move |wire: &mut Wire<'_>| {
            if wire.earlier < challenges {
                let challenge = "401 No\r\nwww-authenticate: Basic realm=\"x\"";
                return wire.answer(&format!("{challenge}\r\ncontent-length: 0"), b"");
            }
            wire.answer(&format!("307 There\r\nlocation: {target}\r\ncontent-length: 0"), b"")
        };
        server.serve(&layer, Answer::Faulty(Fault::new("away", redirect), Vec::new()));
        elsewhere.serve(&layer, Answer::Private(b"one".into())); // it wants to know who asks
        elsewhere.serve("/token", Answer::Bytes(br#"{"token":"open-sesame"}"#.into()));
        let config = "/etc/k8steps/docker.json";
        let cluster = served_by(&server)
            .replace("[download]\n", &format!("[download]\ndocker-config = \"{config}\"\n"));
        let tree = tree(&cluster, &Lock::new().image("app", "r.example/app:1").0);
        let host = server.url().replace("http://", "");
        tree.write(config, &format!(r#"{{"auths":{{"{host}":{{"auth":"bWU6aHVudGVyMg=="}}}}}}"#));
        fs::set_permissions(tree.path(config), fs::Permissions::from_mode(0o600)).unwrap();
        let (_, stderr) = run(&tree, &["apply"], 1);
        assert!(stderr.contains(&format!("{layer}: HTTP 401 Unauthorized")), "{stderr}");
        let told: Vec<_> = server.requests().into_iter().filter_map(|r| r.token).collect();
        assert_eq!(told, vec!["Basic bWU6aHVudGVyMg=="; challenges]);
        let heard = elsewhere.requests();
        assert!(!heard.is_empty(), "it was not redirected");
        assert!(heard.iter().all(|r| r.token.is_none() && r.path == layer), "{heard:?}");
    }
}
