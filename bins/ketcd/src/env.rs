//! `/etc/etcd.env`: etcd's settings, as kubespray has them (`roles/etcd/templates/etcd.env.j2`).

use std::net::IpAddr;

use khost::{Error, Host, Result, fs};
use kspec::{cluster::Etcd, paths::ETCD_DATA_DIR};
use semver::Version;

use crate::{
    inputs::Inputs,
    members::{CLIENT_PORT, PEER_PORT, url},
};

/// Where it is.
pub(crate) const PATH: &str = "/etc/etcd.env";
/// `ETCD_INITIAL_CLUSTER_TOKEN` (kubespray).
pub(crate) const TOKEN: &str = "k8s_etcd";

/// With what a member starts for the first time. Its name apart, etcd looks at it only then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Start {
    /// What the member is called.
    pub(crate) name: String,
    /// `new` or `existing`.
    pub(crate) state: String,
    /// `NAME=URL,...` of everyone.
    pub(crate) initial_cluster: String,
    /// No other member was described. It keeps its times when others come: they would restart it.
    pub(crate) alone: bool,
}

/// What a member alone has of `[etcd]` at most, in milliseconds: between heartbeats, and without one
/// until an election (etcd's own defaults).
const ALONE: (u32, u32) = (100, 1000);

/// What the file on the host says of it; none when it is incomplete.
pub(crate) fn started_with(host: &Host) -> Result<Option<Start>> {
    let text = fs::read_text(&host.path(PATH))?.unwrap_or_default();
    let value = |key: &str| {
        let found = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        found.map(str::to_owned)
    };
    Ok(value("ETCD_NAME").and_then(|name| {
        let initial_cluster = value("ETCD_INITIAL_CLUSTER")?;
        let election = value("ETCD_ELECTION_TIMEOUT").and_then(|time| time.parse::<u32>().ok());
        let alone = election.is_some_and(|time| time <= ALONE.1);
        Some(Start { name, state: value("ETCD_INITIAL_CLUSTER_STATE")?, initial_cluster, alone })
    }))
}

/// What the file is made of.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `[etcd]`.
    pub(crate) etcd: Etcd,
    /// Which etcd reads it.
    pub(crate) version: Version,
    /// This member's address, at which it listens.
    pub(crate) address: IpAddr,
    /// The address at which others reach it.
    pub(crate) access: IpAddr,
    /// Its certificates.
    pub(crate) inputs: Inputs,
}

/// Milliseconds between heartbeats, and without one until an election. A member alone has nobody to
/// hear from, and leads only once it has waited for one to two election timeouts: at every start up to
/// five seconds (etcd's `server.go`, `advanceTicks`).
fn times(Etcd { heartbeat_ms, election_ms, .. }: &Etcd, alone: bool) -> (u32, u32) {
    let (heartbeat, election) = if alone { ALONE } else { (u32::MAX, u32::MAX) };
    (heartbeat.min(*heartbeat_ms), election.min(*election_ms))
}

type Variables = Vec<(String, String)>;

/// The text of the file.
///
/// # Errors
/// `etcd-env-invalid` when `[etcd] extra-env` has what cannot stand there.
pub(crate) fn render(settings: &Settings, start: &Start) -> Result<String> {
    let tuning = tuning(settings, start.alone);
    let mut variables = [place(settings, start), tuning, tls(settings)].concat();
    for (key, value) in &settings.etcd.extra_env {
        refuse_unfit(key, value)?;
        match variables.iter_mut().find(|(known, _)| known == key) {
            Some((_, known)) => known.clone_from(value),
            None => variables.push((key.clone(), value.clone())),
        }
    }
    let mut text = String::from("# Written by ketcd. Settings go to [etcd] of cluster.toml.\n");
    for (key, value) in variables {
        text += &[&key, "=", &value, "\n"].concat();
    }
    Ok(text)
}

/// Who and where the member is.
fn place(settings: &Settings, start: &Start) -> Variables {
    let (own, reached) = (|port| url(settings.address, port), |port| url(settings.access, port));
    let loopback = url([127, 0, 0, 1].into(), CLIENT_PORT);
    pairs([
        ("ETCD_DATA_DIR", ETCD_DATA_DIR.into()),
        ("ETCD_ADVERTISE_CLIENT_URLS", reached(CLIENT_PORT)),
        ("ETCD_INITIAL_ADVERTISE_PEER_URLS", reached(PEER_PORT)),
        ("ETCD_INITIAL_CLUSTER_STATE", start.state.clone()),
        ("ETCD_METRICS", "basic".into()),
        ("ETCD_LISTEN_CLIENT_URLS", format!("{},{loopback}", own(CLIENT_PORT))),
        ("ETCD_LISTEN_PEER_URLS", own(PEER_PORT)),
        ("ETCD_INITIAL_CLUSTER_TOKEN", TOKEN.into()),
        ("ETCD_NAME", start.name.clone()),
        ("ETCD_INITIAL_CLUSTER", start.initial_cluster.clone()),
    ])
}

