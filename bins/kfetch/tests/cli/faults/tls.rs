//! Servers that speak TLS, and are not who they should be or lead away from it.

use std::{io, sync::Arc};

use rcgen::CertifiedKey;
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};

use super::wire::{Fault, Wire};
use crate::{
    Lock, RECORD, blob, run,
    server::{Answer, Server},
    tree,
};

const CA: &str = "/etc/k8steps/ca.pem";

/// A server with a certificate for `name` that nobody but itself vouches for, and that in PEM.
fn server(name: &str) -> (Server, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let CertifiedKey { cert, signing_key } = made;
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(vec![cert.der().clone()], key).unwrap());
    let server = Server::begin(move |shared, port, stream| {
        let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
        shared.talk(port, StreamOwned::new(tls, stream))
    });
    (server, cert.pem())
}

/// `apply` with these mirrors and this authority; `Err` is what it says when it fails.
fn apply(mirrors: &[String], authority: Option<&str>) -> Result<(), String> {
    let lock = Lock::new().file("tool", "https://up/tool", b"the tool");
    let trusted = authority.map(|_| format!("ca-file = \"{CA}\"")).unwrap_or_default();
    let settings = format!("mirrors = {mirrors:?}\nmirrors-only = true\nattempts = 1\n{trusted}");
    let tree = tree(&format!("[download]\n{settings}\n"), &lock.0);
    tree.write(CA, authority.unwrap_or_default());
    let output = tree.tool().arg("apply").output().unwrap();
    assert_eq!(blob(&tree, b"the tool").exists(), output.status.success());
    if output.status.success() {
        run(&tree, &["verify"], 0);
        return Ok(());
    }
    assert_eq!(output.status.code(), Some(1));
    assert!(!tree.path(RECORD).exists());
    Err(String::from_utf8(output.stderr).unwrap())
}

#[test]
fn who_cannot_be_trusted_and_who_can() {
    let good = Server::start();
    good.serve("/up/tool", Answer::Bytes(b"the tool".into()));
    let tls = |server: &Server| server.url().replace("http:", "https:");

    let (server, pem) = server("127.0.0.1");
    server.serve("/up/tool", Answer::Bytes(b"the tool".into()));
    apply(&[tls(&server)], Some(&pem)).unwrap();
    let said = apply(&[tls(&server)], None).unwrap_err();
    assert!(said.contains("error[mirror-down]") && said.contains("certificate"), "{said}");
    assert_eq!(server.requests().len(), 1, "it was asked all the same");
    apply(&[tls(&server), good.url()], None).unwrap();

    let (other, pem) = self::server("other.example");
    other.serve("/up/tool", Answer::Bytes(b"the tool".into()));
    let said = apply(&[tls(&other)], Some(&pem)).unwrap_err();
    assert!(said.contains("error[mirror-down]") && said.contains("certificate"), "{said}");
    apply(&[tls(&other), good.url()], Some(&pem)).unwrap();

    let said = apply(&[tls(&good)], None).unwrap_err(); // it speaks no TLS at all
    assert!(said.contains("error[mirror-down]"), "{said}");
}

#[test]
fn nobody_is_led_away_from_tls() {
    let (plain, (server, pem)) = (Server::start(), server("127.0.0.1"));
    plain.serve("/tool", Answer::Bytes(b"the tool".into()));
    let target = format!("{}/tool", plain.url());
    let head = format!("302 Found\r\nlocation: {target}\r\ncontent-length: 0");
    let away = Fault::new("away", move |wire: &mut Wire<'_>| wire.answer(&head, b""));
    server.serve("/up/tool", Answer::Faulty(away, Vec::new()));
    let mirror = server.url().replace("http:", "https:");
    let said = apply(&[mirror], Some(&pem)).unwrap_err();
    assert!(said.contains(&format!("it redirects to `{target}`")), "{said}");
    assert_eq!(plain.requests(), []);
}
