//! Faults of what comes before the bytes: status, headers, redirects.

use super::wire::{Fault, Wire, hang};
use crate::server::Server;

pub(super) fn all() -> Vec<Fault> {
    [no_http(), headers(), statuses(), redirects(), busy()].concat()
}

/// A fault that is the same bytes for everyone.
fn says(name: &str, bytes: impl Into<Vec<u8>>) -> Fault {
    let bytes = bytes.into();
    Fault::new(name, move |wire: &mut Wire<'_>| wire.raw(&bytes))
}

fn no_http() -> Vec<Fault> {
    vec![
        says("no-answer", ""),
        says("one-byte", "H"),
        says("half-a-status-line", "HTTP/1.1 20"),
        says("ssh", "SSH-2.0-OpenSSH_9.2p1\r\n"),
        says("smtp", "220 mail.example ESMTP\r\n221 bye\r\n"),
        says("binary", [0, 1, 2, 3, 255, 254, 10, 13, 10, 13, 10].repeat(40)),
        says("line-ends-alone", "\r\n\r\n\r\n\r\n"),
        says("http-2-preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        says("http-3-version", "HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n"),
        says("status-word", "HTTP/1.1 OK 200\r\n\r\n"),
        says("status-of-two-digits", "HTTP/1.1 20 OK\r\n\r\n"),
        says("status-of-four-digits", "HTTP/1.1 2000 OK\r\n\r\n"),
        says("status-none", "HTTP/1.1\r\n\r\n"),
        says("continue-for-ever", "HTTP/1.1 100 Continue\r\n\r\n".repeat(3)),
        says("hints-and-no-answer", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
        says("tls-alert", [0x15, 3, 3, 0, 2, 2, 40]),
        Fault::new("bytes-without-head", |wire: &mut Wire<'_>| wire.raw(wire.body)),
        Fault::new("silent", |_: &mut Wire<'_>| hang()).slow(),
    ]
}

fn headers() -> Vec<Fault> {
    let with = |name: &str, headers: String| {
        Fault::new(format!("header-{name}"), move |wire: &mut Wire<'_>| {
            let (body, length) = (wire.body, wire.body.len());
            wire.answer(&format!("200 OK\r\n{headers}\r\ncontent-length: {length}"), body)
        })
    };
    vec![
        with("many", "x: y\r\n".repeat(500) + "x: y"),
        with("long", format!("x: {}", "y".repeat(1 << 20))),
        with("nul", "x: a\0b".into()),
        with("without-colon", "no header at all".into()),
        with("name-with-space", "x y: z".into()),
        with("without-name", ": z".into()),
        says("header-cut", "HTTP/1.1 200 OK\r\ncontent-le"),
        says("header-without-end", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n"),
        Fault::new("header-flood", |wire: &mut Wire<'_>| {
            wire.raw("HTTP/1.1 200 OK\r\n")?;
            (0..1 << 12).try_for_each(|at| wire.raw(format!("x-{at}: {}\r\n", "y".repeat(1000))))
        }),
    ]
}

/// Statuses that bring nothing.
const STATUSES: &[u16] = &[
    101, 201, 202, 203, 204, 205, 206, 226, 300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403,
    404, 405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 418, 421, 423, 425, 426, 428,
    429, 431, 451, 500, 501, 502, 503, 504, 505, 507, 508, 511, 520, 530, 599, 999,
];

fn statuses() -> Vec<Fault> {
    let status = |status: &u16| {
        let head = format!("{status} So\r\ncontent-length: 0");
        Fault::new(format!("status-{status}"), move |wire: &mut Wire<'_>| wire.answer(&head, b""))
    };
    let mut faults: Vec<_> = STATUSES.iter().map(status).collect();
    for passing in [408, 425, 429, 500, 502, 503, 504] {
        faults.push(status(&passing).once());
    }
    // The right bytes under a status that says that they are something else.
    for (name, line) in [("missing", "404 Not Found"), ("failed", "500 Failed"), ("part", "206 So")]
    {
        faults.push(Fault::new(format!("right-bytes-{name}"), move |wire: &mut Wire<'_>| {
            let (body, length) = (wire.body, wire.body.len());
            wire.answer(&format!("{line}\r\ncontent-length: {length}"), body)
        }));
    }
    faults
}

fn redirects() -> Vec<Fault> {
    let to = |name: &str, target: fn(&Wire<'_>) -> String| {
        Fault::new(format!("redirect-{name}"), move |wire: &mut Wire<'_>| {
            let target = target(wire);
            wire.answer(&format!("302 Found\r\nlocation: {target}\r\ncontent-length: 0"), b"")
        })
    };
    vec![
        to("to-itself", |wire| wire.path.into()),
        to("without-end", |wire| format!("{}?{}", wire.path, wire.earlier)),
        to("to-a-file", |_| "file:///etc/passwd".into()),
        to("to-ftp", |_| "ftp://127.0.0.1/file".into()),
        to("to-data", |_| "data:text/plain,hello".into()),
        to("to-nobody", |_| Server::down()),
        to("to-no-host", |_| "http://".into()),
        to("to-an-odd-host", |_| "http://[::1/file".into()),
        to("to-an-unknown-host", |_| "http://nobody.invalid/file".into()),
        to("to-nothing", |_| String::new()),
        to("to-what-is-missing", |_| "/not/here".into()),
        to("to-the-root", |_| "/".into()),
        to("to-tls-that-is-none", |wire| format!("https://127.0.0.1:{}/file", wire.port)),
        to("with-odd-bytes", |_| "http://127.0.0.1/\u{fffd} \u{7f}".into()),
    ]
}

fn busy() -> Vec<Fault> {
    let asks = |name: &str, status: u16, wait: &'static str| {
        let head = format!("{status} So\r\nretry-after: {wait}\r\ncontent-length: 0");
        Fault::new(format!("busy-{name}"), move |wire: &mut Wire<'_>| wire.answer(&head, b""))
    };
    vec![
        asks("for-a-day", 503, "86400"),
        asks("for-ages", 429, "99999999999999"),
        asks("until-a-date", 503, "Fri, 31 Dec 2099 23:59:59 GMT"),
        asks("for-less-than-nothing", 429, "-5"),
        asks("for-a-word", 503, "later"),
        asks("for-no-time", 503, "0").once(),
    ]
}
