//! Who is believed, and who one says to be: the PEM files that cluster.toml names.

use std::{path::Path, time::Duration};

use khost::{Error, Host, Result, fs};
use kspec::cluster::ClientPair;
use reqwest::{Certificate, blocking::Client};

/// How a connection is made: one client does for all that are made alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Trust {
    /// Any certificate will do.
    pub(crate) skip_verify: bool,
    /// Whose certificates will do besides those that this machine trusts.
    pub(crate) authorities: Vec<Authority>,
    /// What is shown when a certificate is asked for.
    pub(crate) client: Option<ClientPair>,
    /// How long it may take, if not the usual time.
    pub(crate) connect: Option<Duration>,
}

/// The text of a file with an authority: one certificate or several.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Authority(Vec<u8>);

impl Authority {
    /// The file at `path` of `host`, which `key` of cluster.toml names.
    ///
    /// # Errors
    /// `ca-missing`, or `ca-invalid` when it holds no certificate or one that cannot be used.
    pub(crate) fn read(host: &Host, path: &Path, key: &str) -> Result<Self> {
        let missing = |why: &str| {
            let what = format!("{key} of cluster.toml names `{}`, {why}", path.display());
            Error::input("ca-missing", what)
                .hint("copy the authority's certificate there, or correct the path")
        };
        if !path.is_absolute() {
            return Err(missing("which does not begin with /"));
        }
        let pem = fs::read(&host.path(path))?.ok_or_else(|| missing("which does not exist"))?;
        let invalid = || {
            let what = format!("`{}` holds no certificate authority", path.display());
            Error::input("ca-invalid", what).hint(format!(
                "{key} must be in PEM: `openssl x509 -noout -subject -in {}` reads such a file",
                path.display()
            ))
        };
        let certificates =
            Certificate::from_pem_bundle(&pem).map_err(|error| invalid().because(error))?;
        if certificates.is_empty() {
            return Err(invalid().because("there is no BEGIN CERTIFICATE in it"));
        }
        let usable = Client::builder().tls_certs_only(certificates).build();
        usable.map_err(|error| invalid().because(error))?;
        Ok(Self(pem))
    }

    /// As `reqwest` takes it.
    pub(crate) fn certificates(&self) -> Vec<Certificate> {
        Certificate::from_pem_bundle(&self.0).unwrap_or_default() // it was read before
    }
}
