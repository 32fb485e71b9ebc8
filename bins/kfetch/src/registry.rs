//! Images' manifests and blobs, from registries (OCI distribution specification 1.1, "Pull").

use std::{cell::RefCell, time::Duration};

use khost::{
    Result,
    docker_config::{DockerConfig, UserAndPassword, unprotected},
};
use kspec::Sha256;
use reqwest::{
    StatusCode,
    blocking::{RequestBuilder, Response},
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue},
};
use url::{Position, Url};

use crate::{
    attempt::Failure,
    challenge::{self, Challenge},
    clients::{Asking, Clients},
    credentials,
    download::{Address, Downloads, Source, refusal},
    reference::{Named, Reference},
    registry_host::RegistryHost,
    source::Sources,
    web,
};

/// What may be behind a tag, and what else registries send.
const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
                        application/vnd.docker.distribution.manifest.list.v2+json, \
                        application/vnd.oci.image.manifest.v1+json, \
                        application/vnd.docker.distribution.manifest.v2+json, */*;q=0.5";

/// Longest document that is taken; registries take no larger manifest.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 << 20;

/// Longest reply with a token: they are a few kilobytes.
const TOKEN_LIMIT: usize = 1 << 20;

/// Those who may be asked in one run.
pub(crate) struct Registries {
    stall: Duration,
    clients: Clients,
    passwords: DockerConfig,
}

/// A repository on a host.
pub(crate) struct Repository {
    /// How long it may take to say a little: a document, a token.
    limit: Duration,
    asking: Asking,
    host: RegistryHost,
    image: Reference,
    login: Option<UserAndPassword>,
    /// It knows what tags mean.
    pub(crate) resolves: bool,
    /// What it was content with the last time.
    authorization: RefCell<Option<HeaderValue>>,
}

impl Registries {
    /// Nothing is asked yet; `stall` is how long no byte may come.
    pub(crate) fn new(stall: Duration, sources: &Sources, clients: Clients) -> Result<Self> {
        Ok(Self { stall, clients, passwords: sources.passwords()? })
    }

    /// The repository of `image` on `host`.
    pub(crate) fn repository(&self, host: &RegistryHost, image: &Reference) -> Result<Repository> {
        Ok(Repository {
            limit: self.stall,
            asking: self.clients.get(&host.trust)?,
            login: credentials::for_host(&self.passwords, host)?,
            host: host.clone(),
            image: image.clone(),
            resolves: host.resolves,
            authorization: RefCell::default(),
        })
    }
}

impl Repository {
    /// The address of the manifest `digest`, or of what the reference says.
    pub(crate) fn manifest(&self, digest: Option<Sha256>) -> Address<'_> {
        let named = digest.map_or_else(|| self.image.named.clone(), Named::Digest);
        Address { url: self.url("manifests", &named), source: Source::Manifest(self) }
    }

    /// The address of a blob.
    pub(crate) fn blob(&self, digest: Sha256) -> Address<'_> {
        Address { url: self.url("blobs", &Named::Digest(digest)), source: Source::Blob(self) }
    }

    fn url(&self, kind: &str, named: &Named) -> String {
        format!("{}/{}/{kind}/{named}", self.host.root, self.image.repository)
    }

    /// Ask for what is at `url` from `offset` on, and say who one is if that is wanted.
    pub(crate) fn ask(&self, url: &str, offset: u64) -> Result<Response, Failure> {
        if self.asking.alone && !self.host.is_plain() {
            let why = "this machine trusts no authority: install the package ca-certificates, or \
                       let SSL_CERT_FILE name a PEM file with one";
            return Err(Failure::Lasting(why.into()));
        }
        let mut url = Url::parse(url).map_err(|error| Failure::Lasting(error.to_string()))?;
        if let Some(registry) = &self.host.mirrors {
            url.query_pairs_mut().append_pair("ns", registry); // as containerd does
        }
        let send = || {
            let request = self.request(url.clone()).header(ACCEPT, ACCEPTED);
            let known = self.authorization.borrow().clone();
            web::send(
                known.into_iter().fold(request, |r, who| r.header(AUTHORIZATION, who)),
                offset,
            )
        };
        let response = send()?;
        // Where it redirects to may not ask who one is: the password is for the host alone.
        if response.status() != StatusCode::UNAUTHORIZED || !self.is_from_host(&response) {
            return Ok(response);
        }
        match self.authorize(response.headers())? {
            Some(authorization) => {
                self.authorization.replace(Some(authorization));
                send()
            }
            None => Ok(response),
        }
    }

    fn request(&self, url: Url) -> RequestBuilder {
        self.asking.client.get(url).headers(self.host.headers.clone())
    }

    fn is_from_host(&self, response: &Response) -> bool {
        response.url()[..Position::AfterPort] == self.host.base()
    }

    /// What the host wants, as far as it can be given: it may be wanted again, when a token is too
    /// old.
    fn authorize(&self, asked: &HeaderMap) -> Result<Option<HeaderValue>, Failure> {
        match Challenge::of(asked, &self.image.repository) {
            Some(Challenge::Basic) => Ok(self.login.as_ref().and_then(basic)),
            Some(Challenge::Bearer(url)) => self.token(url).map(Some),
            None => Ok(None),
        }
    }

    /// The right to read, which anyone is given who asks for it, or who has the password.
    fn token(&self, url: Url) -> Result<HeaderValue, Failure> {
        if self.login.is_some() && challenge::is_open(&url) {
            let realm = &url[..Position::AfterPath];
            return Err(Failure::Here(unprotected(realm)));
        }
        let no = |why: &str| format!("no token from the server that gives them: {why}");
        let request = self.request(url);
        let login = self.login.as_ref().and_then(basic);
        let request = login.into_iter().fold(request, |r, who| r.header(AUTHORIZATION, who));
        let response = web::send(request, 0)?;
        let status = response.status();
        if status != StatusCode::OK {
            return Err(match refusal(status) {
                Failure::Passing(why) => Failure::Passing(no(&why)),
                Failure::Lasting(why) => Failure::Lasting(no(&why)),
                other => other,
            });
        }
        let reply = web::short(response, TOKEN_LIMIT, self.limit)?;
        let token = challenge::token(&reply).and_then(|token| secret(format!("Bearer {token}")));
        token.ok_or_else(|| Failure::Passing(no("it says something else")))
    }
}

/// RFC 7617.
fn basic(UserAndPassword { user, password }: &UserAndPassword) -> Option<HeaderValue> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    secret(format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
}

/// A header that no log shows.
fn secret(text: String) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A manifest, index or configuration, in memory; `digest` is what it must have.
pub(crate) fn document(
    downloads: &Downloads<'_>,
    address: &Address<'_>,
    digest: Option<Sha256>,
) -> Result<Vec<u8>, Failure> {
    let answer = downloads.send(address, 0)?;
    if answer.rest.is_some_and(|rest| rest > DOCUMENT_LIMIT) {
        return Err(Failure::Lasting(format!("it has more than {DOCUMENT_LIMIT} bytes")));
    }
    let limit = usize::try_from(DOCUMENT_LIMIT).unwrap_or(usize::MAX);
    let bytes = web::short(answer.body, limit, downloads.stall)?;
    match digest.or(answer.said) {
        Some(digest) if Sha256::of(&bytes) != digest => Err(Failure::Wrong(Sha256::of(&bytes))),
        _ => Ok(bytes),
    }
}
