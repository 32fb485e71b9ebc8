//! Addresses: the node's own is here, nobody else's is.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use khost::{Cmd, Error, fs, steps::network};
use kspec::{Cluster, Node};

use super::{Found, Outcome, Subject};

/// `IFA_F_DADFAILED` (`linux/if_addr.h`): somebody answered when the kernel asked whether the address
/// is free (RFC 4862).
const DUPLICATE: u8 = 0x08;

/// Longer than ping is told to wait.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn here(subject: &Subject<'_>) -> Found {
    is_own(subject.node, &network::addresses()?).only()
}

/// As of a machine that was cloned, or a description that was copied.
pub(super) fn of_another(subject: &Subject<'_>) -> Found {
    Ok(others(subject.cluster, subject.node, &network::addresses()?))
}

pub(super) fn duplicate(subject: &Subject<'_>) -> Found {
    let table = fs::read_text(&subject.host.path("/proc/net/if_inet6"))?.unwrap_or_default();
    is_unique(subject.node.address, &refused(&table)).only()
}

/// kubespray's `ping_access_ip`, for an address that others translate: to one of its own a machine
/// always answers, and `address-not-here` looks for that.
pub(super) fn answers(subject: &Subject<'_>) -> Found {
    let address = subject.node.access();
    if address == subject.node.address {
        return Outcome::passed("others reach this machine at its own address").only();
    }
    // 1: nobody answered (ping(8))
    let asked = Cmd::new("ping").args(["-n", "-q", "-c", "1", "-W", "1"]).arg(address.to_string());
    let code = asked.accept(&[0, 1]).limit(PATIENCE).run().map(|output| output.code);
    is_reached(address, code).only()
}

fn is_reached(address: IpAddr, code: Result<i32, Error>) -> Outcome {
    match code {
        Ok(0) => Outcome::passed(format!("{address} answers a ping")),
        Ok(_) => Outcome::warning(format!("{address} answers no ping from this machine"))
            .seen("other nodes reach this one there, and so do its own programs")
            .remedy(format!(
                "see that `ping {address}` is answered, or correct access-address in [[node]]; \
                 where pings are dropped on purpose, nothing is amiss"
            )),
        Err(error) => Outcome::skipped(format!("whether {address} answers a ping"))
            .seen(error.chain())
            .remedy("install ping (iputils-ping, or iputils), or run as root"),
    }
}

fn is_own(node: &Node, own: &[IpAddr]) -> Outcome {
    let (address, name) = (node.address, &node.name);
    let seen = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if own.contains(&address) {
        return Outcome::passed(format!("{address} is one of this machine's")).seen(seen);
    }
    let seen = if seen.is_empty() { "it has none but loopback".into() } else { seen };
    let what = format!("{address} of node `{name}` is not an address of this machine");
    Outcome::problem(what).seen(format!("it has: {seen}")).remedy(format!(
        "correct the address of [[node]] `{name}`, or give the machine that address, \
         or say with `--node` which node it is"
    ))
}

fn others(cluster: &Cluster, node: &Node, own: &[IpAddr]) -> Vec<Outcome> {
    let others = cluster.nodes.iter().filter(|other| other.name != node.name);
    let both = others.filter(|other| own.contains(&other.address));
    let found: Vec<_> = both
        .map(|other| {
            let (address, name) = (other.address, &other.name);
            Outcome::problem(format!(
                "{address} of node `{name}` is on this machine, `{}`",
                node.name
            ))
            .seen("two machines with one address, or one machine that is two nodes")
            .remedy(format!("take {address} off this machine, or correct [[node]] `{name}`"))
        })
        .collect();
    if found.is_empty() {
        return vec![Outcome::passed("no other node's address is on this machine")];
    }
    found
}

