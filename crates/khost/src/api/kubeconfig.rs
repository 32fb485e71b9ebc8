//! Which API server a kubeconfig names, and as whom it is asked (Kubernetes, "kubeconfig (v1)").

use std::path::Path;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use crate::{fs, http::Trust};

/// What is used of a kubeconfig, with what it refers to.
#[derive(PartialEq, Eq)]
pub(super) struct Kubeconfig {
    /// `https://HOST:PORT`.
    pub(super) server: String,
    ca: Vec<u8>,
    /// Our certificate followed by its key: PEM.
    identity: Vec<u8>,
}

impl std::fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kubeconfig").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Kubeconfig {
    /// The one at `path`, of the first cluster and the first user: kubeadm's have one of each.
    ///
    /// # Errors
    /// What it lacks.
    pub(super) fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_text(path).map_err(|error| error.chain())?.ok_or("it is not there")?;
        let documents = kspec::from_yaml_documents(&text).map_err(|_| "it is no YAML")?;
        let [document] = documents.as_slice() else { return Err("it is no kubeconfig".into()) };
        let (cluster, user) = (&document["clusters"][0]["cluster"], &document["users"][0]["user"]);
        let server = cluster["server"].as_str().ok_or("it names no server")?;
        let (certificate, key) = (pem(user, "client-certificate")?, pem(user, "client-key")?);
        let both = certificate == key; // as in the kubelet's, which renews them together
        Ok(Self {
            server: server.trim_end_matches('/').to_owned(),
            ca: pem(cluster, "certificate-authority")?,
            identity: if both { key } else { [certificate, key].join(&b'\n') },
        })
    }

    /// One that names `server`, and nobody.
    #[cfg(test)]
    pub(super) fn of(server: &str) -> Self {
        Self { server: server.into(), ca: Vec::new(), identity: Vec::new() }
    }

    pub(super) fn trust(&self) -> Trust {
        Trust { ca: Some(self.ca.clone()), identity: Some(self.identity.clone()) }
    }
}

/// What `part` has as `name`: in itself, or in a file that it names.
fn pem(part: &Value, name: &str) -> Result<Vec<u8>, String> {
    if let Some(data) = part[format!("{name}-data")].as_str() {
        return BASE64_STANDARD.decode(data).map_err(|_| format!("its {name}-data is no base64"));
    }
    let file = part[name].as_str().ok_or_else(|| format!("it has no {name}"))?;
    let text = fs::read_text(Path::new(file)).map_err(|error| error.chain())?;
    Ok(text.ok_or_else(|| format!("its {name} {file} is not there"))?.into_bytes())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "kubeadm's hand, in a test")]
mod tests {
    use super::Kubeconfig;

    fn read(text: &str) -> Result<Kubeconfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.conf");
        std::fs::write(&path, text).unwrap();
        Kubeconfig::read(&path)
    }

    const CLUSTER: &str = "clusters:\n- cluster:\n    certificate-authority-data: Q0E=\n    \
                           server: https://192.0.2.1:6443\n  name: a\n";

    #[test]
    fn keys_are_in_it_or_in_files_that_it_names() {
        let inside = "users:\n- name: a\n  user: {client-certificate-data: Q0VSVA==, \
                      client-key-data: S0VZ}\n";
        let found = read(&format!("{CLUSTER}{inside}")).unwrap();
        assert_eq!((found.server.as_str(), &*found.ca), ("https://192.0.2.1:6443", &b"CA"[..]));
        assert_eq!(found.identity, b"CERT\nKEY");
        assert!(!format!("{found:?}").contains("75")); // no byte of the key

        let dir = tempfile::tempdir().unwrap();
        let both = dir.path().join("current.pem");
        std::fs::write(&both, "PEM").unwrap();
        let file = both.display();
        let user = format!("users:\n- user: {{client-certificate: {file}, client-key: {file}}}\n");
        assert_eq!(read(&format!("{CLUSTER}{user}")).unwrap().identity, b"PEM");
    }

    #[test]
    fn what_it_lacks_is_told() {
        let lacking = |text: &str| read(text).unwrap_err();
        assert_eq!(lacking("{"), "it is no YAML");
        assert_eq!(lacking(""), "it is no kubeconfig");
        assert_eq!(lacking("clusters: []\n"), "it names no server");
        assert_eq!(lacking(&format!("{CLUSTER}users: []\n")), "it has no client-certificate");
        let user = "users:\n- user: {client-certificate-data: '-'}\n";
        assert_eq!(
            lacking(&format!("{CLUSTER}{user}")),
            "its client-certificate-data is no base64"
        );
        let user = "users:\n- user: {client-certificate: /nowhere.pem}\n";
        assert_eq!(
            lacking(&format!("{CLUSTER}{user}")),
            "its client-certificate /nowhere.pem is not there"
        );
    }
}
