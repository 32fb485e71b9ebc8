//! A certificate that the authority issues: for etcd, for etcdctl, for the API server.

use khost::{Change, Context, Error, Host, Owner, Result, Status, Step, Thing};
use kspec::{Node, Role};
use rcgen::KeyPair;

use crate::{
    authority::{Authority, Identity, Rules},
    inspect::Seen,
    issue::{self, Term},
    names::{Names, list},
    pair::Pair,
};

/// What a certificate is for; `member` in `member-NODE.pem`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// etcd itself: server, and client of its peers.
    Member,
    /// etcdctl.
    Admin,
    /// The API server, and other clients on the node.
    Node,
}

impl Use {
    /// Those that a node with these roles needs.
    pub(crate) fn of(node: &Node) -> Vec<Self> {
        let mut uses = Vec::new();
        if node.is(Role::Etcd) {
            uses.extend([Self::Member, Self::Admin]);
        }
        if node.is(Role::ControlPlane) {
            uses.push(Self::Node);
        }
        uses
    }

    /// As file names and exports have it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Node => "node",
        }
    }
}

/// One certificate of a node, as a step: issued once, and again only for a reason.
#[derive(Debug, Clone)]
pub(crate) struct Leaf {
    /// What it is for.
    pub(crate) purpose: Use,
    /// Its files.
    pub(crate) pair: Pair,
    subject: String,
    names: Names,
    authority: Authority,
    rules: Rules,
}

impl Leaf {
    /// The certificate of `node` for `purpose`, good under `names`.
    pub(crate) fn new(
        purpose: Use,
        node: &Node,
        names: &Names,
        authority: &Authority,
        rules: Rules,
    ) -> Self {
        let word = purpose.word();
        // etcd runs as its own user and needs the key of its own certificate, no other.
        let owner = match purpose {
            Use::Member => Owner::new("etcd", "root"),
            Use::Admin | Use::Node => Owner::root(),
        };
        Self {
            purpose,
            pair: Pair::new(&format!("{word}-{}", node.name), owner),
            subject: format!("etcd-{word}-{}", node.short_name()),
            names: names.clone(),
            authority: authority.clone(),
            rules,
        }
    }

    /// Why it must be issued, if it must.
    pub(crate) fn must_issue(&self, host: &Host) -> Result<Option<String>> {
        let seen = match self.pair.certificate(host)? {
            Some(Ok(seen)) => seen,
            Some(Err(why)) => return Ok(Some(why)),
            None => return Ok(Some("it does not exist".into())),
        };
        let key = match self.pair.private_key(host)? {
            Some(Ok(key)) => key,
            Some(Err(_)) => return Ok(Some("its key cannot be read".into())),
            None => return Ok(Some("its key does not exist".into())),
        };
        Ok(self.fault(&seen, &key, self.authority.identity(host)?.as_ref()))
    }

    /// Why this certificate with this key, from this authority, is not the wanted one, if it is
    /// not.
    pub(crate) fn fault(
        &self,
        seen: &Seen,
        key: &KeyPair,
        authority: Option<&Identity>,
    ) -> Option<String> {
        if key.public_key_raw() != seen.public_key {
            return Some("its key belongs to another certificate".into());
        }
        if issue::algorithm(key) != Some(self.rules.algorithm) {
            return Some("its key is not of the kind that pki.key-algorithm wants".into());
        }
        let Some(authority) = authority else {
            return Some("its authority does not exist".into());
        };
        let ids = (&authority.key_id, &seen.issuer_key_id);
        let other_id = matches!(ids, (Some(own), Some(named)) if own != named);
        if other_id || !seen.signed_by(&authority.key_info) {
            return Some("another authority issued it".into());
        }
        self.says_something_else(seen)
    }

    /// Refuse, before anything is written, what could not be issued.
    pub(crate) fn refuse_unissuable(&self, host: &Host) -> Result<()> {
        let Some(why) = self.must_issue(host)? else { return Ok(()) };
        self.authority.can_sign(host).map_err(|error| {
            let hint = error.next().unwrap_or_default().to_owned();
            let cert = self.pair.cert.display();
            Error::host(error.code(), format!("`{cert}` cannot be issued: {why}"))
                .because(error)
                .hint(hint)
        })
    }

