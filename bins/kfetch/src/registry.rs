//! One repository on one registry host (OCI distribution specification 1.1).
//!
//! Spoken over the same client as every other download, so that everything is timed, retried and
//! verified in one way. The crate `oci-client` is not used: 0.18 cannot be made to work on a
//! machine without CA certificates, not even to reach a plain HTTP mirror; it panics there.

use std::{cell::RefCell, io::Read as _};

use kspec::Sha256;
use reqwest::{
    blocking::{Client, Response},
    header::WWW_AUTHENTICATE,
};
use serde::Deserialize;
use url::Url;

use crate::{
    attempt::Failure,
    download::{Address, Downloads, reason},
    reference::Reference,
    source::RegistryHost,
};

/// What may be behind a tag.
pub(crate) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// Longest document that is read into memory; registries take no larger manifest.
const DOCUMENT_LIMIT: u64 = 4 << 20;

/// A repository on a host.
#[derive(Debug)]
pub(crate) struct Repository {
    host: RegistryHost,
    name: String,
    wanted: String,
    access: Access,
}

/// The right to read a repository, which anyone is given who asks.
#[derive(Debug)]
pub(crate) struct Access {
    scope: String,
    token: RefCell<Option<String>>,
}

impl Repository {
    /// The repository of `image` on `host`.
    pub(crate) fn new(host: RegistryHost, image: &Reference) -> Self {
        let (name, wanted) = (image.repository.clone(), image.wanted());
        let access = Access { scope: format!("repository:{name}:pull"), token: RefCell::default() };
        Self { host, name, wanted, access }
    }

    fn address(&self, kind: &str, name: &str) -> Address<'_> {
        Address {
            url: format!("{}/v2/{}/{kind}/{name}", self.host.base(), self.name),
            skip_verify: self.host.skip_verify,
            access: Some(&self.access),
        }
    }

    /// The address of the manifest `digest`, or of what the reference says.
    pub(crate) fn manifest(&self, digest: Option<Sha256>) -> Address<'_> {
        let digest = digest.map(|digest| digest.to_string());
        self.address("manifests", digest.as_deref().unwrap_or(&self.wanted))
    }

    /// The address of a blob.
    pub(crate) fn blob(&self, digest: Sha256) -> Address<'_> {
        self.address("blobs", &digest.to_string())
    }
}

/// A manifest, index or configuration, in memory; `digest` is what it must have.
pub(crate) fn document(
    downloads: &Downloads<'_>,
    address: &Address<'_>,
    digest: Option<Sha256>,
) -> Result<Vec<u8>, Failure> {
    let response = downloads.send(address, 0)?;
    let mut bytes = Vec::new();
    response
        .take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Passing(reason(&error)))?;
    match digest {
        Some(digest) if Sha256::of(&bytes) != digest => Err(Failure::Wrong(Sha256::of(&bytes))),
        _ => Ok(bytes),
    }
}

impl Access {
    /// The token, if one was ever asked for.
    pub(crate) fn token(&self) -> Option<String> {
        self.token.borrow().clone()
    }

    /// Get the token that `refusal` says is needed.
    pub(crate) fn renew(&self, client: &Client, refusal: &Response) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>, // the name in OAuth 2; registries may send either
        }
        let refused = || Failure::Lasting("HTTP 401 Unauthorized".into());
        let url = self.token_url(refusal).ok_or_else(refused)?;
        let answer = client.get(url.clone()).send();
        let answer =
            answer.map_err(|error| Failure::Passing(format!("{url}: {}", reason(&error))))?;
        let status = answer.status();
        let mut body = Vec::new();
        answer
            .take(DOCUMENT_LIMIT)
            .read_to_end(&mut body)
            .map_err(|error| Failure::Passing(reason(&error)))?;
        let given: Option<Given> = serde_json::from_slice(&body).ok();
        match given.and_then(|given| given.token.or(given.access_token)) {
            Some(token) => {
                *self.token.borrow_mut() = Some(token);
                Ok(())
            }
            None => Err(Failure::Passing(format!("no token from {url}: HTTP {status}"))),
        }
    }

    fn token_url(&self, refusal: &Response) -> Option<Url> {
        let challenge = refusal.headers().get(WWW_AUTHENTICATE)?.to_str().ok()?;
        let (realm, service) = bearer(challenge)?;
        let mut url = Url::parse(realm).ok()?;
        if let Some(service) = service {
            url.query_pairs_mut().append_pair("service", service);
        }
        url.query_pairs_mut().append_pair("scope", &self.scope);
        Some(url)
    }
}

/// Realm and service of a `Bearer` challenge (RFC 6750, section 3).
fn bearer(challenge: &str) -> Option<(&str, Option<&str>)> {
    let (scheme, parameters) = challenge.split_once(' ')?;
    let value = |key: &str| {
        let from = parameters.find(&format!("{key}=\""))? + key.len() + 2;
        parameters[from..].split('"').next()
    };
    scheme.eq_ignore_ascii_case("bearer").then_some((value("realm")?, value("service")))
}

#[cfg(test)]
mod tests {
    #[test]
    fn challenges() {
        let docker = r#"Bearer realm="https://a.io/token",service="r.io",scope="x""#;
        assert_eq!(super::bearer(docker), Some(("https://a.io/token", Some("r.io"))));
        assert_eq!(super::bearer(r#"bearer realm="r""#), Some(("r", None)));
        assert_eq!(super::bearer(r#"Basic realm="r""#), None);
        assert_eq!(super::bearer("Bearer"), None);
    }
}
