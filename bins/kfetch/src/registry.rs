//! Images' manifests and blobs, from registries: `oci-client` speaks to them.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Cursor, Read},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::{AsyncRead, AsyncReadExt as _, TryStreamExt as _};
use khost::{Error, Result};
use kspec::Sha256;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::{BlobResponse, ClientConfig, ClientProtocol},
    errors::{DigestError, OciDistributionError, OciErrorCode},
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
        OCI_IMAGE_MEDIA_TYPE,
    },
    secrets::RegistryAuth,
};
use reqwest::StatusCode;
use tokio::runtime::{Builder, Runtime};

use crate::{
    attempt::Failure,
    download::{Address, Answer, CONNECT_LIMIT, Downloads, Source, USER_AGENT, reason, refusal},
    source::{Proxies, RegistryHost},
};

/// What may be behind a tag.
const ACCEPTED: &[&str] = &[
    OCI_IMAGE_INDEX_MEDIA_TYPE,
    IMAGE_MANIFEST_LIST_MEDIA_TYPE,
    OCI_IMAGE_MEDIA_TYPE,
    IMAGE_MANIFEST_MEDIA_TYPE,
];

/// Longest document that is taken; registries take no larger manifest.
pub(crate) const DOCUMENT_LIMIT: u64 = 4 << 20;

/// The clients of one run, made when the first image is asked for.
pub(crate) struct Registries {
    runtime: Runtime,
    stall: Duration,
    proxies: Proxies,
    /// By whether they speak HTTP without TLS, and whether any certificate will do: `oci-client`
    /// has one answer to each for all hosts of a client.
    clients: Mutex<BTreeMap<(bool, bool), Client>>,
}

/// A repository on a host.
pub(crate) struct Repository<'a> {
    runtime: &'a Runtime,
    client: Client,
    base: String,
    image: Reference,
    greeted: Cell<bool>,
}

impl Registries {
    /// Nothing is asked yet; `stall` is how long no byte may come.
    pub(crate) fn new(stall: Duration, proxies: Proxies) -> Result<Self> {
        // One thread moves the bytes of all: were it each in turn, each would keep buffers.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| {
            Error::host("runtime-failed", "cannot prepare to ask registries").because(error)
        })?;
        Ok(Self { runtime, stall, proxies, clients: Mutex::default() })
    }

    /// The repository of `image` on `host`.
    pub(crate) fn repository(
        &self,
        host: &RegistryHost,
        image: &Reference,
    ) -> Result<Repository<'_>> {
        let [authority, name, tag] =
            [&host.authority, image.repository(), image.tag().unwrap_or_default()].map(Into::into);
        let tagged = Reference::with_tag(authority, name, tag);
        let pinned = image.digest().map(|digest| tagged.clone_with_digest(digest.into()));
        let image = pinned.unwrap_or(tagged);
        let (client, base) = (self.client(host)?, host.base());
        Ok(Repository { runtime: &self.runtime, client, base, image, greeted: Cell::new(false) })
    }

    fn client(&self, host: &RegistryHost) -> Result<Client> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = (host.plain, host.skip_verify);
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
            read_timeout: Some(self.stall),
            connect_timeout: Some(self.stall.min(CONNECT_LIMIT)),
            user_agent: USER_AGENT,
            http_proxy: self.proxies.http.clone(),
            https_proxy: self.proxies.https.clone(),
            no_proxy: self.proxies.none.clone(),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config)
            .map_err(|error| Error::host("tls-setup", "cannot set up HTTPS").because(error))?;
        clients.insert(kind, client.clone());
        Ok(client)
    }
}

