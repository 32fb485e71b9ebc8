//! One blob from one address: resumed, timed, and hashed as it streams by.

use std::{
    cell::Cell,
    collections::BTreeSet,
    io::{self, Read as _},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use khost::{Error, Result};
use kspec::Sha256;
use reqwest::{
    StatusCode,
    blocking::{Client, Response},
    header::{ACCEPT, CONTENT_RANGE, RANGE},
};

use crate::{
    attempt::Failure,
    partial::Partial,
    registry::{self, Access},
    source::Sources,
    store::Store,
};

/// The code of the error of those who were told to stop because another failed.
pub(crate) const STOPPED: &str = "stopped";

/// How long a connection may take: a host that drops packets is not worth waiting for.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Downloads of one run: how often to ask, whom not to ask first, when to stop.
#[derive(Debug)]
pub(crate) struct Downloads<'a> {
    pub(crate) store: &'a Store,
    client: Client,
    careless: Client,
    pub(crate) attempts: u8,
    pub(crate) silent: Mutex<BTreeSet<String>>,
    stop: AtomicBool,
}

/// Somewhere to ask.
#[derive(Debug)]
pub(crate) struct Address<'a> {
    pub(crate) url: String,
    /// Any certificate will do.
    pub(crate) skip_verify: bool,
    /// Of a registry: the right to read.
    pub(crate) access: Option<&'a Access>,
}

impl<'a> Downloads<'a> {
    /// Downloads into `store`; `stall` is how long no byte may come.
    pub(crate) fn new(store: &'a Store, sources: &Sources, stall: Duration) -> Result<Self> {
        let build = |careless: bool| {
            let builder = || {
                Client::builder()
                    .user_agent(concat!("kfetch/", env!("CARGO_PKG_VERSION")))
                    .timeout(stall) // of each read, not of the whole
                    .connect_timeout(stall.min(CONNECT_LIMIT))
                    .danger_accept_invalid_certs(careless)
            };
            // A machine without CA certificates can still fetch from a mirror that speaks HTTP.
            let client = builder().build().or_else(|_| builder().tls_certs_only([]).build());
            client.map_err(|error| Error::host("tls-setup", "cannot set up HTTPS").because(error))
        };
        Ok(Self {
            store,
            client: build(false)?,
            careless: build(true)?,
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
            let response = self.request(address, &mut partial)?;
            resumed = partial.length > 0;
            self.receive(response, &mut partial, at)?;
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

    /// Ask for what is still lacking.
    fn request(&self, address: &Address<'_>, partial: &mut Partial) -> Result<Response, Failure> {
        let response = self.send(address, partial.length)?;
        match response.status() {
            StatusCode::PARTIAL_CONTENT if begins_at(&response, partial.length) => Ok(response),
            StatusCode::OK => {
                partial.start_over()?; // all of it comes, whatever was asked for
                Ok(response)
            }
            _ if partial.length > 0 => {
                partial.start_over()?; // it cannot go on where it stopped
                self.request(address, partial)
            }
            status => {
                Err(Failure::Lasting(format!("HTTP {status} without being asked for a range")))
            }
        }
    }

    /// Ask for everything from `offset` on.
    ///
    /// # Errors
    /// For every status but 200, 206 and, when there is an offset, 416.
    pub(crate) fn send(&self, address: &Address<'_>, offset: u64) -> Result<Response, Failure> {
        let client = if address.skip_verify { &self.careless } else { &self.client };
        let ask = || {
            let mut request = client.get(&address.url);
            if offset > 0 {
                request = request.header(RANGE, format!("bytes={offset}-"));
            }
            if let Some(access) = address.access {
                request = request.header(ACCEPT, registry::ACCEPTED);
                if let Some(token) = access.token() {
                    request = request.bearer_auth(token);
                }
            }
            request.send().map_err(|error| Failure::Passing(reason(&error)))
        };
        let mut response = ask()?;
        if response.status() == StatusCode::UNAUTHORIZED
            && let Some(access) = address.access
        {
            access.renew(client, &response)?;
            response = ask()?;
        }
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response),
            StatusCode::RANGE_NOT_SATISFIABLE if offset > 0 => Ok(response),
            status if status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429) => {
                Err(Failure::Passing(format!("HTTP {status}")))
            }
            status => Err(Failure::Lasting(format!("HTTP {status}"))),
        }
    }

    fn receive(
        &self,
        mut response: Response,
        partial: &mut Partial,
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let total = response.content_length().map(|rest| partial.length + rest);
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.go_on()?;
            at(partial.length, total);
            let length = match response.read(&mut buffer) {
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
