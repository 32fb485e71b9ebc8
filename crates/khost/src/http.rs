//! Asking an HTTPS health endpoint, and saying why it did not answer.

use std::{
    io::{self, Read as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use reqwest::{
    Certificate, Identity,
    blocking::{Client, Response},
};

use crate::{Error, Result};

/// Longest body that is taken. etcd's metrics, which are the longest, have a hundredth of it.
const LONGEST: u64 = 16 << 20;

/// Said of a server that takes a question and does not answer within the client's limit.
pub const NO_ANSWER: &str = "no answer in time";

/// How a server proves itself, and how we do.
#[derive(Debug, Default)]
pub struct Trust {
    /// PEM of the authorities its certificate must come from; without it any certificate will do,
    /// which is right only for loopback endpoints that have none of their own.
    pub ca: Option<Vec<u8>>,
    /// PEM of our certificate followed by its key.
    pub identity: Option<Vec<u8>>,
}

/// What the endpoint answered.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body as text.
    pub body: String,
    /// The certificate the server proved itself with: DER.
    pub certificate: Option<Vec<u8>>,
}

/// A client that gives up after two seconds, follows no redirect and uses no proxy.
pub fn client(trust: &Trust) -> Result<Client> {
    client_within(trust, Duration::from_secs(2))
}

/// The same with another limit for one question and its answer.
pub(crate) fn client_within(trust: &Trust, limit: Duration) -> Result<Client> {
    let invalid = |error| Error::host("tls-setup", "cannot use the certificates").because(error);
    let mut builder = Client::builder()
        .timeout(limit)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("k8steps/", env!("CARGO_PKG_VERSION")))
        .tls_info(true)
        .no_proxy();
    builder = match &trust.ca {
        Some(ca) => builder.tls_certs_only(Certificate::from_pem_bundle(ca).map_err(invalid)?),
        None => builder.danger_accept_invalid_certs(true),
    };
    if let Some(identity) = &trust.identity {
        builder = builder.identity(Identity::from_pem(identity).map_err(invalid)?);
    }
    builder.build().map_err(invalid)
}

/// Whether one can prove oneself with `pem`, a certificate followed by its key: both are whole, and
/// the key is that certificate's. Its term and issuer are not looked at.
///
/// # Errors
/// Why not, as `tls-setup`.
pub fn proves(pem: &[u8]) -> Result<()> {
    client(&Trust { ca: None, identity: Some(pem.to_vec()) }).map(drop)
}

/// `GET url`.
///
/// # Errors
/// The reason nothing was answered, as one line: refused, timed out, which certificate problem.
pub fn get(client: &Client, url: &str) -> Result<Answer, String> {
    answer(client.get(url).send())
}

fn answer(sent: reqwest::Result<Response>) -> Result<Answer, String> {
    let response = sent.map_err(|error| reason(&error))?;
    let status = response.status().as_u16();
    let tls = response.extensions().get::<reqwest::tls::TlsInfo>();
    let certificate = tls.and_then(|tls| tls.peer_certificate()).map(<[u8]>::to_vec);
    let mut body = Vec::new();
    response.take(LONGEST + 1).read_to_end(&mut body).map_err(|error| broken_off(&error))?;
    if body.len() as u64 > LONGEST {
        return Err(format!("it answers with more than {} MiB", LONGEST >> 20));
    }
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, body, certificate })
}

/// Whether something listens where `url` (`https://HOST:PORT`) points: one connection, closed at
/// once.
///
/// # Errors
/// The reason it could not be made within a second, as one line.
pub fn takes_connections(url: &str) -> Result<(), String> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    let mut addresses = authority.to_socket_addrs().map_err(|error| error.to_string())?;
    let address = addresses.next().ok_or("it has no address")?;
    reach(address, Duration::from_secs(1))
}

/// One connection to `address`, made `within` a time and closed at once.
///
/// # Errors
/// The reason it could not be made, as one line.
pub fn reach(address: SocketAddr, within: Duration) -> Result<(), String> {
    TcpStream::connect_timeout(&address, within).map(drop).map_err(|error| error.to_string())
}

/// `PATCH url` with `body`, which is of `kind`. The errors are those of [`get`].
pub(crate) fn patch(
    client: &Client,
    url: &str,
    kind: &str,
    body: String,
) -> Result<Answer, String> {
    answer(client.patch(url).header("content-type", kind).body(body).send())
}

/// `POST url` with `json` as its body. The errors are those of [`get`].
pub fn post(client: &Client, url: &str, json: &str) -> Result<Answer, String> {
    let request = client.post(url).header("content-type", "application/json").body(json.to_owned());
    answer(request.send())
}

/// Why no more of a body came.
fn broken_off(error: &io::Error) -> String {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    cause.map_or_else(|| error.to_string(), reason)
}

/// The deepest cause says it best: "connection refused", "certificate expired".
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return NO_ANSWER.into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Write as _},
        net::TcpListener,
        thread,
    };

    use super::{Trust, client, get, takes_connections};

    /// What is said of a server that answers with `head` and then as many zeros as it can.
    fn endless(head: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let request = BufReader::new(stream.try_clone().unwrap());
            request.lines().map(Result::unwrap).find(String::is_empty);
            stream.write_all(head.as_bytes()).unwrap();
            let zeros = vec![b'0'; 1 << 20];
            (0..100).take_while(|_| stream.write_all(&zeros).is_ok()).count()
        });
        let said = get(&client(&Trust::default()).unwrap(), &url).unwrap_err();
        assert!(server.join().unwrap() < 100, "all of it was read");
        said
    }

    #[test]
    fn an_answer_without_an_end_is_given_up() {
        let said = endless("HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(said, "it answers with more than 16 MiB");
    }

    #[test]
    fn an_open_port_is_told_from_a_closed_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}/health", listener.local_addr().unwrap());
        takes_connections(&url).unwrap();
        drop(listener);
        assert!(takes_connections(&url).unwrap_err().contains("refused"));
        takes_connections("https://").unwrap_err();
    }
}