impl Repository<'_> {
    /// The address of the manifest `digest`, or of what the reference says.
    pub(crate) fn manifest(&self, digest: Option<Sha256>) -> Address<'_> {
        let of = |digest: Sha256| self.image.clone_with_digest(digest.to_string());
        let image = digest.map_or_else(|| self.image.clone(), of);
        let name = image.digest().or(image.tag()).unwrap_or_default();
        Address { url: self.url("manifests", name), source: Source::Manifest(self, image) }
    }

    /// The address of a blob.
    pub(crate) fn blob(&self, digest: Sha256) -> Address<'_> {
        let digest = digest.to_string();
        Address { url: self.url("blobs", &digest), source: Source::Blob(self, digest) }
    }

    /// The address that `oci-client` asks at, for people.
    fn url(&self, kind: &str, name: &str) -> String {
        format!("{}/v2/{}/{kind}/{name}", self.base, self.image.repository())
    }

    pub(crate) fn pull_manifest(&self, image: &Reference) -> Result<Answer<'_>, Failure> {
        let pull = || self.client.pull_manifest_raw(image, &RegistryAuth::Anonymous, ACCEPTED);
        let (bytes, _) = self.ask(pull)?;
        Ok(Answer { resumed: false, rest: None, body: Box::new(Cursor::new(bytes)) })
    }

    /// A blob from `offset` on, if the registry can do that.
    pub(crate) fn pull_blob(&self, digest: &str, offset: u64) -> Result<Answer<'_>, Failure> {
        let (client, image) = (&self.client, &self.image);
        let response = self.ask(async || {
            if offset == 0 {
                return client.pull_blob_stream(image, digest).await.map(BlobResponse::Full);
            }
            match client.pull_blob_stream_partial(image, digest, offset, None).await {
                // It cannot go on where it stopped.
                Err(OciDistributionError::ServerError { code: 416, .. }) => {
                    client.pull_blob_stream(image, digest).await.map(BlobResponse::Full)
                }
                response => response,
            }
        })?;
        let (resumed, blob) = match response {
            BlobResponse::Full(blob) => (false, blob),
            BlobResponse::Partial(blob) => (true, blob),
        };
        let stream = Stream { runtime: self.runtime, bytes: blob.stream.into_async_read() };
        Ok(Answer { resumed, rest: blob.content_length, body: Box::new(stream) })
    }

    /// Ask as one who has the right to read, which anyone is given who asks for it.
    ///
    /// `oci-client` would see to that by itself, but does not say why when it is refused.
    fn ask<T>(
        &self,
        pull: impl AsyncFn() -> Result<T, OciDistributionError>,
    ) -> Result<T, Failure> {
        let greet = async || {
            let (image, anyone) = (&self.image, &RegistryAuth::Anonymous);
            let greeted = self.client.auth(image, anyone, RegistryOperation::Pull).await;
            greeted.map(|_| self.greeted.set(true)).map_err(failure)
        };
        self.runtime.block_on(async {
            if !self.greeted.get() {
                greet().await?;
            }
            let answer = match pull().await {
                Err(OciDistributionError::UnauthorizedError { .. }) => {
                    greet().await?; // its token may have been too old
                    pull().await
                }
                answer => answer,
            };
            answer.map_err(failure)
        })
    }
}

/// What an error of `oci-client` means for the next attempt.
fn failure(error: OciDistributionError) -> Failure {
    use OciDistributionError as Oci;
    match error {
        Oci::RequestError(error) => Failure::Passing(reason(&error)),
        Oci::AuthenticationFailure(why) | Oci::RegistryTokenDecodeError(why) => {
            let said = why.trim().lines().next().unwrap_or("it does not say why");
            Failure::Passing(format!("no token from the server that gives them: {said}"))
        }
        Oci::UnauthorizedError { .. } => refusal(StatusCode::UNAUTHORIZED),
        Oci::ServerError { code, .. } => refusal(StatusCode::from_u16(code).unwrap_or_default()),
        Oci::RegistryError { envelope, .. } => {
            let said = envelope.errors.iter().map(|e| format!("{:?}: {}", e.code, e.message));
            let why = said.collect::<Vec<_>>().join(", ");
            match envelope.errors.first().map(|error| &error.code) {
                Some(OciErrorCode::Toomanyrequests) => Failure::Passing(why),
                _ => Failure::Lasting(why),
            }
        }
        Oci::DigestError(DigestError::VerificationError { actual, expected }) => {
            let wrong = format!("{actual} instead of {expected}");
            actual.parse().map_or(Failure::Lasting(wrong), Failure::Wrong)
        }
        error => Failure::Lasting(error.to_string()),
    }
}

/// A blob as it comes, for one who waits for it.
struct Stream<'a, R> {
    runtime: &'a Runtime,
    bytes: R,
}

impl<R: AsyncRead + Unpin> Read for Stream<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.runtime.block_on(self.bytes.read(buffer)) {
            // Who reads it compares the digest, with what came earlier, and says what is wrong.
            Err(error) if matches!(error.get_ref(), Some(e) if e.is::<DigestError>()) => Ok(0),
            read => read,
        }
    }
}

/// A manifest, index or configuration, in memory; `digest` is what it must have.
pub(crate) fn document(
    downloads: &Downloads<'_>,
    address: &Address<'_>,
    digest: Option<Sha256>,
) -> Result<Vec<u8>, Failure> {
    let answer = downloads.send(address, 0)?;
    let mut bytes = Vec::new();
    answer
        .body
        .take(DOCUMENT_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Passing(reason(&error)))?;
    match digest {
        Some(digest) if Sha256::of(&bytes) != digest => Err(Failure::Wrong(Sha256::of(&bytes))),
        _ => Ok(bytes),
    }
}
