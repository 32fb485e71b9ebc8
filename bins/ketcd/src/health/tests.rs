//! The probe against a real TLS server: openssl's, with certificates good and bad.

#![expect(clippy::disallowed_methods, reason = "tests start a server and stand in for kpki")]

use std::{
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use khost::{Host, http::Answer};
use tempfile::TempDir;

use super::{Illness, Kind, Probe, unit::telling_line};

/// A directory with an authority, an administrator and whatever a test adds.
struct Certificates {
    dir: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        made.authority("ca");
        made.leaf("admin", "ca", "IP:127.0.0.1", "30");
        made.serve("health", r#"{"health":"true","reason":""}"#);
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
    fn seen(&self, name: &str, ca: &str) -> Option<Illness> {
        let server = Server::start(self.dir.path(), name, ca);
        self.probe(server.port).look(&Host::new("/")).unwrap()
    }

    /// What the server answers at `/NAME`.
    fn serve(&self, name: &str, text: &str) {
        std::fs::write(self.dir.path().join(name), text).unwrap();
    }

    fn probe(&self, port: u16) -> Probe {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        Probe {
            url: format!("https://127.0.0.1:{port}"),
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

/// The words of an illness that must be of this kind.
fn not_yet(seen: Option<&Illness>, kind: Kind) -> &str {
    let illness = seen.expect("the probe found nothing wrong");
    assert_eq!(illness.kind, kind, "{illness:?}");
    &illness.words
}

#[test]
fn a_good_server_is_ready_and_each_bad_one_is_told_apart() {
    let made = Certificates::new();
    made.leaf("good", "ca", "IP:127.0.0.1", "30");
    assert_eq!(made.seen("good", "ca"), None);

    made.leaf("nameless", "ca", "IP:192.0.2.1,DNS:node1", "30");
    let seen = made.seen("nameless", "ca");
    let why = not_yet(seen.as_ref(), Kind::Certificate);
    assert!(why.starts_with("etcd's certificate lacks a name (`kpki apply`"), "{why}");
    assert!(why.contains("127.0.0.1") && why.contains("node1"), "{why}");

    made.leaf("old", "ca", "IP:127.0.0.1", "0");
    std::thread::sleep(Duration::from_millis(1100)); // it ends in the second it was made in
    let seen = made.seen("old", "ca");
    let why = not_yet(seen.as_ref(), Kind::Certificate);
    assert!(why.starts_with("etcd's certificate has expired (`kpki apply`"), "{why}");

    made.authority("other");
    made.leaf("foreign", "other", "IP:127.0.0.1", "30");
    let seen = made.seen("foreign", "ca");
    let why = not_yet(seen.as_ref(), Kind::Certificate);
    assert!(why.starts_with("what answers is not the etcd of our CA"), "{why}");

    let seen = made.seen("good", "other");
    let why = not_yet(seen.as_ref(), Kind::Certificate);
    assert!(why.starts_with("etcd refuses our certificate"), "{why}");
}

#[test]
fn a_missing_certificate_is_named() {
    let made = Certificates::new();
    std::fs::remove_file(made.dir.path().join("admin-key.pem")).unwrap();
    let seen = made.probe(1).look(&Host::new("/")).unwrap();
    let why = not_yet(seen.as_ref(), Kind::Certificate);
    assert!(why.ends_with("/admin-key.pem` does not exist: run `kpki apply`"), "{why}");
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_no_closed_port() {
    let made = Certificates::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let seen = made.probe(silent.local_addr().unwrap().port()).look(&Host::new("/")).unwrap();
    assert_eq!(
        not_yet(seen.as_ref(), Kind::NoQuorum),
        "the port is open, but no answer in time: 2 of its 3 members must run and reach each other"
    );
}

#[test]
fn what_etcd_says_is_told() {
    let made = Certificates::new();
    let judged = |status, body: &str| {
        made.probe(1).judge(&Answer { status, body: body.into(), certificate: None }, || None)
    };
    assert_eq!(judged(200, r#"{"health":"true","reason":""}"#), None);
    assert_eq!(
        judged(503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#),
        Some(Illness::new(
            Kind::NoQuorum,
            "etcd has no leader: 2 of its 3 members must run and reach each other"
        ))
    );
    let full = judged(503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#);
    assert_eq!(full.unwrap().kind, Kind::Full);
    assert_eq!(
        judged(503, r#"{"health":"false","reason":"ALARM CORRUPT"}"#),
        Some(Illness::new(Kind::Other, "etcd says that it is not healthy: ALARM CORRUPT"))
    );
    assert_eq!(
        judged(404, "not found\n"),
        Some(Illness::new(Kind::Other, "it answers with HTTP 404: not found"))
    );
    let alone = Probe { members: 1, ..made.probe(1) };
    let answer = Answer {
        status: 503,
        body: r#"{"health":"false","reason":"QGET ERROR:etcdserver: request timed out"}"#.into(),
        certificate: None,
    };
    let seen = alone.judge(&answer, || None);
    assert!(not_yet(seen.as_ref(), Kind::Other).ends_with(": its disk may be slow"), "{seen:?}");
}

#[test]
fn a_slow_disk_is_read_off_etcds_own_count() {
    let made = Certificates::new();
    made.leaf("good", "ca", "IP:127.0.0.1", "30");
    made.serve("health", r#"{"health":"false","reason":"RAFT NO LEADER"}"#);
    let count = |fast: u32, slow: u32| {
        made.serve(
            "metrics",
            &format!(
                "etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"0.008\"}} {fast}\n\
                 etcd_disk_wal_fsync_duration_seconds_bucket{{le=\"4.096\"}} {slow}\n"
            ),
        );
    };
    count(10, 90);
    let seen = made.seen("good", "ca");
    assert_eq!(
        not_yet(seen.as_ref(), Kind::SlowDisk),
        "etcd has no leader: its disk is slow: a write to its log takes up to 4.096 s"
    );
    count(90, 90);
    let seen = made.seen("good", "ca");
    not_yet(seen.as_ref(), Kind::NoQuorum);
}

#[test]
fn another_program_at_the_port_is_named() {
    // Not etcd's own ports, which a test must not take: what is said of them is one function.
    let made = Certificates::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = super::intruder(&Host::new("/"), [port]).unwrap();
    let said = not_yet(seen.as_ref(), Kind::PortTaken).to_owned();
    assert!(said.starts_with(&format!("port {port} is taken by `")), "{said}");
    assert!(said.ends_with(&format!("(pid {})", std::process::id())), "{said}");
    drop((listener, made));
    assert_eq!(super::intruder(&Host::new("/"), [port]).unwrap(), None);
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
