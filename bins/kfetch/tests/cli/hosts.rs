//! Hosts of a registry with all that cluster.toml may say of them, and containerd understands.

use std::{fs, io, os::unix::fs::PermissionsExt as _, sync::Arc};

use kspec::Sha256;
use ktest::Tree;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer,
    server::WebPkiClientVerifier,
};

use crate::{
    Lock, blob, download, run,
    server::{Answer, Server},
    tree,
};

const HOST: &str = "[[containerd.registry.host]]\n";

/// A machine that wants an image of `r.example`, which the hosts with these keys serve.
fn machine(hosts: &[String]) -> Tree {
    let hosts: Vec<_> = hosts.iter().map(|keys| format!("{HOST}{keys}\n")).collect();
    let registry = format!("[[containerd.registry]]\nprefix = \"r.example\"\n{}", hosts.concat());
    let lock = Lock::new().image("app", "r.example/app:1");
    tree(&(download("mirrors-only = true") + &registry), &lock.0)
}

fn url(server: &Server) -> String {
    format!("url = \"{}\"", server.url())
}

#[test]
fn a_host_whose_api_begins_elsewhere() {
    for (place, keys) in [
        ("/oci/team/", "override-path = true"),
        ("/oci/team/v2/", ""),
        ("/oci/team/v2/", "override-path = false"),
    ] {
        let server = Server::start();
        server.image("app:1", &["one"]);
        server.move_to("/v2/", place);
        let url = format!("url = \"{}/oci/team/\"", server.url());
        let tree = machine(&[format!("{url}\n{keys}")]);
        run(&tree, &["apply"], 0);
        assert!(blob(&tree, b"one").exists());
        let asked = server.requests();
        assert!(asked.iter().all(|request| request.path.starts_with(place)), "{asked:?}");
    }
}

