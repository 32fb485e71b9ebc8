//! etcd's certificate authority: made once, on one node, and never silently replaced.

use std::rc::Rc;

use khost::{Change, Context, Error, Host, Owner, Result, Status, Step, Thing, fs};
use kspec::{
    Cluster, Node, Role,
    cluster::KeyAlgorithm,
    paths::ETCD_CERT_DIR,
    state::{PkiState, State as _},
};
use rcgen::{KeyPair, PublicKeyData as _};
use time::OffsetDateTime;

use crate::{
    inspect::Seen,
    issue::{self, Term},
    keys::Keys,
    pair::Pair,
    rotate,
};

/// `[pki]`, and the time it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// Kind of the keys that are made.
    pub(crate) algorithm: KeyAlgorithm,
    /// Days a certificate is valid.
    pub(crate) validity_days: u32,
    /// Days before its end at which it is issued anew.
    pub(crate) renew_before_days: u32,
    /// Now.
    pub(crate) now: OffsetDateTime,
}

impl Rules {
    /// The rules of `cluster` at the time `now`.
    ///
    /// # Errors
    /// `validity-too-short` when a new certificate would be due for renewal at once.
    pub(crate) fn new(cluster: &Cluster, now: OffsetDateTime) -> Result<Self> {
        let pki = &cluster.pki;
        let (validity_days, renew_before_days) = (pki.validity_days, pki.renew_before_days);
        if validity_days <= renew_before_days {
            return Err(Error::input(
                "validity-too-short",
                format!(
                    "certificates of pki.validity-days {validity_days} would be due for renewal at \
                     once (pki.renew-before-days {renew_before_days})"
                ),
            )
            .hint("raise validity-days or lower renew-before-days"));
        }
        Term::new(now, validity_days)?;
        Ok(Self { algorithm: pki.key_algorithm, validity_days, renew_before_days, now })
    }

    /// The term of what is issued now.
    pub(crate) fn term(&self) -> Result<Term> {
        Term::new(self.now, self.validity_days)
    }
}

/// The authority as a step.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    /// Its files.
    pub(crate) pair: Pair,
    /// This node.
    node: String,
    /// The node that makes it, when that is another one.
    maker: Option<String>,
    rules: Rules,
    /// For itself and what it issues.
    pub(crate) keys: Rc<Keys>,
}

/// What tells an authority from others.
#[derive(Debug)]
pub(crate) struct Identity {
    /// Its public key: DER of a `SubjectPublicKeyInfo`.
    pub(crate) key_info: Vec<u8>,
    /// The identifier of the key, when its certificate gives one.
    pub(crate) key_id: Option<Vec<u8>>,
}

/// What is to be done about the authority.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// There never was one.
    Make,
    /// Its key is there: a new certificate for the same key, for this reason.
    Renew(String),
}

impl Authority {
    /// The authority of `cluster` on `node`. The first etcd node makes it; the others are given it.
    pub(crate) fn new(cluster: &Cluster, node: &Node, rules: Rules) -> Self {
        let first = cluster.with_role(Role::Etcd).next();
        let maker = first.filter(|first| first.name != node.name).map(|first| first.name.clone());
        Self {
            pair: Pair::new("ca", Owner::root()),
            node: node.name.clone(),
            maker,
            rules,
            keys: Rc::new(Keys::new(rules.algorithm)),
        }
    }

    /// What certificates are checked against; none as long as there is no authority.
    pub(crate) fn identity(&self, host: &Host) -> Result<Option<Identity>> {
        if let Some(Ok(seen)) = self.pair.certificate(host)? {
            return Ok(Some(Identity { key_info: seen.key_info, key_id: seen.key_id }));
        }
        let key = self.pair.private_key(host)?.and_then(Result::ok);
        let key_info = key.map(|key| key.subject_public_key_info());
        Ok(key_info.map(|key_info| Identity { key_info, key_id: None }))
    }

    /// Certificate and key, to sign with.
    pub(crate) fn signer(&self, host: &Host) -> Result<(Seen, KeyPair)> {
        match (self.pair.certificate(host)?, self.pair.private_key(host)?) {
            (Some(Ok(seen)), Some(Ok(key))) => Ok((seen, key)),
            _ => Err(self.key_missing()),
        }
    }

    /// Whether something can be signed, now or after the authority itself has been made.
    pub(crate) fn can_sign(&self, host: &Host) -> Result<()> {
        match (&self.maker, self.pair.private_key(host)?) {
            (None, _) | (_, Some(Ok(_))) => Ok(()),
            (Some(_), _) => Err(self.key_missing()),
        }
    }

    fn verdict(&self, host: &Host) -> Result<Verdict> {
        let (cert, key) = (self.pair.certificate(host)?, self.pair.private_key(host)?);
        let key = match key {
            Some(Ok(key)) => Some(key),
            Some(Err(why)) => return Err(self.key_unusable(host, why)),
            None => None,
        };
        match (cert, key, &self.maker) {
            (Some(Ok(seen)), Some(key), _) if seen.public_key != key.public_key_raw() => {
                Err(self.key_unusable(host, "it belongs to another certificate"))
            }
            (Some(Ok(seen)), _, _) if !seen.is_authority => Err(self.not_an_authority(&seen)),
            (Some(_), None, None) => Err(self.key_missing()),
            (Some(Ok(seen)), _, maker) => {
                let due = seen.out_of_term(self.rules.now, self.rules.renew_before_days);
                match (due, maker) {
                    (None, _) => Ok(Verdict::Good),
                    (Some(why), None) => Ok(Verdict::Renew(why)),
                    (Some(why), Some(maker)) => Err(self.made_elsewhere(maker, &why)),
                }
            }
            (None, _, Some(maker)) => Err(self.made_elsewhere(maker, "it does not exist")),
            (Some(Err(why)), _, Some(maker)) => Err(self.made_elsewhere(maker, &why)),
            (None, Some(_), None) => Ok(Verdict::Renew("it does not exist".into())),
            (Some(Err(why)), Some(_), None) => Ok(Verdict::Renew(why)),
            (None, None, None) if fs::exists(&host.path(PkiState::PATH)) => Err(self.lost()),
            (None, None, None) => Ok(Verdict::Make),
        }
    }