fn tuning(settings: &Settings, alone: bool) -> Variables {
    let etcd = &settings.etcd;
    let (heartbeat, election) = times(etcd, alone);
    let mut variables = pairs([
        ("ETCD_ELECTION_TIMEOUT", election.to_string()),
        ("ETCD_HEARTBEAT_INTERVAL", heartbeat.to_string()),
        ("ETCD_AUTO_COMPACTION_RETENTION", etcd.compaction_hours.to_string()),
        ("ETCD_SNAPSHOT_COUNT", etcd.snapshot_count.to_string()),
        ("ETCD_QUOTA_BACKEND_BYTES", etcd.quota_bytes.to_string()),
        ("ETCD_MAX_REQUEST_BYTES", etcd.max_request_bytes.to_string()),
        ("ETCD_LOG_LEVEL", "info".into()),
        ("ETCD_MAX_SNAPSHOTS", "5".into()),
        ("ETCD_MAX_WALS", "5".into()),
    ]);
    // The same two settings, under the names that this etcd has for them (CHANGELOG-3.6).
    variables.extend(if settings.version < Version::new(3, 6, 0) {
        pairs([
            ("ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", "True".into()),
            ("ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s".into()),
        ])
    } else {
        pairs([
            ("ETCD_FEATURE_GATES", "InitialCorruptCheck=true".into()),
            ("ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL", "5s".into()),
        ])
    });
    variables
}

/// Certificates: etcd's own, and etcdctl's for whoever sources this file.
fn tls(settings: &Settings) -> Variables {
    let Inputs { ca, member, admin, .. } = &settings.inputs;
    pairs([
        ("ETCD_TRUSTED_CA_FILE", ca.clone()),
        ("ETCD_CERT_FILE", member.cert.clone()),
        ("ETCD_KEY_FILE", member.key.clone()),
        ("ETCD_CLIENT_CERT_AUTH", "true".into()),
        ("ETCD_PEER_TRUSTED_CA_FILE", ca.clone()),
        ("ETCD_PEER_CERT_FILE", member.cert.clone()),
        ("ETCD_PEER_KEY_FILE", member.key.clone()),
        ("ETCD_PEER_CLIENT_CERT_AUTH", "True".into()),
        ("ETCDCTL_ENDPOINTS", url([127, 0, 0, 1].into(), CLIENT_PORT)),
        ("ETCDCTL_CACERT", ca.clone()),
        ("ETCDCTL_KEY", admin.key.clone()),
        ("ETCDCTL_CERT", admin.cert.clone()),
    ])
}

fn pairs<const N: usize>(pairs: [(&str, String); N]) -> Variables {
    pairs.map(|(key, value)| (key.to_owned(), value)).into()
}

/// What the other phases, and the member's peers, rely on.
const FIXED: [&str; 8] = [
    "ETCD_DATA_DIR",
    "ETCD_NAME",
    "ETCD_INITIAL_CLUSTER",
    "ETCD_INITIAL_CLUSTER_STATE",
    "ETCD_ADVERTISE_CLIENT_URLS",
    "ETCD_INITIAL_ADVERTISE_PEER_URLS",
    "ETCD_LISTEN_CLIENT_URLS",
    "ETCD_LISTEN_PEER_URLS",
];

