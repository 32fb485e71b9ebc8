//! The three ways in which a certificate and its key lie on a disk.

use std::path::{Path, PathBuf};

use khost::{Host, Result, fs};
use rcgen::KeyPair;

use crate::{
    inspect::Seen,
    kubeconfig::{self, Client},
    pair::Found,
};

/// Where a certificate and its key are, by paths on the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    /// Two PEM files: certificate, key.
    Pair(PathBuf, PathBuf),
    /// One PEM file with both.
    Both(PathBuf),
    /// A kubeconfig with both embedded.
    Kubeconfig(PathBuf),
}

/// What is there.
#[derive(Debug)]
pub(crate) struct Held {
    /// The certificate.
    pub(crate) cert: Found<Seen>,
    /// The key.
    pub(crate) key: Found<KeyPair>,
}

impl Holder {
    /// The file to name to people.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Pair(path, _) | Self::Both(path) | Self::Kubeconfig(path) => path,
        }
    }

    /// PEM of the certificate followed by its key, to prove oneself with; none when not both are
    /// there.
    pub(crate) fn identity(&self, host: &Host) -> Result<Option<Vec<u8>>> {
        let read = |path: &Path| fs::read(&host.path(path));
        Ok(match self {
            Self::Pair(cert, key) => {
                read(cert)?.zip(read(key)?).map(|(cert, key)| [cert, key].concat())
            }
            Self::Both(path) => read(path)?,
            Self::Kubeconfig(path) => {
                let text = fs::read_text(&host.path(path))?;
                match text.map(|text| kubeconfig::client(&text)) {
                    Some(Ok(Client::Embedded(cert, key))) => Some([cert, key].concat()),
                    _ => None,
                }
            }
        })
    }

    /// Read both.
    pub(crate) fn read(&self, host: &Host) -> Result<Held> {
        Ok(match self {
            Self::Pair(cert, key) => Held {
                cert: fs::read(&host.path(cert))?.map(|bytes| Seen::parse(&bytes)),
                key: fs::read_text(&host.path(key))?.map(|text| self::key(&text)),
            },
            Self::Both(path) => Held::of(fs::read_text(&host.path(path))?.as_deref()),
            Self::Kubeconfig(path) => match fs::read_text(&host.path(path))? {
                None => Held { cert: None, key: None },
                Some(text) => Held::embedded(&text),
            },
        })
    }
}

impl Held {
    fn of(text: Option<&str>) -> Self {
        Self { cert: text.map(|text| Seen::parse(text.as_bytes())), key: text.map(key) }
    }

    fn embedded(text: &str) -> Self {
        let damaged = |why: String| Self { cert: Some(Err(why)), key: None };
        match kubeconfig::client(text) {
            Ok(Client::Embedded(cert, key)) => Self {
                cert: Some(Seen::parse(&cert)),
                key: Some(self::key(&String::from_utf8_lossy(&key))),
            },
            Ok(Client::File(_) | Client::None) => damaged("it holds no certificate".into()),
            Err(why) => damaged(why),
        }
    }

    /// What is wrong with the key, if something is: it is not there, not readable, or another's.
    pub(crate) fn key_fault(&self) -> Option<String> {
        let seen = self.cert.as_ref()?.as_ref().ok()?;
        match &self.key {
            None => Some("its key does not exist".into()),
            Some(Err(_)) => Some("its key cannot be read".into()),
            Some(Ok(key)) if key.public_key_raw() != seen.public_key => {
                Some("its key belongs to another certificate".into())
            }
            Some(Ok(_)) => None,
        }
    }
}

/// The first private key in `text`, which may hold certificates as well. PKCS #8, PKCS #1 and
/// SEC 1, as openssl, kubeadm and the kubelet write them.
fn key(text: &str) -> Result<KeyPair, String> {
    let missing = || "it holds no private key".to_owned();
    let label = text.find("PRIVATE KEY-----").ok_or_else(missing)?;
    let start = text[..label].rfind("-----BEGIN").ok_or_else(missing)?;
    KeyPair::from_pem(&text[start..]).map_err(|error| error.to_string())
}
