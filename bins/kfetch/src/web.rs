//! Asking whoever serves a URL, and believing little of the answer.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use reqwest::{
    StatusCode, Url,
    blocking::{Client, RequestBuilder, Response},
    header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, HeaderMap, RANGE, RETRY_AFTER},
    redirect::Policy,
};

use crate::{
    attempt::Failure,
    download::{Answer, reason, refusal},
};

/// Redirects that are followed for one request.
const REDIRECTS: usize = 5;

/// Follow a few redirects, and none from HTTPS to where anyone may listen in.
pub(crate) fn redirects() -> Policy {
    Policy::custom(|attempt| match refused(attempt.previous(), attempt.url()) {
        Some(why) => attempt.error(why),
        None => attempt.follow(),
    })
}

fn refused(previous: &[Url], next: &Url) -> Option<String> {
    if previous.len() > REDIRECTS {
        return Some(format!("it redirects more than {REDIRECTS} times"));
    }
    let secure = previous.last().is_some_and(|url| url.scheme() == "https");
    match next.scheme() {
        "https" => None,
        "http" if !secure => None,
        _ => Some(format!("it redirects to `{next}`")),
    }
}

/// Ask for everything at `url` from `offset` on, or for all of it where that is not possible.
pub(crate) fn get(client: &Client, url: &str, offset: u64) -> Result<Answer, Failure> {
    ranged(offset, &|offset| send(client.get(url), offset))
}

/// What comes from `offset` on when `ask` is given that, or all of it where that is not possible.
pub(crate) fn ranged(
    offset: u64,
    ask: &dyn Fn(u64) -> Result<Response, Failure>,
) -> Result<Answer, Failure> {
    let response = ask(offset)?;
    let (status, headers) = (response.status(), response.headers());
    if let Some(encoding) = unasked_encoding(headers) {
        return Err(Failure::Lasting(format!("it is sent encoded as `{encoding}`, unasked")));
    }
    match status {
        StatusCode::OK => Ok(answer(response, None)),
        StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
            let range = Range::of(headers).filter(|range| range.first == offset);
            match range {
                Some(range) if status == StatusCode::PARTIAL_CONTENT => {
                    Ok(answer(response, Some(&range)))
                }
                _ => ranged(0, ask), // it cannot go on where it stopped
            }
        }
        _ => Err(match asked_to_wait(headers) {
            Some(wait) if is_passing(status) => Failure::Busy(format!("HTTP {status}"), wait),
            _ => refusal(status),
        }),
    }
}

/// Send `request` for what comes from `offset` on, as it is.
pub(crate) fn send(request: RequestBuilder, offset: u64) -> Result<Response, Failure> {
    let mut request = request.header(ACCEPT_ENCODING, "identity");
    if offset > 0 {
        request = request.header(RANGE, format!("bytes={offset}-"));
    }
    request.send().map_err(|error| {
        let why = reason(&error);
        if error.is_redirect() { Failure::Lasting(why) } else { Failure::Passing(why) }
    })
}

/// All of `body`, which has at most `limit` bytes and comes within `time`, or is no good: whoever
/// sends without an end must not fill the memory, and one who sends a byte now and then is never
/// silent.
pub(crate) fn short(mut body: impl Read, limit: usize, time: Duration) -> Result<Vec<u8>, Failure> {
    let (begun, mut bytes, mut buffer) = (Instant::now(), Vec::new(), vec![0; 1 << 14]);
    loop {
        match body.read(&mut buffer).map_err(|error| Failure::Passing(reason(&error)))? {
            0 => return Ok(bytes),
            length => bytes.extend_from_slice(&buffer[..length]),
        }
        if bytes.len() > limit {
            return Err(Failure::Lasting(format!("it sends more than {limit} bytes")));
        }
        if begun.elapsed() > time {
            let why = format!("not all of the answer came within {} s", time.as_secs());
            return Err(Failure::Passing(why));
        }
    }
}

fn answer(response: Response, range: Option<&Range>) -> Answer {
    let rest = match range {
        Some(Range { first, total: Some(total) }) => Some(total - first),
        _ => response.content_length(),
    };
    let said = response.headers().get("docker-content-digest");
    let said = said.and_then(|digest| digest.to_str().ok()?.parse().ok());
    Answer { resumed: range.is_some(), rest, said, body: Box::new(response) }
}

/// Whether the same request may fare better later.
pub(crate) fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// How bytes are encoded that were asked for as they are.
fn unasked_encoding(headers: &HeaderMap) -> Option<String> {
    let encoding = headers.get(CONTENT_ENCODING)?.to_str().unwrap_or("?").trim();
    (!encoding.is_empty() && encoding != "identity").then(|| encoding.to_owned())
}

