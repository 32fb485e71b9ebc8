//! The probe against a real TLS server: openssl's, with certificates good and bad.

#![expect(clippy::disallowed_methods, reason = "tests start a server and stand in for kpki")]

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use khost::{Host, http::Answer, wait::Seen};
use tempfile::TempDir;

use super::{Probe, telling_line};

/// A directory with an authority, an administrator and whatever a test adds.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        made.authority("ca");
        made.leaf("admin", "ca", "IP:127.0.0.1", "30");
        std::fs::write(made.dir.path().join("health"), r#"{"health":"true","reason":""}"#).unwrap();
        made
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new("openssl").args(args).current_dir(self.dir.path()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn authority(&self, name: &str) {
        let (key, cert) = (format!("{name}-key.pem"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        args.extend(["-nodes", "-days", "30", "-subj", &subject, "-keyout", &key, "-out", &cert]);
        self.openssl(&args);
    }

    fn leaf(&self, name: &str, ca: &str, san: &str, days: &str) {
        let [key, request, cert] =
            ["-key.pem", ".csr", ".pem"].map(|ending| format!("{name}{ending}"));
        let (subject, san) = (format!("/CN={name}"), format!("subjectAltName={san}"));
        let mut args =
            vec!["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        args.extend(["-subj", &subject, "-addext", &san, "-keyout", &key, "-out", &request]);
        self.openssl(&args);
        let (ca, ca_key) = (format!("{ca}.pem"), format!("{ca}-key.pem"));
        let mut args = vec!["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        args.extend(["-CAcreateserial", "-copy_extensions", "copy", "-days", days, "-out", &cert]);
        self.openssl(&args);
    }

    /// What the probe sees of a server with the certificate `name` that lets in whom the
    /// authority `ca` certified.
    fn seen(&self, name: &str, ca: &str) -> Seen {
        let server = Server::start(self.dir.path(), name, ca);
        self.probe(server.port).ask(&Host::new("/")).unwrap()
    }

    fn probe(&self, port: u16) -> Probe {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        Probe {
            url: format!("https://127.0.0.1:{port}/health"),
            ca: path("ca.pem"),
            cert: path("admin.pem"),
            key: path("admin-key.pem"),
            members: 3,
        }
    }
}

/// `openssl s_server`, serving the files of its directory, until it is dropped.
struct Server {
    port: u16,
    child: Child,
}

impl Server {
    fn start(dir: &Path, name: &str, ca: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let [cert, key] = [".pem", "-key.pem"].map(|ending| format!("{name}{ending}"));
        let (accept, ca) = (format!("127.0.0.1:{port}"), format!("{ca}.pem"));
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-WWW", "-Verify", "1", "-verify_return_error"]);
        command.args(["-accept", &accept, "-cert", &cert, "-key", &key, "-CAfile", &ca]);
        command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Self { port, child: command.spawn().unwrap() };
        for _ in 0..200 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("openssl s_server did not start");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn not_yet(seen: &Seen) -> &str {
    match seen {
        Seen::NotYet(why) => why,
        Seen::Ready => panic!("the probe found nothing wrong"),
    }
}

#[test]
fn a_good_server_is_ready_and_each_bad_one_is_told_apart() {
    let made = Certificates::new();
    made.leaf("good", "ca", "IP:127.0.0.1", "30");
    assert_eq!(made.seen("good", "ca"), Seen::Ready);

    made.leaf("nameless", "ca", "IP:192.0.2.1,DNS:node1", "30");
    let seen = made.seen("nameless", "ca");
    let why = not_yet(&seen);
    assert!(why.starts_with("etcd's certificate lacks a name (`kpki apply`"), "{why}");
    assert!(why.contains("127.0.0.1") && why.contains("node1"), "{why}");

    made.leaf("old", "ca", "IP:127.0.0.1", "0");
    std::thread::sleep(Duration::from_millis(1100)); // it ends in the second it was made in
    let seen = made.seen("old", "ca");
    let why = not_yet(&seen);
    assert!(why.starts_with("etcd's certificate has expired (`kpki apply`"), "{why}");

    made.authority("other");
    made.leaf("foreign", "other", "IP:127.0.0.1", "30");
    let seen = made.seen("foreign", "ca");
    let why = not_yet(&seen);
    assert!(why.starts_with("what answers is not the etcd of our CA"), "{why}");

    let seen = made.seen("good", "other");
    let why = not_yet(&seen);
    assert!(why.starts_with("etcd refuses our certificate"), "{why}");
}

#[test]
fn a_missing_certificate_is_named() {
    let made = Certificates::new();
    std::fs::remove_file(made.dir.path().join("admin-key.pem")).unwrap();
    let seen = made.probe(1).ask(&Host::new("/")).unwrap();
    let why = not_yet(&seen);
    assert!(why.ends_with("/admin-key.pem` does not exist: run `kpki apply`"), "{why}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_no_closed_port() {
    let made = Certificates::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let seen = made.probe(silent.local_addr().unwrap().port()).ask(&Host::new("/")).unwrap();
    assert_eq!(
        not_yet(&seen),
        "the port is open, but no answer within 2 s: 2 of its 3 members must run and reach each other"
    );
}

#[test]
fn what_etcd_says_is_told() {
    let made = Certificates::new();
    let judged = |status, body: &str| {
        let seen = made.probe(1).judge(&Answer { status, body: body.into(), certificate: None });
        if let Seen::NotYet(why) = seen { why } else { "ready".into() }
    };
    assert_eq!(judged(200, r#"{"health":"true","reason":""}"#), "ready");
    assert_eq!(
        judged(503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#),
        "etcd has no leader: 2 of its 3 members must run and reach each other"
    );
    let full = judged(503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
    assert!(full.starts_with("its database is full"), "{full}");
    assert_eq!(
        judged(503, r#"{"health":"false","reason":"QGET ERROR:timeout"}"#),
        "etcd says that it is not healthy: QGET ERROR:timeout"
    );
    assert_eq!(judged(404, "not found\n"), "it answers with HTTP 404: not found");
    assert_eq!(
        Probe { members: 1, ..made.probe(1) }.judge(&Answer {
            status: 503,
            body: r#"{"health":"false","reason":"RAFT NO LEADER"}"#.into(),
            certificate: None,
        }),
        Seen::not_yet("etcd has no leader: its disk may be slow")
    );
}

#[test]
fn the_line_that_says_why_is_found() {
    // As etcd 3.5.34 and systemd 252 wrote them.
    let denied = r#"Starting etcd.service - etcd...
{"level":"warn","caller":"embed/config.go:689","msg":"Running http and grpc server on single port."}
{"level":"fatal","caller":"etcdserver/server.go:362","msg":"failed to create snapshot directory","path":"/var/lib/etcd/member/snap","error":"mkdir /var/lib/etcd/member/snap: permission denied","stacktrace":"go.etcd.io"}
etcd.service: Main process exited, code=exited, status=1/FAILURE
etcd.service: Failed with result 'exit-code'.
Failed to start etcd.service - etcd.
etcd.service: Scheduled restart job, restart counter is at 1.
Stopped etcd.service - etcd.
"#;
    assert_eq!(
        telling_line(denied).unwrap(),
        "failed to create snapshot directory: mkdir /var/lib/etcd/member/snap: permission denied"
    );
    let panicked = "panic: unrecognized level: \"bogus\"\n\ngoroutine 1 [running]:\nmain.main()\n\
                    etcd.service: Main process exited, code=exited, status=2/INVALIDARGUMENT\n";
    assert_eq!(telling_line(panicked).unwrap(), "panic: unrecognized level: \"bogus\"");
    let missing = "etcd.service: Failed to locate executable /usr/local/bin/etcd: No such file\n\
                   etcd.service: Failed at step EXEC spawning /usr/local/bin/etcd: No such file\n\
                   etcd.service: Main process exited, code=exited, status=203/EXEC\n";
    assert!(telling_line(missing).unwrap().contains("Failed at step EXEC"));
    assert_eq!(telling_line("one\ntwo\n\n").unwrap(), "two");
    assert_eq!(telling_line("Stopped etcd.service - etcd.\n"), None);
}
