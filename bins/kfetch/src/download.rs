//! One blob from one address: resumed, timed, and hashed as it streams by.

use std::{
    cell::Cell,
    collections::BTreeSet,
    io::{self, Read},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use khost::{Error, Result};
use kspec::Sha256;
use oci_client::Reference;
use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{CONTENT_RANGE, RANGE},
};

use crate::{
    attempt::Failure,
    partial::Partial,
    registry::{Registries, Repository},
    source::Sources,
    store::Store,
};

/// The code of the error of those who were told to stop because another failed.
pub(crate) const STOPPED: &str = "stopped";

/// How long a connection may take: a host that drops packets is not worth waiting for.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

pub(crate) const USER_AGENT: &str = concat!("kfetch/", env!("CARGO_PKG_VERSION"));

/// Downloads of one run: how often to ask, whom not to ask first, when to stop.
pub(crate) struct Downloads<'a> {
    pub(crate) store: &'a Store,
    client: Client,
    pub(crate) registries: Registries,
    pub(crate) attempts: u8,
    pub(crate) silent: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
}

/// Somewhere to ask.
pub(crate) struct Address<'a> {
    pub(crate) url: String,
    pub(crate) source: Source<'a>,
}

/// Who is asked, and for what.
pub(crate) enum Source<'a> {
    /// Whoever serves the URL.
    Web,
    /// A registry, for a manifest.
    Manifest(&'a Repository<'a>, Reference),
    /// A registry, for the blob with this digest.
    Blob(&'a Repository<'a>, String),
}

/// Bytes that come.
pub(crate) struct Answer<'a> {
    /// They begin at the offset that was asked for, not with the first.
    pub(crate) resumed: bool,
    /// How many, if that is known.
    pub(crate) rest: Option<u64>,
    pub(crate) body: Box<dyn Read + 'a>,
}

impl<'a> Downloads<'a> {
    /// Downloads into `store`; `stall` is how long no byte may come.
    pub(crate) fn new(store: &'a Store, sources: &Sources, stall: Duration) -> Result<Self> {
        let proxies = sources.proxies.all()?;
        let builder = || {
            let builder = Client::builder();
            proxies
                .iter()
                .cloned()
                .fold(builder, reqwest::blocking::ClientBuilder::proxy)
                .user_agent(USER_AGENT)
                .timeout(stall) // of each read, not of the whole
                .connect_timeout(stall.min(CONNECT_LIMIT))
        };
        // A machine without CA certificates can still fetch from a mirror that speaks HTTP.
        let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
        let client = client
            .map_err(|error| Error::host("tls-setup", "cannot set up HTTPS").because(error))?;
        Ok(Self {
            store,
            client,
            registries: Registries::new(stall, sources.proxies.clone())?,
            attempts: sources.attempts(),
            silent: Mutex::default(),
            stop: AtomicBool::new(false),
        })
    }

    /// Let the others end early; what they have is kept.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Fails when the others were told to stop.
    pub(crate) fn go_on(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::host(STOPPED, "stopped, because another download failed"));
        }
        Ok(())
    }

    /// Have the blob `digest`, which is `what` to people, in the store. `at` hears how many bytes
    /// there are, and of how many.
    pub(crate) fn blob(
        &self,
        what: &str,
        digest: Sha256,
        addresses: &[Address<'_>],
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<()> {
        let Some(claim) = self.store.claim(digest) else { return Ok(()) };
        self.ask(what, Some(digest), addresses, |address| self.transfer(digest, address, at))?;
        claim.fetched();
        Ok(())
    }

    fn transfer(
        &self,
        digest: Sha256,
        address: &Address<'_>,
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let mut partial = Partial::open(self.store, digest)?;
        let mut resumed = partial.length > 0;
        if !resumed || partial.digest() != digest {
            let answer = self.send(address, partial.length)?;
            resumed = answer.resumed;
            if !resumed {
                partial.start_over()?; // all of it comes, whatever was asked for
            }
            self.receive(answer, &mut partial, at)?;
        }
        let found = partial.digest();
        if found == digest {
            return Ok(partial.keep(self.store, digest)?);
        }
        partial.discard()?;
        if resumed {
            return self.transfer(digest, address, at); // what was kept did not fit: all of it, then
        }
        Err(Failure::Wrong(found))
    }

    /// Ask for everything from `offset` on, or for all of it where that is not possible.
    pub(crate) fn send<'b>(
        &'b self,
        address: &'b Address<'_>,
        offset: u64,
    ) -> Result<Answer<'b>, Failure> {
        match &address.source {
            Source::Web => self.get(&address.url, offset),
            Source::Manifest(repository, image) => repository.pull_manifest(image),
            Source::Blob(repository, digest) => repository.pull_blob(digest, offset),
        }
    }

    fn get(&self, url: &str, offset: u64) -> Result<Answer<'_>, Failure> {
        let mut request = self.client.get(url);
        if offset > 0 {
            request = request.header(RANGE, format!("bytes={offset}-"));
        }
        let response = request.send().map_err(|error| Failure::Passing(reason(&error)))?;
        let resumed = match response.status() {
            StatusCode::OK => false,
            StatusCode::PARTIAL_CONTENT if begins_at(&response, offset) => true,
            StatusCode::PARTIAL_CONTENT | StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => {
                return self.get(url, 0); // it cannot go on where it stopped
            }
            status => return Err(refusal(status)),
        };
        Ok(Answer { resumed, rest: response.content_length(), body: Box::new(response) })
    }

    fn receive(
        &self,
        mut answer: Answer<'_>,
        partial: &mut Partial,
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let total = answer.rest.map(|rest| partial.length + rest);
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.go_on()?;
            at(partial.length, total);
            let length = match answer.body.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    let (had, why) = (partial.length, reason(&error));
                    return Err(Failure::Passing(format!("broke off after {had} bytes: {why}")));
                }
            };
            if length == 0 {
                return Ok(());
            }
            partial.append(&buffer[..length])?;
        }
    }
}

fn begins_at(response: &Response, offset: u64) -> bool {
    let range = response.headers().get(CONTENT_RANGE).and_then(|range| range.to_str().ok());
    range.is_some_and(|range| range.starts_with(&format!("bytes {offset}-")))
}

/// What a status that brings no bytes means for the next attempt.
pub(crate) fn refusal(status: StatusCode) -> Failure {
    if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) {
        return Failure::Passing(format!("HTTP {status}"));
    }
    Failure::Lasting(format!("HTTP {status}"))
}

/// The deepest cause says it best: "connection refused".
pub(crate) fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Adds up several downloads of one thing.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    before: Cell<u64>,
}

impl Sum {
    /// The bytes of everything so far when the present download has `position`.
    pub(crate) fn at(&self, position: u64) -> u64 {
        self.before.get() + position
    }

    /// The present one is complete, with `size` bytes.
    pub(crate) fn complete(&self, size: u64) {
        self.before.set(self.before.get() + size);
    }
}
