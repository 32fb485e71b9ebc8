//! The clients that speak to registries: one for all hosts that are trusted alike.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use khost::{Error, Result};
use oci_client::{
    Client,
    client::{ClientConfig, ClientProtocol},
};

use crate::{
    download::{CONNECT_LIMIT, USER_AGENT, reason},
    source::{Proxies, RegistryHost},
    trust::Authority,
};

/// Whether they speak HTTP without TLS, whether any certificate will do, and which authorities
/// they may come from: `oci-client` has one answer to each for all hosts of a client.
type Kind = (bool, bool, Vec<Authority>);

/// Clients, made when they are first needed.
pub(crate) struct Clients {
    stall: Duration,
    proxies: Proxies,
    made: Mutex<BTreeMap<Kind, Client>>,
}

impl Clients {
    pub(crate) fn new(stall: Duration, proxies: Proxies) -> Self {
        Self { stall, proxies, made: Mutex::default() }
    }

    /// The client for `host`.
    pub(crate) fn get(&self, host: &RegistryHost) -> Result<Client> {
        let mut clients = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = (host.plain, host.skip_verify, host.authorities.clone());
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        // `oci-client` 0.18 makes a default client before its own, and panics where that fails.
        reqwest::Client::builder().build().map_err(|error| {
            let what = format!("cannot ask {}: this machine has no CA certificates", host.base());
            Error::host("no-ca-certificates", what)
                .because(format!("images take some, even over plain HTTP: {}", reason(&error)))
                .hint(
                    "install the package ca-certificates, or let the variable SSL_CERT_FILE name \
                     a PEM file with the certificate of a CA you trust",
                )
        })?;
        let config = ClientConfig {
            protocol: if host.plain { ClientProtocol::Http } else { ClientProtocol::Https },
            accept_invalid_certificates: host.skip_verify,
            extra_root_certificates: kind.2.iter().map(Authority::for_registry).collect(),
            read_timeout: Some(self.stall),
            connect_timeout: Some(self.stall.min(CONNECT_LIMIT)),
            user_agent: USER_AGENT,
            http_proxy: self.proxies.http.clone(),
            https_proxy: self.proxies.https.clone(),
            no_proxy: self.proxies.none.clone(),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config).map_err(|error| setup_failed(&error))?;
        clients.insert(kind, client.clone());
        Ok(client)
    }

    /// A client that asks `host` nothing but what the answer's headers say.
    pub(crate) fn asking(&self, host: &RegistryHost) -> Result<reqwest::Client> {
        let roots = host.authorities.iter().flat_map(Authority::certificates);
        let builder = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .tls_certs_merge(roots)
            .tls_danger_accept_invalid_certs(host.skip_verify)
            .read_timeout(self.stall)
            .connect_timeout(self.stall.min(CONNECT_LIMIT))
            .redirect(reqwest::redirect::Policy::none());
        let proxies = self.proxies.all()?.into_iter();
        let builder = proxies.fold(builder, reqwest::ClientBuilder::proxy);
        builder.build().map_err(|error| setup_failed(&error))
    }
}

fn setup_failed(error: &(dyn std::error::Error + 'static)) -> Error {
    Error::host("tls-setup", "cannot set up HTTPS").because(reason(error))
}