    fn says_something_else(&self, seen: &Seen) -> Option<String> {
        if seen.subject != format!("CN={}", self.subject) {
            return Some(format!("its subject is {}", seen.subject));
        }
        if seen.names != self.names {
            let (missing, needless) = (
                list(self.names.difference(&seen.names)),
                list(seen.names.difference(&self.names)),
            );
            return Some(match (missing.as_str(), needless.as_str()) {
                (missing, "") => format!("it lacks {missing}"),
                ("", needless) => format!("it still has {needless}"),
                (missing, needless) => format!("it lacks {missing} and still has {needless}"),
            });
        }
        if !seen.server_and_client || seen.is_authority {
            return Some("it is not for servers and clients".into());
        }
        seen.out_of_term(self.rules.now, self.rules.renew_before_days)
    }

    /// A new key and the certificate for it, as PEM; nothing is written.
    pub(crate) fn make(&self, host: &Host) -> Result<(KeyPair, String)> {
        let (authority, authority_key) = self.authority.signer(host)?;
        let mut term = self.rules.term()?;
        term = Term { until: term.until.min(authority.term.until), ..term };
        let key = self.authority.keys.take()?;
        let pem =
            issue::leaf((&self.subject, &key), &self.names, (&authority.pem, authority_key), term)?;
        Ok((key, pem))
    }

    fn issue(&self, context: &Context<'_>) -> Result<()> {
        let (key, pem) = self.make(context.host)?;
        self.pair.write(context, Some(&key), &pem)
    }
}

impl Step for Leaf {
    fn id(&self) -> String {
        self.pair.id()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let Some(why) = self.must_issue(context.host)? else {
            return self.pair.attributes(context);
        };
        let what = format!("issue {} (CN={}): {why}", self.pair.cert.display(), self.subject);
        Ok(Status::Differs(Change::new(what)))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(self.pair.things())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        match self.must_issue(context.host)? {
            Some(_) => self.issue(context),
            None => self.pair.mend(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use khost::{
        Context, Host, Step as _,
        report::{Loudness, Report},
    };
    use kspec::Cluster;
    use time::{Duration, OffsetDateTime, macros::datetime};

    use super::{Leaf, Use};
    use crate::{
        authority::{Authority, Rules},
        names,
    };

    const START: OffsetDateTime = datetime!(2030-01-01 00:00 UTC);

    /// The authority and one certificate of a cluster with 100-day certificates, at `now`.
    fn certificates(now: OffsetDateTime) -> (Authority, Leaf) {
        let mut cluster = Cluster::example("n1", "192.0.2.11".parse().unwrap());
        cluster.pki.validity_days = 100;
        cluster.pki.key_algorithm = kspec::cluster::KeyAlgorithm::EcdsaP256;
        let rules = Rules::new(&cluster, now).unwrap();
        let authority = Authority::new(&cluster, &cluster.nodes[0], rules);
        let names = names::of(&cluster).unwrap();
        let leaf = Leaf::new(Use::Member, &cluster.nodes[0], &names, &authority, rules);
        (authority, leaf)
    }

    #[test]
    fn what_ends_soon_is_renewed_and_the_authority_keeps_its_key() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let (authority, leaf) = certificates(START);
        authority.apply(&context).unwrap();
        leaf.apply(&context).unwrap();
        assert_eq!(leaf.must_issue(&host).unwrap(), None);

        let (authority, leaf) = certificates(START + Duration::days(70));
        assert!(authority.is_settled(&host).unwrap(), "30 days are left");
        assert_eq!(leaf.must_issue(&host).unwrap(), None);

        let (authority, leaf) = certificates(START + Duration::days(70) + Duration::seconds(1));
        let why = leaf.must_issue(&host).unwrap().unwrap();
        assert_eq!(why, "it ends on 2030-04-11T00:00:00Z, in 29 days");
        let (before, key) = authority.signer(&host).unwrap();
        authority.apply(&context).unwrap();
        assert!(authority.is_settled(&host).unwrap());
        let (after, same_key) = authority.signer(&host).unwrap();
        assert_eq!(key.serialized_der(), same_key.serialized_der());
        assert_eq!(before.key_id, after.key_id);
        assert!(after.term.until > before.term.until);
        assert_eq!(leaf.must_issue(&host).unwrap().unwrap(), why, "only its term is over");
        leaf.apply(&context).unwrap();
        assert_eq!(leaf.must_issue(&host).unwrap(), None);
    }

    #[test]
    fn a_clock_that_was_ahead_is_noticed() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let (authority, leaf) = certificates(START);
        authority.apply(&context).unwrap();
        leaf.apply(&context).unwrap();
        let (_, leaf) = certificates(START - Duration::minutes(4));
        assert_eq!(leaf.must_issue(&host).unwrap(), None, "clocks may lag by five minutes");
        let (_, leaf) = certificates(START - Duration::days(1));
        let why = leaf.must_issue(&host).unwrap().unwrap();
        assert_eq!(why, "it is not valid before 2029-12-31T23:55:00Z");
    }
}
