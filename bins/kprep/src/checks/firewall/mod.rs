//! Firewalls of the machine, and what of a node's traffic they would drop.

mod chains;
mod firewalld;
mod ufw;

use std::fmt;

use khost::{Cmd, Host, Result, fs, systemd};
use kspec::{Cluster, Node, Role, cluster::Backend};
use nix::ifaddrs::getifaddrs;

use super::{Found, Outcome, Subject};

/// Ports that other machines, or pods, must reach this node at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Opening {
    first: u16,
    last: u16,
    protocol: &'static str,
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last, protocol } = self;
        if first == last {
            write!(f, "{first}/{protocol}")
        } else {
            write!(f, "{first}-{last}/{protocol}")
        }
    }
}

/// One port needs no other machine: pods reach the API server and kubelet even on a single node.
fn openings(cluster: &Cluster, node: &Node) -> Vec<Opening> {
    let tcp = |first, last| Opening { first, last, protocol: "tcp" };
    let alone = cluster.nodes.len() == 1;
    let flannel = &cluster.network.flannel;
    let mut needed = Vec::new();
    if node.is(Role::ControlPlane) {
        needed.push(tcp(6443, 6443));
    }
    if node.is(Role::Etcd) && !alone {
        needed.push(tcp(2379, 2380));
    }
    if node.is(Role::ControlPlane) || node.is(Role::Worker) {
        needed.push(tcp(10250, 10250));
        if flannel.backend == Backend::Vxlan && !alone {
            needed.push(Opening { first: flannel.port, last: flannel.port, protocol: "udp" });
        }
    }
    needed
}

pub(super) fn lets_through(subject: &Subject<'_>) -> Found {
    let mut found = Vec::new();
    let needed = openings(subject.cluster, subject.node);
    if runs("firewalld.service") {
        found.push(firewalld(subject, &needed)?);
    }
    if ufw::is_enabled(subject.host)? {
        found.push(ufw::judge(subject, &needed)?);
    }
    if found.is_empty() {
        found.push(Outcome::passed("neither firewalld nor ufw is at work"));
    }
    Ok(found)
}

fn firewalld(subject: &Subject<'_>, needed: &[Opening]) -> Result<Outcome> {
    let pods = &subject.cluster.network.pod_cidr;
    // It asks polkit for others than root, and polkit asks whoever sits there.
    if !Host::is_root() {
        return Ok(firewalld::unseen(needed, pods, "only root sees what it lets through"));
    }
    Ok(match Cmd::new("firewall-cmd").arg("--list-all-zones").run() {
        Ok(listed) => {
            let (interface, host) = (interface(subject.node), subject.host);
            let default = firewalld::default_zone(host)?;
            let ports = |service: &str| firewalld::ports_of(host, service);
            firewalld::judge(&listed.stdout, interface.as_deref(), &default, needed, pods, &ports)
        }
        Err(error) => firewalld::unseen(needed, pods, &error.chain()),
    })
}

pub(super) fn chains(subject: &Subject<'_>) -> Found {
    let what = "whether a packet filter drops what it does not know";
    if runs("firewalld.service") || ufw::is_enabled(subject.host)? {
        return Outcome::passed("the packet filter belongs to a firewall").only();
    }
    if !Host::is_root() {
        return Outcome::skipped(what)
            .seen("the kernel shows it to root")
            .remedy("run as root")
            .only();
    }
    let listed =
        Cmd::new("nft").args(["list", "chains"]).run().map(|output| chains::of_nft(&output.stdout));
    let dropping = match listed {
        Ok(dropping) => Ok(dropping),
        Err(_) => Cmd::new("iptables-save").run().map(|output| chains::of_iptables(&output.stdout)),
    };
    match dropping {
        Ok(dropping) => chains::judge(&dropping, &openings(subject.cluster, subject.node)).only(),
        Err(error) => Outcome::skipped(what).seen(error.chain()).only(),
    }
}

/// A unit that systemd, where it is at work, says is at work.
fn runs(unit: &str) -> bool {
    fs::exists("/run/systemd/system".as_ref()) && systemd::show(unit).is_ok_and(|unit| unit.active)
}

/// The interface with the node's address.
fn interface(node: &Node) -> Option<String> {
    let has = |of: &nix::ifaddrs::InterfaceAddress| {
        let address = of.address?;
        let v4 = address.as_sockaddr_in().map(|v4| v4.ip().into());
        let v6 = address.as_sockaddr_in6().map(|v6| v6.ip().into());
        (v4.or(v6) == Some(node.address)).then(|| of.interface_name.clone())
    };
    getifaddrs().ok()?.find_map(|of| has(&of))
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Role};

    use super::{super::sample::Sample, openings};

    #[test]
    fn a_single_node_opens_what_pods_need() {
        let mut cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let said = |cluster: &Cluster| {
            let all = openings(cluster, &cluster.nodes[0]);
            all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(said(&cluster), "6443/tcp 10250/tcp");
        cluster.nodes.push(cluster.nodes[0].clone());
        assert_eq!(said(&cluster), "6443/tcp 2379-2380/tcp 10250/tcp 8472/udp");
        cluster.nodes[0].roles = vec![Role::Worker];
        assert_eq!(said(&cluster), "10250/tcp 8472/udp");
    }

    #[test]
    fn ufw_is_found_by_its_files() {
        let sample = Sample::new(&[]);
        assert!(sample.says("firewall-drops").starts_with("good[firewall-drops]"));
        sample.write("/etc/ufw/ufw.conf", "# x\nENABLED=yes\nLOGLEVEL=low\n");
        sample.write(
            "/etc/default/ufw",
            "DEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_FORWARD_POLICY=\"DROP\"\n",
        );
        sample.write(
            "/etc/ufw/user.rules",
            "### tuple ### allow tcp 10250 0.0.0.0/0 any 10.0.0.0/8 in\n\
             -A ufw-user-input -p tcp --dport 10250 -s 10.0.0.0/8 -j ACCEPT\n",
        );
        insta::assert_snapshot!(sample.says("firewall-drops"), @"
        problem[firewall-drops]: ufw drops 6443/tcp, what pods send to the node (10.233.64.0/18), what is forwarded, to and from pods
            seen: `/etc/ufw/ufw.conf`, `/etc/default/ufw`, `/etc/ufw/user.rules`
            hint: `ufw allow 6443/tcp && ufw allow from 10.233.64.0/18 && ufw default allow routed`
        ");
        assert!(sample.says("chain-drops").contains("belongs to a firewall"));
        sample.write(
            "/etc/ufw/user.rules",
            "### tuple ### allow tcp 6000:6500,10250 0.0.0.0/0 any 0.0.0.0/0 in\n\
             ### tuple ### allow any any 0.0.0.0/0 any 10.233.64.0/18 in\n",
        );
        sample.write(
            "/etc/default/ufw",
            "DEFAULT_INPUT_POLICY=\"DROP\"\nDEFAULT_FORWARD_POLICY=\"ACCEPT\"\n",
        );
        assert!(
            sample.says("firewall-drops").starts_with("good"),
            "{}",
            sample.says("firewall-drops")
        );
    }
}
