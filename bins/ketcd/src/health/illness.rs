//! What ails a member: its kind, for programs, and words, for people.

use khost::Error;

use super::LOOK;

/// Kinds of trouble, each with a code of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nobody listens.
    Closed,
    /// Another program listens where etcd would.
    PortTaken,
    /// One of the two does not accept the other's certificate.
    Certificate,
    /// Too few members run and reach each other.
    NoQuorum,
    /// Its disk takes too long.
    SlowDisk,
    /// The data is of another cluster than the one described.
    OtherCluster,
    /// The data was written by a newer etcd.
    NewerData,
    /// The database has reached its quota.
    Full,
    /// Anything else.
    Other,
}

impl Kind {
    /// The stable code of an error of this kind.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::Closed => "etcd-not-started",
            Self::PortTaken => "etcd-port-taken",
            Self::Certificate => "etcd-certificate",
            Self::NoQuorum => "etcd-no-quorum",
            Self::SlowDisk => "etcd-slow-disk",
            Self::OtherCluster => "etcd-other-cluster",
            Self::NewerData => "etcd-newer-data",
            Self::Full => "etcd-database-full",
            Self::Other => "etcd-unhealthy",
        }
    }

    fn hint(self) -> String {
        match self {
            Self::Closed | Self::Other => format!("look with `{LOOK}`, then run again"),
            Self::PortTaken => {
                "stop that program (`ss -tlnp 'sport = :2379 or sport = :2380'`), then run again"
                    .into()
            }
            Self::Certificate => "run `kpki apply`, then this again; `kpki status` has names and \
                                  days, and every member needs the same authority"
                .into(),
            Self::NoQuorum => {
                "start the other members: `ketcd check` on each of them says why one \
                               does not run"
                    .into()
            }
            Self::SlowDisk => {
                "measure it with `kprep validate --probe-disk`; etcd wants a disk of \
                               its own, or an SSD"
                    .into()
            }
            Self::OtherCluster => "if the data is not wanted here, move `/var/lib/etcd/member` \
                                   away and run `ketcd apply`; else correct the address of this \
                                   [[node]]"
                .into(),
            Self::NewerData => "name that version or a later one in artifacts.lock, or restore a \
                                snapshot that was saved before it: `ketcd backups`"
                .into(),
            Self::Full => "compact and defragment it with etcdctl.sh, or raise etcd.quota-bytes; \
                           then run `etcdctl.sh alarm disarm`"
                .into(),
        }
    }

    /// What etcd's own words, or those of systemd about it, speak of.
    pub(super) fn told_by(words: &str) -> Self {
        const SIGNS: [(&str, Kind); 13] = [
            ("address already in use", Kind::PortTaken),
            ("cluster ID mismatch", Kind::OtherCluster),
            ("has already been bootstrapped", Kind::OtherCluster),
            ("has been permanently removed", Kind::OtherCluster),
            ("missing from the set of discovered", Kind::OtherCluster),
            ("member count is unequal", Kind::OtherCluster),
            ("invalid downgrade", Kind::NewerData),
            ("cannot be downgraded", Kind::NewerData),
            ("storage version", Kind::NewerData),
            ("private key does not match public key", Kind::Certificate),
            ("failed to find any PEM data", Kind::Certificate),
            ("x509: ", Kind::Certificate),
            ("tls: ", Kind::Certificate),
        ];
        let sign = SIGNS.iter().find(|(sign, _)| words.contains(sign));
        sign.map_or(Self::Closed, |(_, kind)| *kind)
    }
}

/// One trouble.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Illness {
    pub(crate) kind: Kind,
    /// What was seen, and the likely cause.
    pub(crate) words: String,
}

impl Illness {
    pub(crate) fn new(kind: Kind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }

    /// The error `what` that comes of it.
    pub(crate) fn error(&self, what: impl Into<String>) -> Error {
        Error::host(self.kind.code(), what).because(self.words.clone()).hint(self.kind.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::{Illness, Kind};

    #[test]
    fn etcds_words_tell_the_kind() {
        // As etcd 3.5.34 and 3.6.16 wrote them.
        for (words, kind) in [
            (
                "discovery failed: listen tcp 10.99.0.11:2380: bind: address already in use",
                Kind::PortTaken,
            ),
            (
                "request sent was ignored (cluster ID mismatch: peer[1]=a, local=b)",
                Kind::OtherCluster,
            ),
            (
                "discovery failed: member 8e9e05c52164694d has already been bootstrapped",
                Kind::OtherCluster,
            ),
            (
                "invalid downgrade; server version is lower than determined cluster version",
                Kind::NewerData,
            ),
            ("failed to start: tls: private key does not match public key", Kind::Certificate),
            ("etcd.service is failed (failed), signal; it said last: killed", Kind::Closed),
        ] {
            assert_eq!(Kind::told_by(words), kind, "{words}");
        }
    }

    #[test]
    fn every_kind_has_a_code_and_a_hint_of_its_own() {
        let all = [
            Kind::Closed,
            Kind::PortTaken,
            Kind::Certificate,
            Kind::NoQuorum,
            Kind::SlowDisk,
            Kind::OtherCluster,
            Kind::NewerData,
            Kind::Full,
            Kind::Other,
        ];
        let codes: std::collections::BTreeSet<_> = all.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), all.len());
        for kind in all {
            let error = Illness::new(kind, "seen").error("etcd did not become healthy");
            assert_eq!(error.code(), kind.code());
            assert_eq!(error.chain(), "etcd did not become healthy: seen");
            assert!(error.next().is_some_and(|hint| !hint.contains("  ")), "{error:?}");
        }
    }
}
