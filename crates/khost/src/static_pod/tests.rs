//! Where a component is asked, what, and how its answer is taken.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    thread::{self, JoinHandle},
};

use kspec::Cluster;

use super::{Component, StaticPod, failing};
use crate::{
    Context, Host, Status, Step as _,
    fs::{self, Attributes},
    report::{Loudness, Report},
    steps::wait::Wait,
};

/// An API server that gives these answers, and tells what it was asked.
fn api_server(answers: &'static [(&str, &str)]) -> (StaticPod, JoinHandle<Vec<String>>) {
    let cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
    let pod = StaticPod::new(Component::ApiServer, &cluster);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = format!("http://{}", listener.local_addr().unwrap());
    let url = pod.url.replace(&Component::ApiServer.url(&cluster), &own);
    let answer = move |(status, body): &(&str, &str)| {
        let (mut stream, _) = listener.accept().unwrap();
        let request = BufReader::new(stream.try_clone().unwrap());
        let request: Vec<_> =
            request.lines().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
        request[0].clone()
    };
    (StaticPod { url, ..pod }, thread::spawn(move || answers.iter().map(answer).collect()))
}

/// What is seen at one look: nothing where it is there.
fn seen(wait: &Wait, host: &Host) -> String {
    let report = Report::new("test", false, Loudness::Quiet);
    match wait.check(&Context::new(host, &report, None)).unwrap() {
        Status::Done => String::new(),
        Status::Differs(change) => change.what,
    }
}

#[test]
fn an_api_server_is_ready_when_it_says_so_of_all_or_of_all_but_one() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::new(root.path());
    let (pod, server) = api_server(&[
        ("500 Internal Server Error", "[+]ping ok\n[-]etcd failed: reason withheld\n"),
        ("200 OK", "ok"),
        ("401 Unauthorized", "Unauthorized"),
        ("200 OK", "ok"),
    ]);
    let hook = "rbac/bootstrap-roles";
    for wait in [pod.healthy(), pod.healthy_but_for(hook)] {
        assert!(seen(&wait, &host).contains("no certificates yet"), "it was asked");
    }
    let ca = host.path("/etc/kubernetes/ssl/ca.crt");
    fs::make_dirs(ca.parent().unwrap(), 0o755).unwrap();
    fs::write(&ca, b"", Attributes { mode: 0o644, owner: None }).unwrap();
    for (wait, told) in [
        (pod.healthy_but_for(hook), "(it answers 500: [-]etcd failed: reason withheld)"),
        (pod.healthy(), "(it answers 401: Unauthorized)"),
    ] {
        let lacking = seen(&wait, &host);
        assert!(lacking.starts_with("the API server on http://127.0.0.1:"), "{lacking}");
        assert!(lacking.ends_with(told), "{lacking}");
        assert_eq!(seen(&wait, &host), "");
    }
    let but_for = "GET /readyz?exclude=poststarthook/rbac/bootstrap-roles HTTP/1.1";
    let all = "GET /readyz HTTP/1.1";
    assert_eq!(server.join().unwrap(), [but_for, but_for, all, all]);
}

#[test]
fn a_component_is_asked_at_loopback_unless_bound_elsewhere() {
    let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
    let mut url = |address: &str| {
        let args = &mut cluster.control_plane.scheduler_args;
        args.insert("bind-address".into(), address.into());
        Component::Scheduler.url(&cluster)
    };
    assert_eq!(url("::"), "https://127.0.0.1:10259");
    assert_eq!(url("192.0.2.11"), "https://192.0.2.11:10259");
    assert_eq!(url("2001:db8::1"), "https://[2001:db8::1]:10259");
    assert_eq!(Component::ApiServer.url(&cluster), "https://127.0.0.1:6443");
}

#[test]
fn only_failing_checks_are_told() {
    let body = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
    assert_eq!(failing(body), "[-]etcd failed: reason withheld");
    assert_eq!(failing("Unauthorized\n"), "Unauthorized");
}
