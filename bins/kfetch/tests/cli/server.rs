//! An HTTP server for tests: serves bytes with ranges, lies, breaks off, hangs, and remembers.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use kspec::Sha256;
use serde_json::{Value, json};

use crate::faults::{Fault, Wire};

/// What is answered at a path.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// These bytes, from where a range begins.
    Bytes(Vec<u8>),
    /// These bytes, whatever range is asked for.
    Whole(Vec<u8>),
    /// Once this many of them and then the end of the connection; from then on like `Bytes`.
    Cut(usize, Vec<u8>),
    /// This many of them, and then nothing for as long as the test lasts.
    Hang(usize, Vec<u8>),
    /// These bytes, a twentieth of a second after another request has come, or after a while.
    Late(Vec<u8>),
    /// An empty answer with this status.
    Status(u16),
    /// These bytes for whoever brings the token, which `/token` gives away.
    Private(Vec<u8>),
    /// What the fault makes of these bytes.
    Faulty(Fault, Vec<u8>),
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
    /// After the `?`.
    pub(crate) query: String,
    /// The values of `X-Site`.
    pub(crate) site: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct Shared {
    answers: Mutex<BTreeMap<String, Answer>>,
    requests: Mutex<Vec<Request>>,
    asked: Mutex<BTreeMap<String, usize>>,
    present: AtomicUsize,
    most: AtomicUsize,
    sent: AtomicUsize,
}

/// A server on a port of its own.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::begin(Shared::talk)
    }

    /// A server whose connections `talk` makes its own before it speaks HTTP on them.
    pub(crate) fn begin(
        talk: impl Fn(&Shared, u16, TcpStream) -> std::io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared::default());
        let server = Self { port, shared: Arc::clone(&shared) };
        let talk = Arc::new(talk);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, talk) = (Arc::clone(&shared), Arc::clone(&talk));
                // A client that was killed is no failure of the server.
                thread::spawn(move || drop(talk(&shared, port, stream.unwrap())));
            }
        });
        server
    }

    /// An address where nobody listens.
    pub(crate) fn down() -> String {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        format!("http://127.0.0.1:{port}")
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn serve(&self, path: &str, answer: Answer) {
        self.shared.answers.lock().unwrap().insert(path.into(), answer);
    }

    /// What is answered at `path`.
    pub(crate) fn served(&self, path: &str) -> Option<Answer> {
        self.shared.answers.lock().unwrap().get(path).cloned()
    }

    /// Serve below `to` what is served below `from`, and no longer there.
    pub(crate) fn move_to(&self, from: &str, to: &str) {
        let mut answers = self.shared.answers.lock().unwrap();
        let all = std::mem::take(&mut *answers).into_iter();
        answers.extend(all.map(|(path, answer)| match path.strip_prefix(from) {
            Some(rest) => (format!("{to}{rest}"), answer),
            None => (path, answer),
        }));
    }

    /// What has been asked since the last call.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut *self.shared.requests.lock().unwrap())
    }

    /// The ranges asked for at `path` since the last call.
    pub(crate) fn ranges(&self, path: &str) -> Vec<Option<String>> {
        let requests = self.requests().into_iter();
        requests.filter(|request| request.path == path).map(|request| request.range).collect()
    }

    /// How many bytes of what it serves it has sent.
    pub(crate) fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// How many requests were answered at the same time, at most.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }

    /// Serve an image for amd64 (and, as its manifest, other bytes for arm64) under `REPO:TAG`;
    /// returns the digests of the manifests.
    pub(crate) fn image(&self, name: &str, layers: &[&str]) -> [Sha256; 2] {
        let (repository, tag) = name.split_once(':').unwrap();
        let blob = |bytes: &[u8]| {
            let digest = Sha256::of(bytes);
            self.serve(&format!("/v2/{repository}/blobs/{digest}"), Answer::Bytes(bytes.into()));
            json!({ "mediaType": "application/octet-stream", "digest": digest, "size": bytes.len() })
        };
        let layers: Vec<_> = layers.iter().map(|layer| blob(layer.as_bytes())).collect();
        let digests = ["amd64", "arm64"].map(|arch| {
            let config = json!({ "architecture": arch, "os": "linux" });
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                "config": blob(config.to_string().as_bytes()),
                "layers": layers,
            });
            self.manifest(repository, &manifest)
        });
        let entry = |(arch, digest): (&str, &Sha256)| {
            json!({ "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                    "digest": digest, "size": 1,
                    "platform": { "architecture": arch, "os": "linux" } })
        };
        let entries: Vec<_> = ["amd64", "arm64"].into_iter().zip(&digests).map(entry).collect();
        let index = json!({ "schemaVersion": 2, "manifests": entries }).to_string();
        self.serve(&format!("/v2/{repository}/manifests/{tag}"), Answer::Bytes(index.into()));
        self.serve("/v2/", Answer::Status(200));
        digests
    }

    fn manifest(&self, repository: &str, manifest: &Value) -> Sha256 {
        let bytes = manifest.to_string().into_bytes();
        let digest = Sha256::of(&bytes);
        self.serve(&format!("/v2/{repository}/manifests/{digest}"), Answer::Bytes(bytes));
        digest
    }
}

