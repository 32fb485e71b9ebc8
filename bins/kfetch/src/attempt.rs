//! Asking one address after another, and each more than once, until one gives what is wanted.

use std::{
    collections::BTreeSet,
    hash::{BuildHasher as _, Hasher as _, RandomState},
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use khost::{Error, Result, wait};
use kspec::Sha256;

use crate::download::{Address, Downloads};

/// Why one attempt at one address gave nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Asking again may help.
    Passing(String),
    /// Asking again may help, but not before so long.
    Busy(String, Duration),
    /// Asking for the rest may help.
    BrokeOff {
        why: String,
        /// Bytes that came before.
        brought: u64,
    },
    /// Only another address can help.
    Lasting(String),
    /// The bytes are not the right ones.
    Wrong(Sha256),
    /// Nothing helps: the cause is on this machine.
    Here(Error),
}

/// An attempt that brought so many bytes does not count: whoever sends them will get there.
const PROGRESS: u64 = 1 << 20;

/// Who asks for more patience is asked again only when there is nobody else.
const PATIENCE: Duration = Duration::from_secs(5);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

impl Downloads<'_> {
    /// Ask `addresses` in turn until `get` gives something. Those that were silent earlier in this
    /// run come last.
    pub(crate) fn ask<T>(
        &self,
        what: &str,
        wanted: Option<Sha256>,
        addresses: &[Address<'_>],
        get: impl Fn(&Address<'_>) -> Result<T, Failure>,
    ) -> Result<T> {
        let (mut trail, mut wrong) = (Vec::new(), None);
        let addresses = self.answering_first(addresses);
        for (at, address) in addresses.iter().enumerate() {
            let (url, is_last) = (&address.url, at + 1 == addresses.len());
            let mut attempt = 1;
            let why = loop {
                self.go_on()?;
                let mut asked_for = Duration::ZERO;
                let why = match get(address) {
                    Ok(got) => return Ok(got),
                    Err(Failure::Here(error)) => return Err(error),
                    Err(Failure::Lasting(why)) => break why,
                    Err(Failure::Wrong(found)) => {
                        wrong.get_or_insert((url.clone(), found));
                        break format!("wrong digest {found}");
                    }
                    Err(Failure::Passing(why)) => why,
                    Err(Failure::Busy(why, wait)) => {
                        asked_for = wait;
                        why
                    }
                    Err(Failure::BrokeOff { why, brought }) => {
                        attempt = if brought >= PROGRESS { 0 } else { attempt };
                        why
                    }
                };
                if attempt >= self.attempts || (asked_for > PATIENCE && !is_last) {
                    self.silent().insert(origin(url).to_owned());
                    break why;
                }
                tracing::debug!(url, attempt, why, "once more");
                self.pause(attempt, asked_for)?;
                attempt += 1;
            };
            tracing::debug!(url, why, "gave nothing");
            trail.push(format!("{url}: {why}"));
        }
        Err(none_gave(what, wanted, wrong, &trail))
    }

    fn answering_first<'b>(&self, addresses: &'b [Address<'b>]) -> Vec<&'b Address<'b>> {
        let silent = self.silent();
        let mut addresses: Vec<_> = addresses.iter().collect();
        addresses.sort_by_key(|address| silent.contains(origin(&address.url)));
        addresses
    }

    fn silent(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Between two attempts.
    fn pause(&self, attempt: u8, asked_for: Duration) -> Result<()> {
        let pause = back_off(attempt, RandomState::new().build_hasher().finish());
        let until = Instant::now() + pause.max(asked_for.min(self.stall));
        while Instant::now() < until {
            self.go_on()?;
            wait::nap(Duration::from_millis(50));
        }
        Ok(())
    }
}

/// Longer each time, and by `chance` never the same for all: 0.3 s to 14.4 s.
fn back_off(attempt: u8, chance: u64) -> Duration {
    let base = 300_u64 << u32::from(attempt.clamp(1, 6) - 1);
    Duration::from_millis(base + chance % base / 2)
}

/// Scheme and host of an address.
fn origin(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

fn none_gave(
    what: &str,
    wanted: Option<Sha256>,
    wrong: Option<(String, Sha256)>,
    trail: &[String],
) -> Error {
    let tried = trail.join("\n");
    match (wrong, wanted) {
        (Some((url, found)), Some(wanted)) => {
            Error::host("digest-mismatch", format!("`{url}` is {found}, not {wanted}"))
                .because(format!("nobody has the right bytes of {what}:\n{tried}"))
                .hint(
                    "compare with the digest its project publishes; correct artifacts.lock \
                       only if that differs, otherwise the mirror or what lies between is to blame",
                )
        }
        _ if trail.is_empty() => {
            Error::input("no-source", format!("there is nowhere to fetch {what} from"))
                .hint("name a mirror in [download] or a [[containerd.registry]] host, or set mirrors-only = false")
        }
        _ => Error::host("mirror-down", format!("cannot fetch {what}"))
            .because(tried)
            .hint(
                "see that one of these answers (`curl -I ADDRESS`), or name another in \
                   [download] mirrors or [[containerd.registry]] of cluster.toml; then run again",
            ),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn pauses_grow_and_differ_and_end() {
        let pause = |attempt, chance| super::back_off(attempt, chance).as_millis();
        assert_eq!(
            [1, 2, 3, 4, 5, 6].map(|attempt| pause(attempt, 0)),
            [300, 600, 1200, 2400, 4800, 9600]
        );
        assert_eq!((pause(1, 298), pause(1, 299), pause(1, 300)), (449, 449, 300));
        assert_eq!((pause(6, 9599), pause(u8::MAX, 9599), pause(0, 0)), (14399, 14399, 300));
    }

    #[test]
    fn origins() {
        assert_eq!(super::origin("http://h:1/a/b"), "http://h:1");
        assert_eq!(super::origin("https://h"), "https://h");
    }
}