fn refuse_unfit(key: &str, value: &str) -> Result<()> {
    let letters = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
    let known = key.starts_with("ETCD_") && key.bytes().all(letters);
    let (why, hint) = if !known {
        ("is no setting of etcd", "write etcd's flags as variables: --log-level is ETCD_LOG_LEVEL")
    } else if FIXED.contains(&key) {
        ("follows from the nodes and cannot be set", "change the [[node]] sections instead")
    } else if value.chars().any(|letter| letter.is_control() || "\"'\\".contains(letter)) {
        (
            "has a value that systemd.exec(5) would read otherwise",
            "leave out quotes and backslashes",
        )
    } else {
        return Ok(());
    };
    Err(Error::input("etcd-env-invalid", format!("etcd.extra-env: `{key}` {why}")).hint(hint))
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, cluster::Etcd, state::Member};
    use proptest::prelude::*;
    use semver::Version;

    use super::{PATH, Settings, Start, render, started_with, times};
    use crate::inputs::Inputs;

    fn inputs() -> Inputs {
        let programs: Vec<(String, Member)> = Vec::new();
        Inputs {
            facts: ktest::facts(),
            version: Version::new(3, 5, 25),
            programs,
            ca: "/etc/ssl/etcd/ssl/ca.pem".into(),
            member: ktest::certificate("member-n1"),
            admin: ktest::certificate("admin-n1"),
        }
    }

    /// The file for a cluster after `change`, with `version` of etcd.
    fn rendered(version: &Version, change: impl FnOnce(&mut Cluster)) -> khost::Result<String> {
        let mut cluster = Cluster::example("n1", "192.0.2.11".parse().unwrap());
        change(&mut cluster);
        let settings = Settings {
            etcd: cluster.etcd,
            version: version.clone(),
            address: cluster.nodes[0].address,
            access: cluster.nodes[0].access(),
            inputs: inputs(),
        };
        render(&settings, &start())
    }

    fn start() -> Start {
        let initial_cluster = "etcd1=https://192.0.2.11:2380".into();
        Start { name: "etcd1".into(), state: "new".into(), initial_cluster, alone: false }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an earlier run's hand, in a test")]
    fn what_it_was_started_with_is_read_back() {
        let tree = tempfile::tempdir().unwrap();
        let host = khost::Host::new(tree.path());
        assert_eq!(started_with(&host).unwrap(), None);
        std::fs::create_dir_all(tree.path().join("etc")).unwrap();
        let text = rendered(&Version::new(3, 5, 25), |_| {}).unwrap();
        std::fs::write(host.path(PATH), &text).unwrap();
        assert_eq!(started_with(&host).unwrap(), Some(start()));
        std::fs::write(host.path(PATH), text.replace("ETCD_INITIAL_CLUSTER=", "#")).unwrap();
        assert_eq!(started_with(&host).unwrap(), None);
    }

    #[test]
    fn the_defaults_are_kubesprays() {
        insta::assert_snapshot!(rendered(&Version::new(3, 5, 25), |_| {}).unwrap(), @r"
        # Written by ketcd. Settings go to [etcd] of cluster.toml.
        ETCD_DATA_DIR=/var/lib/etcd
        ETCD_ADVERTISE_CLIENT_URLS=https://192.0.2.11:2379
        ETCD_INITIAL_ADVERTISE_PEER_URLS=https://192.0.2.11:2380
        ETCD_INITIAL_CLUSTER_STATE=new
        ETCD_METRICS=basic
        ETCD_LISTEN_CLIENT_URLS=https://192.0.2.11:2379,https://127.0.0.1:2379
        ETCD_LISTEN_PEER_URLS=https://192.0.2.11:2380
        ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
        ETCD_NAME=etcd1
        ETCD_INITIAL_CLUSTER=etcd1=https://192.0.2.11:2380
        ETCD_ELECTION_TIMEOUT=5000
        ETCD_HEARTBEAT_INTERVAL=250
        ETCD_AUTO_COMPACTION_RETENTION=8
        ETCD_SNAPSHOT_COUNT=100000
        ETCD_QUOTA_BACKEND_BYTES=2147483648
        ETCD_MAX_REQUEST_BYTES=1572864
        ETCD_LOG_LEVEL=info
        ETCD_MAX_SNAPSHOTS=5
        ETCD_MAX_WALS=5
        ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=True
        ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s
        ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
        ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-n1.pem
        ETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-n1-key.pem
        ETCD_CLIENT_CERT_AUTH=true
        ETCD_PEER_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
        ETCD_PEER_CERT_FILE=/etc/ssl/etcd/ssl/member-n1.pem
        ETCD_PEER_KEY_FILE=/etc/ssl/etcd/ssl/member-n1-key.pem
        ETCD_PEER_CLIENT_CERT_AUTH=True
        ETCDCTL_ENDPOINTS=https://127.0.0.1:2379
        ETCDCTL_CACERT=/etc/ssl/etcd/ssl/ca.pem
        ETCDCTL_KEY=/etc/ssl/etcd/ssl/admin-n1-key.pem
        ETCDCTL_CERT=/etc/ssl/etcd/ssl/admin-n1.pem
        ");
    }

    #[test]
    fn a_member_alone_leads_soon_after_its_start() {
        let times = |heartbeat_ms, election_ms| {
            let etcd = Etcd { heartbeat_ms, election_ms, ..Etcd::default() };
            (times(&etcd, false), times(&etcd, true))
        };
        assert_eq!(times(250, 5000), ((250, 5000), (100, 1000)));
        // What was wanted shorter stays; an election takes five heartbeats or more in any case.
        assert_eq!(times(50, 500), ((50, 500), (50, 500)));
        assert_eq!(times(120, 600), ((120, 600), (100, 600)));
    }

    #[test]
    fn a_member_is_announced_where_others_reach_it() {
        let text = rendered(&Version::new(3, 5, 25), |cluster| {
            cluster.nodes[0].access_address = Some("198.51.100.1".parse().unwrap());
        });
        let text = text.unwrap();
        for line in [
            "ETCD_ADVERTISE_CLIENT_URLS=https://198.51.100.1:2379",
            "ETCD_INITIAL_ADVERTISE_PEER_URLS=https://198.51.100.1:2380",
            "ETCD_LISTEN_CLIENT_URLS=https://192.0.2.11:2379,https://127.0.0.1:2379",
            "ETCD_LISTEN_PEER_URLS=https://192.0.2.11:2380",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn etcd_3_6_has_other_names() {
        let (old, new) = (Version::new(3, 5, 29), Version::new(3, 6, 0));
        let (old, new) = (rendered(&old, |_| {}).unwrap(), rendered(&new, |_| {}).unwrap());
        let only = |one: &str, other: &str| -> Vec<String> {
            let lines = one.lines().filter(|line| !other.contains(line));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(
            only(&new, &old),
            [
                "ETCD_FEATURE_GATES=InitialCorruptCheck=true",
                "ETCD_WATCH_PROGRESS_NOTIFY_INTERVAL=5s"
            ]
        );
        assert_eq!(only(&old, &new).len(), 2);
    }

    #[test]
    fn extra_variables_replace_and_add() {
        let text = rendered(&Version::new(3, 5, 25), |cluster| {
            cluster.etcd.extra_env = [("ETCD_LOG_LEVEL", "warn"), ("ETCD_ENABLE_PPROF", "true")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into();
        });
        let text = text.unwrap();
        assert!(text.contains("\nETCD_LOG_LEVEL=warn\n") && !text.contains("=info"), "{text}");
        assert!(text.ends_with("\nETCD_ENABLE_PPROF=true\n"), "{text}");
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        for (key, value) in [
            ("LOG_LEVEL", "info"),
            ("ETCD_log", "info"),
            ("ETCD_X=Y", ""),
            ("ETCD_NAME", "other"),
            ("ETCD_LOG_LEVEL", "a\nETCD_NAME=b"),
            ("ETCD_LOG_LEVEL", "\"info\""),
        ] {
            let error = rendered(&Version::new(3, 5, 25), |cluster| {
                cluster.etcd.extra_env = [(key.to_owned(), value.to_owned())].into();
            });
            assert_eq!(error.unwrap_err().code(), "etcd-env-invalid", "{key}={value}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        #[expect(clippy::disallowed_methods, reason = "an earlier run's hand, in a test")]
        fn no_setting_hides_or_replaces_what_it_was_started_with(
            settings in prop::collection::btree_map(
                "ETCD_(NAME|INITIAL_CLUSTER|INITIAL_CLUSTER_STATE|METRICS|[A-Z]{1,4})|\\PC{0,4}",
                "[a-z]{1,3}([\"\\\\\r]|\nETCD_NAME=other)?",
                0..2,
            ),
            noise in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let tree = tempfile::tempdir().unwrap();
            let host = khost::Host::new(tree.path());
            std::fs::create_dir_all(tree.path().join("etc")).unwrap();
            let rendered = rendered(&Version::new(3, 6, 0), |cluster| cluster.etcd.extra_env = settings);
            match rendered {
                Ok(text) => {
                    std::fs::write(host.path(PATH), &text).unwrap();
                    prop_assert_eq!(started_with(&host).unwrap(), Some(start()));
                    let noisy = [&noise, b"\n".as_slice(), text.as_bytes()].concat();
                    std::fs::write(host.path(PATH), noisy).unwrap();
                    prop_assert!(started_with(&host).unwrap().is_some());
                }
                Err(error) => prop_assert_eq!(error.code(), "etcd-env-invalid"),
            }
        }
    }
}