#[test]
fn headers_go_with_every_request_and_to_nobody_else() {
    let (server, other) = (Server::start(), Server::start());
    server.image("app:1", &["one"]);
    let layer = format!("/v2/app/blobs/{}", Sha256::of("one"));
    server.serve(&layer, Answer::Private(b"one".into()));
    server.serve("/token", Answer::Bytes(br#"{"token":"open-sesame"}"#.into()));
    let headers = "headers = { X-Site = [\"north\", \"rack 7\"] }";
    let tree = machine(&[url(&other), format!("{}\n{headers}", url(&server))]);
    run(&tree, &["apply"], 0);
    let asked = server.requests();
    for path in ["/v2/app/manifests/1", &layer, "/token"] {
        assert!(asked.iter().any(|request| request.path == path), "{path} was not asked for");
    }
    for request in &asked {
        assert_eq!(request.site, ["north", "rack 7"], "{request:?}");
        // One mirror may serve several registries: containerd tells it which is meant.
        let ns = request.query.split('&').any(|pair| pair == "ns=r.example");
        assert_eq!(ns, request.path != "/token", "{request:?}");
    }
    let asked = other.requests();
    assert!(!asked.is_empty() && asked.iter().all(|request| request.site.is_empty()), "{asked:?}");
}

#[test]
fn what_a_host_cannot_do_it_is_not_asked_for() {
    let [push, pull, both] = [Server::start(), Server::start(), Server::start()];
    for server in [&push, &pull, &both] {
        server.image("app:1", &["one"]);
    }
    let with = |server: &Server, all: &str| format!("{}\ncapabilities = [{all}]", url(server));
    let hosts = [with(&push, "\"push\""), with(&pull, "\"pull\""), url(&both)];
    let tree = machine(&hosts);
    let (_, stderr) = run(&tree, &["apply", "-vv"], 0);
    let said = format!("{} is passed over: pull is none of its capabilities", push.url());
    assert!(stderr.contains(&said), "{stderr}");
    assert_eq!(push.requests(), []);
    let tag = |server: &Server| {
        server.requests().iter().any(|request| request.path.ends_with("/manifests/1"))
    };
    assert!(!tag(&pull) && tag(&both));

    let (_, stderr) = run(&machine(&hosts[..2]), &["apply"], 2);
    assert!(stderr.contains("error[no-source]: there is nowhere to fetch image"), "{stderr}");
}

const CERTIFICATE: &str = "/etc/k8steps/client.pem";
const KEY: &str = "/etc/k8steps/client.key";
const CA: &str = "/etc/k8steps/ca.pem";

/// A registry that answers only those who show a certificate of its authority.
struct Asking {
    server: Server,
    authority: CertifiedIssuer<'static, KeyPair>,
    own: String,
}

impl Asking {
    fn start() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build().unwrap();
        let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_client_cert_verifier(verifier);
        let config = config.with_single_cert(vec![own.cert.der().clone()], key).unwrap();
        let config = Arc::new(config);
        let server = Server::begin(move |shared, port, stream| {
            let tls = ServerConnection::new(Arc::clone(&config)).map_err(io::Error::other)?;
            shared.talk(port, StreamOwned::new(tls, stream))
        });
        server.image("app:1", &["one"]);
        Self { server, authority, own: own.cert.pem() }
    }

    /// A certificate and its key, in PEM.
    fn client(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["node1".into()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        (params.signed_by(&key, &self.authority).unwrap().pem(), key.serialize_pem())
    }

    /// A machine that shows what `client` of the host says.
    fn machine(&self, client: &str) -> Tree {
        let url = self.server.url().replace("http:", "https:");
        let tree = machine(&[format!("url = \"{url}\"\nca = \"{CA}\"\n{client}")]);
        tree.write(CA, &self.own);
        tree
    }
}

/// Put a file there for its owner alone.
fn private(tree: &Tree, path: &str, text: &str) {
    tree.write(path, text);
    fs::set_permissions(tree.path(path), fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_host_that_wants_a_certificate_is_shown_one() {
    let asking = Asking::start();
    let (certificate, key) = asking.client();
    let pair = format!("client = [{{ certificate = \"{CERTIFICATE}\", key = \"{KEY}\" }}]");
    let known = asking.machine(&pair);
    known.write(CERTIFICATE, &certificate);
    private(&known, KEY, &key);
    let mut tool = known.tool();
    let output = tool.args(["apply", "-vv"]).env("K8STEPS_LOG", "trace").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && blob(&known, b"one").exists(), "{said}");
    assert!(!said.contains(key.lines().nth(1).unwrap()), "{said}");

    let one = asking.machine(&format!("client = [{{ certificate = \"{CERTIFICATE}\" }}]"));
    private(&one, CERTIFICATE, &(certificate + &key));
    run(&one, &["apply"], 0);

    asking.server.requests();
    let (_, stderr) = run(&asking.machine(""), &["apply"], 1);
    assert!(stderr.contains("error[mirror-down]"), "{stderr}");
    assert!(stderr.to_lowercase().contains("certificaterequired"), "{stderr}");
    assert_eq!(asking.server.requests(), []);
}

#[test]
fn a_certificate_that_cannot_be_shown() {
    let asking = Asking::start();
    let (certificate, key) = asking.client();
    let pair = format!("client = [{{ certificate = \"{CERTIFICATE}\", key = \"{KEY}\" }}]");
    let tree = asking.machine(&pair);
    let refused = |code: &str, hint: &str| {
        let (_, stderr) = run(&tree, &["apply"], 2);
        assert!(stderr.contains(&format!("error[{code}]: ")), "{stderr}");
        assert!(stderr.contains(&format!("hint: {hint}")), "{stderr}");
        assert!(!stderr.contains(key.lines().nth(1).unwrap()), "{stderr}");
    };
    refused("registry-client-missing", "put the file there");
    tree.write(KEY, &key);
    refused("registry-client-exposed", "run `chmod 600 ");
    private(&tree, KEY, &key);
    refused("registry-client-missing", "put the file there");
    tree.write(CERTIFICATE, "nothing");
    refused("registry-client-invalid", "write both in PEM");
    let others = asking.client().0;
    for bad in [certificate.replace('M', "?"), others] {
        tree.write(CERTIFICATE, &bad);
        refused("registry-client-invalid", "correct `client` of the registry host");
    }
    assert_eq!(asking.server.requests(), []);
}
