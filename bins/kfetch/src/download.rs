//! One blob from one address: resumed, timed, and hashed as it streams by.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    io::{self, Read},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use khost::{Error, Result};
use kspec::{LockedFile, Sha256};
use reqwest::{StatusCode, blocking::Client};

use crate::{
    attempt::Failure,
    clients::Clients,
    elf,
    pace::{FLOOR, Pace},
    partial::Partial,
    registry::{Registries, Repository},
    source::Sources,
    store::Store,
    trust::Trust,
    web,
};

/// The code of the error of those who were told to stop because another failed.
pub(crate) const STOPPED: &str = "stopped";

/// How long a connection may take: a host that drops packets is not worth waiting for.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// More than any artifact has, for those whose size nobody tells: an answer without an end must not
/// fill the disk.
const LARGEST: u64 = 4 << 30;

pub(crate) const USER_AGENT: &str = concat!("kfetch/", env!("CARGO_PKG_VERSION"));

/// Downloads of one run: how often to ask, whom not to ask first, when to stop.
pub(crate) struct Downloads<'a> {
    pub(crate) store: &'a Store,
    client: Client,
    pub(crate) registries: Registries,
    pub(crate) attempts: u8,
    pub(crate) stall: Duration,
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
    Manifest(&'a Repository),
    /// A registry, for a blob.
    Blob(&'a Repository),
}

/// A blob that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blob<'a> {
    /// What people call it.
    pub(crate) what: &'a str,
    pub(crate) digest: Sha256,
    /// How many bytes it has, where that is known beforehand.
    pub(crate) size: Option<u64>,
    /// The file of the lock that it is the program of.
    pub(crate) program: Option<&'a LockedFile>,
}

/// Bytes that come.
pub(crate) struct Answer {
    /// They begin at the offset that was asked for, not with the first.
    pub(crate) resumed: bool,
    /// How many, if that is known.
    pub(crate) rest: Option<u64>,
    /// What a registry says their digest is.
    pub(crate) said: Option<Sha256>,
    pub(crate) body: Box<dyn Read>,
}

impl<'a> Downloads<'a> {
    /// Downloads into `store`; `stall` is how long no byte may come.
    pub(crate) fn new(store: &'a Store, sources: &Sources, stall: Duration) -> Result<Self> {
        let clients = Clients::new(stall, sources)?;
        let own = sources.authority.iter().cloned().collect();
        let client = clients.get(&Trust { authorities: own, ..Trust::default() })?.client;
        Ok(Self {
            store,
            client,
            registries: Registries::new(stall, sources, clients)?,
            attempts: sources.attempts(),
            stall,
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

    /// Have `blob` in the store. `at` hears how many bytes there are, and of how many.
    pub(crate) fn blob(
        &self,
        blob: Blob<'_>,
        addresses: &[Address<'_>],
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<()> {
        let Some(claim) = self.store.claim(blob.digest) else { return Ok(()) };
        let partial = RefCell::new(Partial::open(self.store, blob.digest)?);
        let came = self.ask(blob.what, Some(blob.digest), addresses, |address| {
            self.transfer(blob, address, &mut partial.borrow_mut(), at)
        });
        let partial = partial.into_inner();
        let came = came.and_then(|()| match blob.program {
            Some(file) => elf::check(&partial.path, file),
            None => Ok(()),
        });
        match came {
            Ok(()) => partial.keep(self.store, blob.digest)?,
            Err(error) => {
                partial.leave()?;
                return Err(error);
            }
        }
        claim.fetched();
        Ok(())
    }

    fn transfer(
        &self,
        blob: Blob<'_>,
        address: &Address<'_>,
        partial: &mut Partial,
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let complete = partial.length > 0 && partial.digest() == blob.digest;
        if !complete && blob.size.is_some_and(|size| partial.length >= size) {
            partial.start_over()?; // there is nothing to go on with
        }
        let mut resumed = partial.length > 0;
        if !complete {
            let answer = self.send(address, partial.length)?;
            resumed = answer.resumed;
            if !resumed {
                partial.start_over()?; // all of it comes, whatever was asked for
            }
            self.receive(blob, answer, partial, at)?;
        }
        let found = partial.digest();
        if found == blob.digest {
            return Ok(());
        }
        partial.start_over()?;
        if resumed {
            // What was kept did not fit: all of it, then.
            return self.transfer(blob, address, partial, at);
        }
        Err(Failure::Wrong(found))
    }

    /// Ask for everything from `offset` on, or for all of it where that is not possible.
    pub(crate) fn send(&self, address: &Address<'_>, offset: u64) -> Result<Answer, Failure> {
        match &address.source {
            Source::Web => web::get(&self.client, &address.url, offset),
            Source::Manifest(repository) | Source::Blob(repository) => {
                web::ranged(offset, &|offset| repository.ask(&address.url, offset))
            }
        }
    }

    fn receive(
        &self,
        blob: Blob<'_>,
        mut answer: Answer,
        partial: &mut Partial,
        at: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Failure> {
        let before = partial.length;
        let promised = answer.rest.map(|rest| before.saturating_add(rest));
        let most = blob.size.unwrap_or(LARGEST);
        match promised {
            Some(promised) if promised > most || (before == 0 && Some(promised) < blob.size) => {
                return Err(Failure::Lasting(format!("it has {promised} bytes, not {most}")));
            }
            _ => {}
        }
        let total = blob.size.or(promised); // a part may be less than all that is lacking
        let mut pace = Pace::new(self.stall);
        let mut buffer = vec![0; 1 << 16];
        loop {
            self.go_on()?;
            at(partial.length, total);
            let asked = Instant::now();
            let (had, brought) = (partial.length, partial.length - before);
            let broke_off = |why: String| {
                let why = format!("broke off after {had} bytes: {why}");
                Err(Failure::BrokeOff { why, brought })
            };
            let length = match answer.body.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return broke_off(reason(&error)),
            };
            match total {
                _ if length > 0 => {}
                Some(total) if had < total => return broke_off(format!("{total} were promised")),
                _ => return Ok(()),
            }
            if had + length as u64 > most {
                partial.start_over()?;
                return Err(Failure::Lasting(format!("it sends more than {most} bytes")));
            }
            partial.append(&buffer[..length])?;
            if pace.is_too_slow(length, asked.elapsed()) {
                return broke_off(format!("less than {FLOOR} bytes a second come"));
            }
        }
    }
}

/// What a status that brings no bytes means for the next attempt.
pub(crate) fn refusal(status: StatusCode) -> Failure {
    if web::is_passing(status) {
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
