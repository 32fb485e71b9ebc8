//! Debian's `docker-registry`, the real distribution server, started for one test.

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use kspec::Sha256;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::blocking::{Client, RequestBuilder};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::nap;

pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "U*U";
/// bcrypt of the password: a test vector of `crypt_blowfish`.
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// A registry that runs for as long as this lives.
#[derive(Debug)]
pub(crate) struct Registry {
    dir: TempDir,
    child: Child,
    pub(crate) port: u16,
    /// PEM of the authority its certificate comes from, if it speaks TLS.
    pub(crate) ca: Option<String>,
    private: bool,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Registry {
    /// With TLS from an authority of its own; `private`: for who has the password.
    pub(crate) fn tls(private: bool) -> Self {
        Self::start(true, private)
    }

    /// Without TLS, for who has the password.
    pub(crate) fn plain() -> Self {
        Self::start(false, true)
    }

    #[expect(clippy::disallowed_methods, reason = "the real registry")]
    fn start(tls: bool, private: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let mut config = json!({
            "version": "0.1",
            "log": { "level": "error" },
            "storage": { "filesystem": { "rootdirectory": path("data") } },
            "http": { "addr": format!("127.0.0.1:{port}") },
        });
        let ca = tls.then(|| {
            config["http"]["tls"] = json!({ "certificate": path("crt"), "key": path("key") });
            certificates(dir.path())
        });
        if private {
            fs::write(path("htpasswd"), format!("{USER}:{HASH}\n")).unwrap();
            config["auth"] = json!({ "htpasswd": { "realm": "lab", "path": path("htpasswd") } });
        }
        fs::write(path("config.yml"), config.to_string()).unwrap(); // JSON is YAML
        let started = Command::new("docker-registry")
            .args(["serve", &path("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            panic!("docker-registry is needed: `scripts/bootstrap unit` installs it");
        };
        let registry = Self { dir, child, port, ca, private };
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return registry;
            }
            nap(50);
        }
        panic!("docker-registry does not listen at {port}: see {}", registry.dir.path().display());
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.ca.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Push an image for amd64 and arm64 under `REPO:TAG`, as a list of both; their digests.
    pub(crate) fn push(&self, name: &str, layers: &[&[u8]]) -> [Sha256; 2] {
        let (repository, tag) = name.split_once(':').unwrap();
        let layers: Vec<_> = layers.iter().map(|layer| self.blob(repository, layer)).collect();
        let digests = ["amd64", "arm64"].map(|arch| {
            let config = json!({ "architecture": arch, "os": "linux", "rootfs": {} });
            let config = self.blob(repository, config.to_string().as_bytes());
            let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                                   "layers": layers });
            let bytes = manifest.to_string();
            let digest = Sha256::of(&bytes);
            self.manifest(repository, &digest.to_string(), MANIFEST, bytes.clone());
            json!({ "mediaType": MANIFEST, "digest": digest, "size": bytes.len(),
                    "platform": { "architecture": arch, "os": "linux" } })
        });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": digests });
        self.manifest(repository, tag, INDEX, index.to_string());
        digests.map(|entry| serde_json::from_value(entry["digest"].clone()).unwrap())
    }

    fn blob(&self, repository: &str, bytes: &[u8]) -> Value {
        let digest = Sha256::of(bytes);
        let begin = self.client().post(format!("{}/v2/{repository}/blobs/uploads/", self.url()));
        let begun = self.send(begin);
        let place = begun.headers()["location"].to_str().unwrap().to_owned();
        let mut place = reqwest::Url::parse(&place).unwrap();
        place.query_pairs_mut().append_pair("digest", &digest.to_string());
        self.send(self.client().put(place).body(bytes.to_vec()));
        json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest,
                "size": bytes.len() })
    }

    fn manifest(&self, repository: &str, name: &str, kind: &str, bytes: String) {
        let url = format!("{}/v2/{repository}/manifests/{name}", self.url());
        self.send(self.client().put(url).header("content-type", kind).body(bytes));
    }

    fn client(&self) -> Client {
        let roots = self.ca.iter();
        let roots = roots.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).unwrap());
        Client::builder().tls_certs_only(roots).no_proxy().build().unwrap()
    }

    fn send(&self, request: RequestBuilder) -> reqwest::blocking::Response {
        let login = if self.private { Some(PASSWORD) } else { None };
        let request = match login {
            Some(password) => request.basic_auth(USER, Some(password)),
            None => request,
        };
        request.send().unwrap().error_for_status().unwrap()
    }
}

/// Put certificate and key of 127.0.0.1 into `dir`; PEM of the authority they come from.
#[expect(clippy::disallowed_methods, reason = "a test's own files")]
fn certificates(dir: &Path) -> String {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let pem = authority.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(authority, key);
    let own = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["127.0.0.1".into()]).unwrap();
    fs::write(dir.join("crt"), leaf.signed_by(&own, &issuer).unwrap().pem()).unwrap();
    fs::write(dir.join("key"), own.serialize_pem()).unwrap();
    pem
}
