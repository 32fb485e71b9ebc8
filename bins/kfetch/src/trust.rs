//! Certificate authorities of one's own: the PEM files that cluster.toml names.

use std::path::Path;

use khost::{Error, Host, Result, fs};
use oci_client::client::{Certificate as OciCertificate, CertificateEncoding};
use reqwest::{Certificate, blocking::Client};

/// The text of such a file: one certificate or several.
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

    /// As `oci-client` takes it: all of the text.
    pub(crate) fn for_registry(&self) -> OciCertificate {
        OciCertificate { encoding: CertificateEncoding::Pem, data: self.0.clone() }
    }
}
