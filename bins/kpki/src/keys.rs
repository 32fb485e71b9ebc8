//! Making keys. An RSA key takes longer than all else about a certificate, so those that one run
//! needs are made at the same time.

use std::{
    cell::{Cell, RefCell},
    num::NonZero,
    panic,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::{self, Builder},
};

use khost::Result;
use kspec::cluster::KeyAlgorithm;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};

use crate::issue;

/// A new key.
///
/// # Errors
/// `certificate-failed`.
pub(crate) fn key(algorithm: KeyAlgorithm) -> Result<KeyPair> {
    KeyPair::generate_for(match algorithm {
        KeyAlgorithm::Rsa2048 => &PKCS_RSA_SHA256, // 2048 bits unless told otherwise
        KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
    })
    .map_err(issue::failed)
}

/// Keys of one kind, made when the first is taken.
#[derive(Debug)]
pub(crate) struct Keys {
    algorithm: KeyAlgorithm,
    expected: Cell<usize>,
    ready: RefCell<Vec<KeyPair>>,
}

impl Keys {
    /// Of the kind `algorithm`; none is made yet.
    pub(crate) fn new(algorithm: KeyAlgorithm) -> Self {
        Self { algorithm, expected: Cell::new(1), ready: RefCell::default() }
    }

    /// So many will be taken.
    pub(crate) fn expect(&self, count: usize) {
        self.expected.set(count);
    }

    /// One that nobody else has. The first makes all that are expected.
    ///
    /// # Errors
    /// `certificate-failed`.
    pub(crate) fn take(&self) -> Result<KeyPair> {
        let ready = self.ready.borrow_mut().pop();
        if let Some(key) = ready {
            return Ok(key);
        }
        let (first, others) = at_once(self.algorithm, self.expected.replace(1))?;
        self.ready.replace(others);
        Ok(first)
    }
}

/// One key, and as many more as make `count`, by as many threads as there are processors. Who is
/// done begins another: some keys take ten times as long as others.
fn at_once(algorithm: KeyAlgorithm, count: usize) -> Result<(KeyPair, Vec<KeyPair>)> {
    let left = AtomicUsize::new(count.saturating_sub(1));
    let work = || {
        let mut made = Vec::new();
        while left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            made.push(key(algorithm)?);
        }
        Ok(made)
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get).min(count);
    thread::scope(|scope| {
        // A machine that has no thread to give has this one.
        let begun = (1..threads).map(|_| Builder::new().spawn_scoped(scope, work));
        let helpers: Vec<_> = begun.filter_map(std::result::Result::ok).collect();
        let first = key(algorithm);
        let mut others = work()?;
        for helper in helpers {
            others.extend(helper.join().unwrap_or_else(|cause| panic::resume_unwind(cause))?);
        }
        Ok((first?, others))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kspec::cluster::KeyAlgorithm;
    use rcgen::KeyPair;

    use super::{Keys, at_once};

    #[test]
    fn as_many_are_made_as_are_expected_and_none_is_given_twice() {
        for count in [0, 1, 2, 7] {
            let (_, others) = at_once(KeyAlgorithm::EcdsaP256, count).unwrap();
            assert_eq!(others.len(), count.saturating_sub(1));
        }
        let keys = Keys::new(KeyAlgorithm::EcdsaP256);
        keys.expect(3);
        let taken: Vec<_> = (0..5).map(|_| keys.take().unwrap()).collect();
        let different: BTreeSet<_> = taken.iter().map(KeyPair::serialize_der).collect();
        assert_eq!(different.len(), 5, "two certificates have one key");
    }
}
