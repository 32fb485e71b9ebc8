//! Names of nodes: what this machine finds under them.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use khost::{Cmd, fs};
use kspec::Cluster;

use super::{Found, Outcome, Subject};

const HOSTS: &str = "/etc/hosts";
/// Longer than a healthy resolver takes, shorter than a dead one's patience.
const LIMIT: Duration = Duration::from_secs(3);

/// The first line with a name wins (hosts(5)), also against the block that apply adds at the end.
pub(super) fn elsewhere(subject: &Subject<'_>) -> Found {
    let text = fs::read_text(&subject.host.path(HOSTS))?.unwrap_or_default();
    Ok(contradictions(&text, subject.cluster))
}

fn contradictions(hosts: &str, cluster: &Cluster) -> Vec<Outcome> {
    let mut first = BTreeMap::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(address) = words.next() else { continue };
        words.for_each(|name| _ = first.entry(name).or_insert(address));
    }
    let mut found = Vec::new();
    for node in &cluster.nodes {
        let address = first.get(node.name.as_str()).and_then(|address| address.parse().ok());
        let Some(address): Option<IpAddr> = address else { continue };
        // Debian's 127.0.1.1 does no harm: kubeadm wants the name to resolve, to whatever, and
        // kubelet passes over loopback.
        if address == node.access() || address == node.address || address.is_loopback() {
            continue;
        }
        let what =
            format!("`{}` is {address} here, and {} in cluster.toml", node.name, node.access());
        found.push(
            Outcome::warning(what)
                .seen(format!("`{HOSTS}`, whose first line with a name counts"))
                .remedy(format!("take `{}` out of that line", node.name)),
        );
    }
    if found.is_empty() {
        found.push(Outcome::passed(format!("`{HOSTS}` has no other addresses for the nodes")));
    }
    found
}

/// kubeadm warns where it does not (`preflight/checks.go`, `HostnameCheck`).
pub(super) fn resolved(subject: &Subject<'_>) -> Found {
    let name = &subject.node.name;
    if subject.cluster.host.manage_hosts {
        return Outcome::passed(format!("`{HOSTS}` will name `{name}`")).only();
    }
    // 2: the name is unknown (getent(1))
    let asked = Cmd::new("getent").args(["ahosts", name]).accept(&[0, 2]).limit(LIMIT).run();
    match asked {
        Ok(output) => found(name, &output.stdout).only(),
        Err(error) => found(name, "").seen(error.chain()).only(),
    }
}

fn found(name: &str, answer: &str) -> Outcome {
    let mut addresses: Vec<_> =
        answer.lines().filter_map(|line| line.split_whitespace().next()).collect();
    addresses.dedup();
    if addresses.is_empty() {
        return Outcome::warning(format!("this machine does not find its own name, `{name}`"))
            .seen(format!("`getent ahosts {name}` has no answer"))
            .remedy("set manage-hosts = true in [host], or add it to /etc/hosts or to the DNS");
    }
    Outcome::passed(format!("`{name}` is found")).seen(addresses.join(" "))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verdict, sample::Sample},
        found,
    };

    #[test]
    fn an_old_address_wins_and_is_named() {
        let said = |hosts| Sample::new(&[("/etc/hosts", hosts)]).says("name-elsewhere");
        insta::assert_snapshot!(said("127.0.0.1 localhost\n192.0.2.7 old node1 # moved\n"), @"
        warning[name-elsewhere]: `node1` is 192.0.2.7 here, and 192.0.2.11 in cluster.toml
            seen: `/etc/hosts`, whose first line with a name counts
            hint: take `node1` out of that line
        ");
        for fine in [
            "127.0.1.1 node1\n",
            "192.0.2.11 node1\n192.0.2.7 node1\n",
            "# 192.0.2.7 node1\n192.0.2.7 node10\n",
            "",
        ] {
            assert!(said(fine).starts_with("good[name-elsewhere]"), "{fine}");
        }
    }

    #[test]
    fn a_name_that_is_not_found_is_a_warning() {
        let outcome = found("node1", "");
        assert_eq!(outcome.verdict, Verdict::Warning);
        assert_eq!(outcome.what, "this machine does not find its own name, `node1`");
        let outcome = found("node1", "192.0.2.11 STREAM node1\n192.0.2.11 DGRAM\n");
        assert_eq!((outcome.verdict, &*outcome.evidence), (Verdict::Passed, "192.0.2.11"));
    }

    #[test]
    fn the_machine_is_asked_where_hosts_is_not_kept() {
        let mut sample = Sample::new(&[]);
        assert!(sample.says("name-not-resolved").contains("`/etc/hosts` will name `node1`"));
        sample.cluster.host.manage_hosts = false;
        sample.cluster.nodes[0].name = "localhost".into();
        let said = sample.says("name-not-resolved");
        assert!(said.starts_with("good[name-not-resolved]: `localhost` is found"), "{said}");
    }
}