/// `Retry-After` in seconds. Its other form, a date, would ask for a clock that both agree on.
fn asked_to_wait(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// Which part of how much comes: `Content-Range` of RFC 9110.
#[derive(Debug, PartialEq, Eq)]
struct Range {
    first: u64,
    total: Option<u64>,
}

impl Range {
    fn of(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get(CONTENT_RANGE)?.to_str().ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let (part, total) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = part.split_once('-')?;
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let total = if total == "*" { None } else { Some(total.parse::<u64>().ok()?) };
        let sound = first <= last && total.is_none_or(|total| last < total);
        sound.then_some(Self { first, total })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, Read as _, Write as _},
        net::{TcpListener, TcpStream},
        sync::{Arc, Mutex},
        thread,
        time::Duration,
    };

    use reqwest::Url;

    use super::{REDIRECTS, Range, refused};
    use crate::attempt::Failure;

    #[test]
    fn content_ranges() {
        let range = |first, total| Some(Range { first, total });
        let cases = [
            ("bytes 10-19/20", range(10, Some(20))),
            ("bytes 10-14/20", range(10, Some(20))),
            ("bytes 10-19/*", range(10, None)),
            ("bytes 10-20/20", None),
            ("bytes 19-10/20", None),
            ("bytes */20", None),
            ("lines 10-19/20", None),
            ("bytes=10-19/20", None),
            ("bytes 10-19", None),
            ("bytes -1-19/20", None),
            ("bytes 10-99999999999999999999/*", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(Range::parse(text), expected, "{text}");
        }
    }

    #[test]
    fn an_answer_without_an_end_is_given_up() {
        let short = |body: &mut dyn std::io::Read, time| super::short(body, 1000, time);
        let long = Duration::from_secs(60);
        assert_eq!(short(&mut &[7; 1000][..], long).unwrap().len(), 1000);
        let Err(Failure::Lasting(why)) = short(&mut std::io::repeat(7), long) else { panic!() };
        assert_eq!(why, "it sends more than 1000 bytes");
        let Err(Failure::Passing(why)) = short(&mut &[7; 10][..], Duration::ZERO) else { panic!() };
        assert_eq!(why, "not all of the answer came within 0 s");
    }

    #[test]
    fn redirects_that_are_not_followed() {
        let url = |text: &str| Url::parse(text).unwrap();
        let refused = |from: &str, to: &str| refused(&[url(from)], &url(to));
        assert_eq!(refused("http://a/", "http://b/"), None);
        assert_eq!(refused("http://a/", "https://b/"), None);
        assert_eq!(refused("https://a/", "https://b/"), None);
        let why = refused("https://a/", "http://b/");
        assert_eq!(why.as_deref(), Some("it redirects to `http://b/`"));
        assert!(refused("http://a/", "file:///etc/passwd").is_some());
        assert!(refused("http://a/", "ftp://b/").is_some());
        let many = vec![url("http://a/"); REDIRECTS + 1];
        assert!(super::refused(&many, &url("http://a/")).is_some());
        assert_eq!(super::refused(&many[1..], &url("http://a/")), None);
    }

    /// Whatever a server says, its reply is taken or refused, and no more of it kept than is allowed.
    #[test]
    fn fuzz_reply() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", server.local_addr().unwrap());
        let reply = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::clone(&reply);
        thread::spawn(move || {
            for stream in server.incoming() {
                let _ = served_once(&mut stream.unwrap(), &served.lock().unwrap().clone());
            }
        });
        let client = reqwest::blocking::Client::builder();
        // A fuzzer must not be sent to machines that it thinks of.
        let client = client.redirect(reqwest::redirect::Policy::none()).no_proxy();
        let client = client.tls_certs_only([]).pool_max_idle_per_host(0);
        let client = client.timeout(Duration::from_secs(1)).build().unwrap();
        let whole =
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nDocker-Content-Digest: sha256:0\r\n\r\nabc";
        let part = "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 3-5/6\r\n\r\nabc";
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let busy = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n\r\n";
        fuzz::target([whole, part, chunked, busy], move |bytes| {
            *reply.lock().unwrap() = bytes.to_vec();
            for offset in [0, 3] {
                let Ok(answer) = super::get(&client, &url, offset) else { continue };
                if let Ok(body) = super::short(answer.body, 256, Duration::from_secs(1)) {
                    assert!(body.len() <= 256);
                }
            }
        });
    }

    fn served_once(stream: &mut TcpStream, reply: &[u8]) -> io::Result<()> {
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? > 0 {
            request.extend(byte);
        }
        stream.write_all(reply)
    }
}