    fn key_missing(&self) -> Error {
        let (cert, key) = (self.pair.cert.display(), self.pair.key.display());
        Error::host("ca-key-missing", format!("`{key}` does not exist"))
            .because(format!("without it nothing can be signed in the name of `{cert}`"))
            .hint(match &self.maker {
                Some(maker) => self.brought_from(maker),
                None => format!(
                    "restore `{key}` from a backup or another etcd node; to start over with a new \
                     authority, run `kpki reset` and then `kpki apply`"
                ),
            })
    }

    fn key_unusable(&self, host: &Host, why: impl Into<String>) -> Error {
        let key = self.pair.key.display();
        Error::host("ca-key-unusable", format!("`{key}` cannot be used")).because(why.into()).hint(
            if rotate::is_begun(host) {
                "run `kpki rotate-ca` again, which was interrupted".into()
            } else {
                format!("restore `{key}` from a backup or another etcd node")
            },
        )
    }

    fn not_an_authority(&self, seen: &Seen) -> Error {
        let cert = self.pair.cert.display();
        Error::host("ca-unusable", format!("`{cert}` is no certificate authority"))
            .because(format!("it is a certificate of {}", seen.subject))
            .hint(format!("restore `{cert}` and its key from a backup or another etcd node"))
    }

    fn made_elsewhere(&self, maker: &str, why: &str) -> Error {
        let cert = self.pair.cert.display();
        Error::input("ca-elsewhere", format!("`{cert}` cannot be used: {why}"))
            .because(format!("etcd's certificate authority is made on node `{maker}`"))
            .hint(self.brought_from(maker))
    }

    fn brought_from(&self, maker: &str) -> String {
        let node = &self.node;
        format!(
            "run `kpki export {node}` on node `{maker}`, and `kpki import` here with what it says"
        )
    }

    fn lost(&self) -> Error {
        let (cert, key) = (self.pair.cert.display(), self.pair.key.display());
        Error::host("ca-missing", format!("`{cert}` and its key are gone"))
            .because(format!("`{}` says that they were made", PkiState::PATH))
            .hint(format!(
                "restore `{cert}` and `{key}` from a backup or another etcd node; to start over \
                 with a new authority, run `kpki reset` and then `kpki apply`"
            ))
    }

    /// Refuse, before anything is written, an authority that cannot be used.
    pub(crate) fn refuse_unusable(&self, host: &Host) -> Result<()> {
        self.verdict(host).map(drop)
    }

    /// Refuse what only the node that makes it can do.
    pub(crate) fn refuse_follower(&self) -> Result<()> {
        let Some(maker) = &self.maker else { return Ok(()) };
        Err(Error::input("ca-elsewhere", "etcd's certificate authority is not made on this node")
            .hint(format!("run it on node `{maker}`")))
    }

    /// Refuse to issue in its name while it is yet to be made or renewed.
    pub(crate) fn refuse_unsettled(&self, host: &Host) -> Result<()> {
        if self.is_settled(host)? {
            return Ok(());
        }
        let cert = self.pair.cert.display();
        Err(Error::input("ca-not-ready", format!("`{cert}` is yet to be made or renewed"))
            .hint("run `kpki apply`, then this again"))
    }

    /// Whether `apply` makes a new one, key and all.
    pub(crate) fn is_to_be_made(&self, host: &Host) -> Result<bool> {
        Ok(self.verdict(host)? == Verdict::Make)
    }

    /// Whether its certificate is as it will stay.
    pub(crate) fn is_settled(&self, host: &Host) -> Result<bool> {
        Ok(self.verdict(host)? == Verdict::Good)
    }
}

impl Step for Authority {
    fn id(&self) -> String {
        self.pair.id()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let cert = self.pair.cert.display();
        Ok(match self.verdict(context.host)? {
            Verdict::Good => self.pair.attributes(context)?,
            Verdict::Make => {
                let what = format!("make the certificate authority {}, {cert}", issue::AUTHORITY);
                Status::Differs(Change::new(what))
            }
            Verdict::Renew(why) => {
                let what = format!("issue {cert} anew, with the same key: {why}");
                Status::Differs(Change::new(what))
            }
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(self.pair.things())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        match self.verdict(host)? {
            Verdict::Good => self.pair.mend(context),
            Verdict::Make => {
                let key = self.keys.take()?;
                let cert = issue::authority(&key, None, self.rules.term()?)?;
                self.pair.write(context, Some(&key), &cert)
            }
            Verdict::Renew(_) => {
                let key = self.pair.private_key(host)?.and_then(Result::ok);
                let key = key.ok_or_else(|| self.key_missing())?;
                let old = self.pair.certificate(host)?.and_then(Result::ok);
                let cert =
                    issue::authority(&key, old.and_then(|old| old.key_id), self.rules.term()?)?;
                self.pair.write(context, None, &cert)?;
                self.pair.mend(context)
            }
        }
    }
}

/// The directory of etcd's certificates belongs to etcd, and to nobody else.
pub(crate) fn directory() -> khost::steps::directory::Directory {
    khost::steps::directory::Directory::new(ETCD_CERT_DIR)
        .mode(0o700)
        .owner(Owner::new("etcd", "root"))
}
