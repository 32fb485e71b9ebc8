//! Which authorities there are, which of them are trusted, and which issues.

use std::{cell::Cell, path::PathBuf};

use khost::{
    Change, Context, Error, Host, Owner, Result, Status, Step, Thing, fs, steps::file::File,
};
use kspec::paths::ETCD_CERT_DIR;
use rcgen::{KeyPair, PublicKeyData as _};

use crate::{authority::Rules, inspect::Seen, issue, keys};

/// Certificate of the authority that is to follow.
pub(super) const NEXT: &str = "ca-next.pem";
/// Its key; while it is there, that one does not issue yet.
pub(super) const NEXT_KEY: &str = "ca-next-key.pem";

/// A file in etcd's certificate directory.
pub(super) fn path(name: &str) -> PathBuf {
    PathBuf::from(ETCD_CERT_DIR).join(name)
}

/// The authorities in `ca.pem`, the one that issues first; none when it cannot be read.
pub(super) fn trusted(host: &Host) -> Result<Vec<Seen>> {
    let bytes = fs::read(&host.path(path("ca.pem")))?.unwrap_or_default();
    Ok(Seen::parse_all(&bytes).unwrap_or_default())
}

/// The other authority, beside the one there is.
#[derive(Debug)]
pub(super) struct Next {
    rules: Rules,
    /// It is not made yet, and this run is to.
    wanted: Cell<bool>,
}

impl Next {
    /// By `rules`; `wanted`: this run is to make it.
    pub(super) fn new(rules: Rules, wanted: bool) -> Self {
        Self { rules, wanted: Cell::new(wanted) }
    }
}

impl Step for Next {
    fn id(&self) -> String {
        format!("certificate:{}", path(NEXT).display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let what = format!("make another authority, {}", path(NEXT).display());
        Ok(if self.wanted.get() { Status::Differs(Change::new(what)) } else { Status::Done })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok([NEXT, NEXT_KEY].map(|name| Thing::File(path(name))).into())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let key = keys::key(self.rules.algorithm)?;
        let cert = issue::authority(&key, None, self.rules.term()?)?;
        file(NEXT, 0o644, cert).apply(context)?;
        file(NEXT_KEY, 0o600, key.serialize_pem()).apply(context)?; // last: it marks the stage
        self.wanted.set(false);
        Ok(())
    }
}

fn file(name: &str, mode: u32, text: String) -> File {
    File::new(path(name)).mode(mode).owner(Owner::root()).secret(text)
}

/// Which authorities are trusted, and which of them issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bundle {
    /// The old one issues, both are trusted.
    Both,
    /// The new one issues, both are trusted.
    Switch,
    /// Only the one that issues is trusted.
    Drop,
}

impl Bundle {
    /// What `ca.pem` should say; none when it does.
    fn wanted(self, host: &Host) -> Result<Option<String>> {
        let (pems, next) = (pems(host)?, fs::read_text(&host.path(path(NEXT)))?);
        let wanted = match (self, next) {
            (Self::Both, Some(next)) if pems.len() == 1 => [pems[0].clone(), next].concat(),
            (Self::Switch, Some(next)) => {
                let old = pems.iter().find(|pem| pem.trim() != next.trim());
                [next.clone(), old.cloned().unwrap_or_default()].concat()
            }
            (Self::Drop, None) if pems.len() > 1 => pems[0].clone(),
            _ => return Ok(None),
        };
        Ok((wanted != pems.concat()).then_some(wanted))
    }

    /// Whether the new key has yet to become the key.
    fn key_is_to_move(self, host: &Host) -> bool {
        self == Self::Switch && fs::exists(&host.path(path(NEXT_KEY)))
    }
}

/// The certificates in `ca.pem`, one by one.
fn pems(host: &Host) -> Result<Vec<String>> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let text = fs::read_text(&host.path(path("ca.pem")))?.unwrap_or_default();
    Ok(text.split_inclusive(END).map(str::to_owned).collect())
}

impl Step for Bundle {
    fn id(&self) -> String {
        format!("rotation:{self:?}").to_lowercase()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let differs = self.wanted(context.host)?.is_some() || self.key_is_to_move(context.host);
        let what = match self {
            Self::Both => "trust both authorities, the old one issues",
            Self::Switch => "trust both authorities, the new one issues",
            Self::Drop => "trust the new authority alone",
        };
        Ok(if differs { Status::Differs(Change::new(what)) } else { Status::Done })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(["ca.pem", "ca-key.pem", NEXT, NEXT_KEY].map(|name| Thing::File(path(name))).into())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        if let Some(text) = self.wanted(host)? {
            file("ca.pem", 0o644, text).apply(context)?;
        }
        if self.key_is_to_move(host) {
            // A copy first: until the marks of the stage are gone, all of it can be done again.
            let key = fs::read_text(&host.path(path(NEXT_KEY)))?.unwrap_or_default();
            let usable = KeyPair::from_pem(&key).ok().map(|key| key.subject_public_key_info());
            if usable != trusted(host)?.first().map(|ca| ca.key_info.clone()) {
                return Err(Error::host("ca-key-unusable", "the new authority's key does not fit")
                    .hint(format!("remove `{}`, and start over", path(NEXT_KEY).display())));
            }
            file("ca-key.pem", 0o600, key).apply(context)?;
            fs::remove(&host.path(path(NEXT)))?;
            fs::remove(&host.path(path(NEXT_KEY)))?; // last: it marks the stage
        }
        Ok(())
    }
}
