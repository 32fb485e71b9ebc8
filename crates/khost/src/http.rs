//! Asking an HTTPS health endpoint, and saying why it did not answer.

use std::{
    net::{TcpStream, ToSocketAddrs as _},
    time::Duration,
};

use reqwest::{
    Certificate, Identity,
    blocking::{Client, Response},
};

use crate::{Error, Result};

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
    let invalid = |error| Error::host("tls-setup", "cannot use the certificates").because(error);
    let mut builder = Client::builder()
        .timeout(Duration::from_secs(2))
        .redirect(reqwest::redirect::Policy::none())
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
    let body = response.text().map_err(|error| reason(&error))?;
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
    match TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// `POST url` with `json` as its body. The errors are those of [`get`].
pub fn post(client: &Client, url: &str, json: &str) -> Result<Answer, String> {
    let request = client.post(url).header("content-type", "application/json").body(json.to_owned());
    answer(request.send())
}

/// The deepest cause says it best: "connection refused", "certificate expired".
fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer within 2 s".into();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::takes_connections;

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
