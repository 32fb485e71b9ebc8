//! HTTP clients: one for all hosts that are trusted alike.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use khost::{Error, Host, Result, client_certificate};
use kspec::cluster::ClientPair;
use reqwest::{
    Identity, Proxy,
    blocking::{Client, ClientBuilder},
};

use crate::{
    download::{CONNECT_LIMIT, USER_AGENT, reason},
    source::Sources,
    trust::{Authority, Trust},
    web,
};

/// Clients, made when they are first needed.
pub(crate) struct Clients {
    stall: Duration,
    proxies: Vec<Proxy>,
    host: Host,
    made: Mutex<BTreeMap<Trust, Asking>>,
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    pub(crate) client: Client,
    /// It trusts nobody, since this machine does not: no use to ask where there is TLS.
    pub(crate) alone: bool,
}

impl Clients {
    /// `stall` is how long no byte may come.
    pub(crate) fn new(stall: Duration, sources: &Sources) -> Result<Self> {
        let (proxies, host) = (sources.proxies.all()?, sources.host.clone());
        Ok(Self { stall, proxies, host, made: Mutex::default() })
    }

    /// The client for hosts that are to be trusted so.
    pub(crate) fn get(&self, trust: &Trust) -> Result<Asking> {
        let mut clients = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = clients.get(trust) {
            return Ok(made.clone());
        }
        let identity = trust.client.as_ref().map(|pair| self.identity(pair)).transpose()?;
        let builder = || {
            let builder =
                self.proxies.iter().cloned().fold(Client::builder(), ClientBuilder::proxy);
            let builder = builder
                .user_agent(USER_AGENT)
                .redirect(web::redirects())
                .timeout(self.stall) // of each read, not of the whole
                .connect_timeout(trust.connect.unwrap_or(CONNECT_LIMIT).min(self.stall))
                .tls_danger_accept_invalid_certs(trust.skip_verify);
            identity.iter().cloned().fold(builder, ClientBuilder::identity)
        };
        let own = || trust.authorities.iter().flat_map(Authority::certificates);
        // A machine without CA certificates can still ask those it needs none for.
        let (client, alone) = match builder().tls_certs_merge(own()).build() {
            Err(_) => {
                let alone = !trust.skip_verify && trust.authorities.is_empty();
                (builder().tls_certs_only(own()).build(), alone)
            }
            client => (client, false),
        };
        let client = client.map_err(|error| {
            Error::host("tls-setup", "cannot set up HTTPS").because(reason(&error))
        })?;
        let asking = Asking { client, alone };
        clients.insert(trust.clone(), asking.clone());
        Ok(asking)
    }

    fn identity(&self, pair: &ClientPair) -> Result<Identity> {
        let pem = client_certificate::read(&self.host, pair)?;
        // Tried by itself: that a key is another certificate's is noticed no earlier.
        let fits = |identity: &Identity| {
            Client::builder().tls_certs_only([]).identity(identity.clone()).build().is_ok()
        };
        Identity::from_pem(&pem).ok().filter(fits).ok_or_else(|| {
            let path = pair.certificate.display();
            Error::input("registry-client-invalid", format!("`{path}` cannot be shown to a host"))
                .because(
                    "it and its private key are not as `openssl x509` and `openssl pkey` write \
                     them, or do not belong together",
                )
                .hint("correct `client` of the registry host in cluster.toml")
        })
    }
}
