//! Images' manifests and blobs, from registries: `oci-client` speaks to them.

use std::{
    cell::Cell,
    io::{self, Cursor, Read},
    time::{Duration, Instant},
};

use futures_util::{AsyncRead, AsyncReadExt as _, TryStreamExt as _};
use khost::{
    Error, Result,
    docker_config::{DockerConfig, is_this_machine, unprotected},
};
use kspec::Sha256;
use oci_client::{
    Client, Reference, RegistryOperation,
    client::BlobResponse,
    errors::{DigestError, OciDistributionError, OciErrorCode},
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE,
        OCI_IMAGE_MEDIA_TYPE,
    },
    secrets::RegistryAuth,
};
use reqwest::{StatusCode, header::WWW_AUTHENTICATE};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use crate::{
    attempt::Failure,
    clients::Clients,
    credentials,
    download::{Address, Answer, Downloads, Source, reason, refusal},
    source::{RegistryHost, Sources},
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

/// Those who may be asked in one run.
pub(crate) struct Registries {
    runtime: Runtime,
    stall: Duration,
    clients: Clients,
    passwords: DockerConfig,
}

/// A repository on a host.
pub(crate) struct Repository<'a> {
    runtime: &'a Runtime,
    /// How long it may take to say a little: a document, a token, that bytes will come.
    limit: Duration,
    client: Client,
    base: String,
    image: Reference,
    login: RegistryAuth,
    /// Who asks first where a password is about to be sent.
    first: Option<reqwest::Client>,
    greeted: Cell<bool>,
}

impl Registries {
    /// Nothing is asked yet; `stall` is how long no byte may come.
    pub(crate) fn new(stall: Duration, sources: &Sources) -> Result<Self> {
        // One thread moves the bytes of all: were it each in turn, each would keep buffers.
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| {
            Error::host("runtime-failed", "cannot prepare to ask registries").because(error)
        })?;
        let clients = Clients::new(stall, sources.proxies.clone());
        Ok(Self { runtime, stall, clients, passwords: sources.passwords()? })
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
        let login = credentials::for_host(&self.passwords, host)?;
        let first = match login {
            RegistryAuth::Anonymous => None,
            _ => Some(self.clients.asking(host)?),
        };
        Ok(Repository {
            runtime: &self.runtime,
            limit: self.stall,
            client: self.clients.get(host)?,
            base: host.base(),
            image: pinned.unwrap_or(tagged),
            login,
            first,
            greeted: Cell::new(false),
        })
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
        let pull = || self.client.pull_manifest_raw(image, &self.login, ACCEPTED);
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

    /// Refuse to go on where the password is wanted by a server that speaks no HTTPS.
    async fn keep_password(&self) -> Result<(), Failure> {
        let Some(first) = &self.first else { return Ok(()) };
        let answer = first.get(format!("{}/v2/", self.base)).send().await;
        let answer = answer.map_err(|error| Failure::Passing(reason(&error)))?;
        for challenge in answer.headers().get_all(WWW_AUTHENTICATE) {
            let challenge = String::from_utf8_lossy(challenge.as_bytes());
            if let Some(realm) = plain_realm(&challenge) {
                return Err(Failure::Here(unprotected(&realm)));
            }
        }
        Ok(())
    }

    /// Ask as one who has the right to read, which anyone is given who asks for it, or who has the
    /// password.
    ///
    /// `oci-client` would see to that by itself, but does not say why when it is refused.
    fn ask<T>(
        &self,
        pull: impl AsyncFn() -> Result<T, OciDistributionError>,
    ) -> Result<T, Failure> {
        let greet = async || {
            self.keep_password().await?;
            let greeting = self.client.auth(&self.image, &self.login, RegistryOperation::Pull);
            self.in_time(greeting).await?.map(|_| self.greeted.set(true)).map_err(failure)
        };
        self.runtime.block_on(async {
            if !self.greeted.get() {
                greet().await?;
            }
            let answer = match self.in_time(pull()).await? {
                Err(OciDistributionError::UnauthorizedError { .. }) => {
                    greet().await?; // its token may have been too old
                    self.in_time(pull()).await?
                }
                answer => answer,
            };
            answer.map_err(failure)
        })
    }

    /// What comes of `asking`, unless that takes too long: one who sends a byte now and then is
    /// never silent.
    async fn in_time<T>(&self, asking: impl Future<Output = T>) -> Result<T, Failure> {
        timeout(self.limit, asking).await.map_err(|_| late(self.limit))
    }
}

fn late(limit: Duration) -> Failure {
    Failure::Passing(format!("not all of the answer came within {} s", limit.as_secs()))
}

/// Where a token is given for a password (distribution: "Token Authentication"), if that is
/// neither HTTPS nor on this machine.
fn plain_realm(challenge: &str) -> Option<String> {
    let (_, realm) = challenge.split_once("realm=\"")?;
    let realm = realm.split('"').next()?;
    let url = url::Url::parse(realm).ok().filter(|url| url.scheme() == "http")?;
    let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
    (!is_this_machine(authority)).then(|| realm.to_owned())
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
    let (mut body, begun) = (answer.body.take(DOCUMENT_LIMIT), Instant::now());
    let (mut bytes, mut buffer) = (Vec::new(), vec![0; 1 << 14]);
    loop {
        match body.read(&mut buffer).map_err(|error| Failure::Passing(reason(&error)))? {
            0 => break,
            length => bytes.extend_from_slice(&buffer[..length]),
        }
        if begun.elapsed() > downloads.stall {
            return Err(late(downloads.stall));
        }
    }
    match digest {
        Some(digest) if Sha256::of(&bytes) != digest => Err(Failure::Wrong(Sha256::of(&bytes))),
        _ => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn where_a_password_would_be_sent_in_the_clear() {
        let realm = |realm: &str| super::plain_realm(&format!("Bearer service=\"s\",{realm}"));
        assert_eq!(realm("realm=\"http://auth/token\"").as_deref(), Some("http://auth/token"));
        assert_eq!(realm("realm=\"HTTP://auth/token\"").as_deref(), Some("HTTP://auth/token"));
        assert_eq!(realm("realm=\"https://auth/token\""), None);
        assert_eq!(realm("realm=\"http://127.0.0.1:80/token\""), None);
        assert_eq!(super::plain_realm("Basic realm=\"Registry\""), None);
    }
}