fn is_unique(address: IpAddr, refused: &[Ipv6Addr]) -> Outcome {
    match address {
        IpAddr::V6(v6) if refused.contains(&v6) => {
            Outcome::problem(format!("another machine of the network has {address}"))
                .seen("the kernel asked (duplicate address detection) and was answered")
                .remedy(format!("look with `ip -6 address show dadfailed`, and give one of the two another address than {address}"))
        }
        IpAddr::V6(_) => Outcome::passed("no other machine answered for the address"),
        IpAddr::V4(_) => Outcome::skipped("whether another machine has the address")
            .seen("IPv4 has no such detection, and asking the network takes raw packets")
            .remedy(format!("ask with `arping -D -c 2 -I INTERFACE {address}`")),
    }
}

/// Addresses in `/proc/net/if_inet6` that the kernel does not use for this reason: address,
/// interface number, prefix length, scope, flags, name.
fn refused(table: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let flags = u8::from_str_radix(fields.get(4)?, 16).ok()?;
        let address = u128::from_str_radix(fields.first()?, 16).ok()?;
        (flags & DUPLICATE != 0).then(|| address.into())
    };
    table.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Node};

    use super::{
        super::{Verdict, sample::Sample},
        is_own, is_reached, others,
    };

    fn node() -> Node {
        Cluster::example("node1", [192, 0, 2, 11].into()).nodes.remove(0)
    }

    #[test]
    fn an_address_must_be_here() {
        let other = ["192.0.2.12".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let outcome = is_own(&node(), &other);
        assert_eq!(outcome.verdict, Verdict::Problem);
        assert_eq!(outcome.evidence, "it has: 192.0.2.12, 2001:db8::1");
        assert_eq!(is_own(&node(), &[node().address]).verdict, Verdict::Passed);
        assert!(is_own(&node(), &[]).evidence.contains("none"));
    }

    #[test]
    fn another_nodes_address_must_not() {
        let mut cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let mut second = node();
        (second.name, second.address) = ("node2".into(), [192, 0, 2, 12].into());
        cluster.nodes.push(second);
        let first = &cluster.nodes[0];
        let found = others(&cluster, first, &[first.address, [192, 0, 2, 12].into()]);
        assert_eq!(found[0].what, "192.0.2.12 of node `node2` is on this machine, `node1`");
        assert_eq!(found[0].verdict, Verdict::Problem);
        assert_eq!(others(&cluster, first, &[first.address])[0].verdict, Verdict::Passed);
    }

    #[test]
    fn an_address_that_answers_nobody_is_a_warning() {
        let address = [192, 0, 2, 11].into();
        assert_eq!(is_reached(address, Ok(0)).verdict, Verdict::Passed);
        let silent = is_reached(address, Ok(1));
        assert_eq!(silent.verdict, Verdict::Warning);
        assert_eq!(silent.what, "192.0.2.11 answers no ping from this machine");
        let missing = khost::Error::host("program-missing", "cannot start `ping`");
        let outcome = is_reached(address, Err(missing));
        assert_eq!(
            (outcome.verdict, &*outcome.evidence),
            (Verdict::Skipped, "cannot start `ping`")
        );
    }

    #[test]
    fn loopback_answers() {
        let mut sample = Sample::new(&[]);
        sample.cluster.nodes[0].access_address = Some([127, 0, 0, 1].into());
        let said = sample.says("address-silent");
        let skipped = said.starts_with("skipped[address-silent]");
        assert!(skipped || said.starts_with("good[address-silent]: 127.0.0.1 answers"), "{said}");
    }

    #[test]
    fn the_kernel_knows_of_a_duplicate() {
        let mut sample = Sample::new(&[(
            "/proc/net/if_inet6",
            "20010db8000000000000000000000011 02 40 00 c8 eth0\n\
             20010db8000000000000000000000012 02 40 00 80 eth0\n",
        )]);
        sample.cluster.nodes[0].address = "2001:db8::11".parse().unwrap();
        insta::assert_snapshot!(sample.says("address-duplicate"), @"
        problem[address-duplicate]: another machine of the network has 2001:db8::11
            seen: the kernel asked (duplicate address detection) and was answered
            hint: look with `ip -6 address show dadfailed`, and give one of the two another address than 2001:db8::11
        ");
        sample.cluster.nodes[0].address = "2001:db8::12".parse().unwrap();
        assert!(sample.says("address-duplicate").starts_with("good"));
    }
}