impl Shared {
    pub(crate) fn talk(&self, port: u16, stream: impl Read + Write) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        if reader.fill_buf()?.first() == Some(&0x16) {
            return reader.get_mut().write_all(b"HTTP/1.1 400 This is no HTTP\r\n\r\n"); // but TLS
        }
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let path = line.split(' ').nth(1).unwrap_or_default();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let (mut range, mut token, mut site) = (None, None, Vec::new());
        loop {
            let mut header = String::new();
            if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            match header.trim().split_once(": ") {
                Some((key, value)) if key.eq_ignore_ascii_case("range") => {
                    range = Some(value.to_owned());
                }
                Some((key, value)) if key.eq_ignore_ascii_case("authorization") => {
                    token = Some(value.to_owned());
                }
                Some((key, value)) if key.eq_ignore_ascii_case("x-site") => {
                    site.push(value.to_owned());
                }
                _ => {}
            }
        }
        let request = Request { path: path.clone(), range, token, query, site };
        self.requests.lock().unwrap().push(request.clone());
        let present = self.present.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(present, Ordering::SeqCst);
        let answered = self.answer(port, reader.get_mut(), &request);
        self.present.fetch_sub(1, Ordering::SeqCst);
        answered
    }

    fn answer(&self, port: u16, to: &mut dyn Write, request: &Request) -> std::io::Result<()> {
        let send = |to: &mut dyn Write, bytes: &[u8], length, range| {
            self.sent.fetch_add(send(to, bytes, length, range)?, Ordering::SeqCst);
            Ok(())
        };
        let known = self.answers.lock().unwrap().get(&request.path).cloned();
        match known.unwrap_or(Answer::Status(404)) {
            Answer::Bytes(bytes) => send(to, &bytes, bytes.len(), request.range.as_deref()),
            Answer::Whole(bytes) => send(to, &bytes, bytes.len(), None),
            Answer::Cut(length, bytes) => {
                self.answers
                    .lock()
                    .unwrap()
                    .insert(request.path.clone(), Answer::Bytes(bytes.clone()));
                send(to, &bytes, length, request.range.as_deref())
            }
            Answer::Hang(length, bytes) => {
                send(to, &bytes, length, request.range.as_deref())?;
                nap(60_000);
                Ok(())
            }
            Answer::Late(bytes) => {
                for _ in 0..60 {
                    nap(50);
                    if self.present.load(Ordering::SeqCst) > 1 {
                        break;
                    }
                }
                nap(50);
                send(to, &bytes, bytes.len(), None)
            }
            Answer::Status(status) => {
                write!(to, "HTTP/1.1 {status} So\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            }
            Answer::Private(bytes) if request.token.as_deref() == Some("Bearer open-sesame") => {
                send(to, &bytes, bytes.len(), request.range.as_deref())
            }
            Answer::Faulty(fault, body) => {
                let mut asked = self.asked.lock().unwrap();
                let asked = asked.entry(request.path.clone()).or_default();
                let earlier = std::mem::replace(asked, *asked + 1);
                let (from, path) = (first(request.range.as_deref()), &request.path);
                fault.act(&mut Wire {
                    to,
                    body: &body,
                    from,
                    earlier,
                    port,
                    path,
                    sent: &self.sent,
                })
            }
            Answer::Private(_) => write!(
                to,
                "HTTP/1.1 401 No\r\nwww-authenticate: Bearer realm=\"http://127.0.0.1:{port}/token\",\
                 service=\"s\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            ),
        }
    }
}

/// Where the range that is asked for begins.
fn first(range: Option<&str>) -> Option<usize> {
    range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok())
}

/// Say that all of `bytes` (from where `range` begins) comes, and send the first `length` of it;
/// how many that were.
fn send(
    to: &mut dyn Write,
    bytes: &[u8],
    length: usize,
    range: Option<&str>,
) -> std::io::Result<usize> {
    let first = first(range).unwrap_or(0);
    if first > 0 && first >= bytes.len() {
        write!(to, "HTTP/1.1 416 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
        return Ok(0);
    }
    let (status, total) = (if first > 0 { 206 } else { 200 }, bytes.len());
    let rest = total - first;
    write!(to, "HTTP/1.1 {status} OK\r\nconnection: close\r\ncontent-length: {rest}\r\n")?;
    if first > 0 {
        write!(to, "content-range: bytes {first}-{}/{total}\r\n", total - 1)?;
    }
    to.write_all(b"\r\n")?;
    let part = &bytes[first.min(length)..length];
    to.write_all(part)?;
    to.flush()?;
    Ok(part.len())
}

#[expect(clippy::disallowed_methods, reason = "a server that is slow on purpose")]
pub(crate) fn nap(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}
