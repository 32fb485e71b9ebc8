//! Interfaces and packet filters as the present configuration wants them: flanneld makes its own,
//! and leaves those of an earlier configuration.

use std::{net::IpAddr, path::Path};

use khost::{
    Change, Cmd, Context, Error, Host, Result, Status, Step, Thing, fs,
    steps::network::{
        addresses, chains_exist, remove_chains, remove_interface, remove_table, table_exists,
    },
};
use kspec::{
    Cidr,
    cluster::{Backend, Flannel},
};

use crate::{
    config,
    flannel::{CHAINS, TABLES},
    subnet::Share,
};

const LINKS: &str = "/sys/class/net";
const BRIDGE: &str = "cni0";

/// The interface that the operator names is one of this machine: flanneld would end again and
/// again, and the wait for it would be long.
///
/// # Errors
/// `interface-missing`.
pub(crate) fn check_chosen(host: &Host, flannel: &Flannel) -> Result<()> {
    let name = flannel.interface.as_str();
    if name.is_empty() || !host.is_live() {
        return Ok(());
    }
    let (links, own) = (fs::names(Path::new(LINKS))?, addresses()?);
    let found = match name.parse() {
        Ok(address) => own.contains(&address),
        Err(_) => links.iter().any(|link| link == name),
    };
    if found {
        return Ok(());
    }
    let own: Vec<_> = own.iter().map(ToString::to_string).collect();
    Err(Error::input("interface-missing", format!("this machine has no interface `{name}`"))
        .because(format!("it has {}, with {}", links.join(", "), own.join(", ")))
        .hint(
            "correct `network.flannel.interface`; where the nodes' differ, use `interface-regex`",
        ))
}

/// Bytes that vxlan puts around a packet (flannel, `pkg/backend/vxlan/device.go`).
const VXLAN: u32 = 50;

/// Largest packet of a pod as flanneld will find it, in bytes; none where only flanneld can tell.
pub(crate) fn pod_mtu(host: &Host, flannel: &Flannel) -> Result<Option<u32>> {
    let Some(link) = link_to_others(host, flannel)? else { return Ok(None) };
    let own = mtu(host, &link)?;
    Ok(match flannel.backend {
        Backend::Vxlan if flannel.mtu != 0 => flannel.mtu.checked_sub(VXLAN),
        Backend::Vxlan => own.and_then(|own| own.checked_sub(VXLAN)),
        Backend::HostGw => own,
    })
}

/// Largest packet of the interface `link`, in bytes; none where there is no such interface.
fn mtu(host: &Host, link: &str) -> Result<Option<u32>> {
    let text = fs::read_text(&host.path(LINKS).join(link).join("mtu"))?;
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

/// The interface that flanneld will take; none where that depends on more than a name.
fn link_to_others(host: &Host, flannel: &Flannel) -> Result<Option<String>> {
    let (name, regex) = (&flannel.interface, &flannel.interface_regex);
    if name.is_empty() && regex.is_empty() {
        let routes = fs::read_text(&host.path("/proc/net/route"))?.unwrap_or_default();
        return Ok(default_link(&routes).map(Into::into));
    }
    let is_name = !name.is_empty() && name.parse::<IpAddr>().is_err();
    Ok(is_name.then(|| name.clone()))
}

/// The interface of the default route in `/proc/net/route`: its name, destination and, eighth, the
/// mask, both in hexadecimal. None where there is none, or more than one to choose from.
fn default_link(routes: &str) -> Option<&str> {
    let default = |line: &&str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    };
    let mut links =
        routes.lines().filter(default).filter_map(|line| line.split_whitespace().next());
    let first = links.next()?;
    links.all(|link| link == first).then_some(first)
}

/// No tunnel of flannel's but that of the present configuration.
#[derive(Debug)]
pub(crate) struct OldTunnels {
    wanted: Option<String>,
}

impl OldTunnels {
    pub(crate) fn gone(flannel: &Flannel) -> Self {
        Self { wanted: config::tunnel(flannel) }
    }

    fn found(&self) -> Result<Vec<String>> {
        let links = fs::names(Path::new(LINKS))?;
        let old = |link: &String| is_tunnel(link) && self.wanted.as_ref() != Some(link);
        Ok(links.into_iter().filter(old).collect())
    }
}

/// `flannel.VNI`, as flanneld calls what it makes.
fn is_tunnel(link: &str) -> bool {
    let vni = link.strip_prefix("flannel.");
    vni.is_some_and(|vni| !vni.is_empty() && vni.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Step for OldTunnels {
    fn id(&self) -> String {
        "old-tunnels".into()
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        Ok(match self.found()?.as_slice() {
            [] => Status::Done,
            old => Status::Differs(Change::new(format!(
                "remove {}, of an earlier configuration",
                old.join(", ")
            ))),
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // what an earlier configuration made is not to come back
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        self.found()?.iter().try_for_each(|link| remove_interface(link))
    }
}

/// flannel's rules are in nftables or in iptables, not in both: those of the other would go on
/// holding for the network of then.
#[derive(Debug)]
pub(crate) struct OldRules {
    nftables: bool,
}

impl OldRules {
    pub(crate) fn gone(flannel: &Flannel) -> Self {
        Self { nftables: flannel.nftables }
    }
}

impl Step for OldRules {
    fn id(&self) -> String {
        "old-rules".into()
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let (old, program) = if self.nftables {
            (chains_exist(CHAINS)?, "iptables")
        } else {
            (table_exists(TABLES[0])? || table_exists(TABLES[1])?, "nftables")
        };
        Ok(if old {
            let what =
                format!("remove flannel's rules from {program}, of an earlier configuration");
            Status::Differs(Change::new(what))
        } else {
            Status::Done
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // what an earlier configuration made is not to come back
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        if self.nftables {
            return remove_chains(CHAINS);
        }
        TABLES.into_iter().try_for_each(remove_table)
    }
}

/// The bridge carries packets as large as flanneld allows. The bridge program sets that only when
/// it makes the bridge.
#[derive(Debug)]
pub(crate) struct BridgeMtu {
    pods: Cidr,
}

impl BridgeMtu {
    pub(crate) fn of_the_share(pods: &Cidr) -> Self {
        Self { pods: *pods }
    }

    /// The size it has and the one it shall have, where they differ. Before there is a bridge or a
    /// share, there is nothing to compare.
    fn differs(&self, host: &Host) -> Result<Option<(u32, u32)>> {
        let Ok(share) = Share::read(host, &self.pods)? else { return Ok(None) };
        let has = mtu(host, BRIDGE)?.filter(|has| *has != share.mtu);
        Ok(has.map(|has| (has, share.mtu)))
    }
}

impl Step for BridgeMtu {
    fn id(&self) -> String {
        format!("mtu:{BRIDGE}")
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match self.differs(context.host)? {
            None => Status::Done,
            Some((has, wanted)) => Status::Differs(Change::values(
                format!("set the largest packet of {BRIDGE}"),
                has.to_string(),
                wanted.to_string(),
            )),
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // the bridge goes with flannel
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let Some((_, wanted)) = self.differs(context.host)? else { return Ok(()) };
        Cmd::new("ip").args(["link", "set", BRIDGE, "mtu", &wanted.to_string()]).run().map(drop)
    }
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::cluster::{Backend, Flannel};
    use ktest::Tree;

    use super::{default_link, is_tunnel, pod_mtu};

    /// As the kernel has it: interface, destination, gateway, flags, three counters, mask.
    fn route(link: &str, destination: &str, mask: &str) -> String {
        format!("{link}\t{destination}\t0100000A\t0003\t0\t0\t0\t{mask}\t0\t0\t0\n")
    }

    #[test]
    fn the_default_route_has_one_interface() {
        let (any, net) = ("00000000", "0000000A");
        let routes = |all: &[String]| default_link(&all.concat()).map(str::to_owned);
        let own = route("eth1", net, "00FFFFFF");
        assert_eq!(routes(&[own.clone(), route("eth0", any, any)]).as_deref(), Some("eth0"));
        assert_eq!(
            routes(&[route("eth0", any, any), route("eth0", any, any)]).as_deref(),
            Some("eth0")
        );
        assert_eq!(routes(&[route("eth0", any, any), route("eth1", any, any)]), None);
        assert_eq!(routes(&[own, route("tun0", any, "00000080")]), None, "half of all addresses");
    }

    #[test]
    fn the_size_of_packets_is_told_only_where_it_is_certain() {
        let tree = Tree::new("/bin/true");
        tree.write("/sys/class/net/eth0/mtu", "1500\n");
        tree.write("/sys/class/net/eth1/mtu", "9000\n");
        tree.write("/proc/net/route", &route("eth0", "00000000", "00000000"));
        let mtu = |change: fn(&mut Flannel)| {
            let mut flannel =
                kspec::Cluster::example("node1", [192, 0, 2, 11].into()).network.flannel;
            change(&mut flannel);
            pod_mtu(&Host::new(tree.root()), &flannel).unwrap()
        };
        assert_eq!(mtu(|_| {}), Some(1450));
        assert_eq!(mtu(|flannel| flannel.backend = Backend::HostGw), Some(1500));
        assert_eq!(mtu(|flannel| flannel.mtu = 1400), Some(1350));
        assert_eq!(mtu(|flannel| flannel.interface = "eth1".into()), Some(8950));
        assert_eq!(mtu(|flannel| flannel.interface = "eth2".into()), None);
        assert_eq!(mtu(|flannel| flannel.interface = "192.0.2.11".into()), None);
        assert_eq!(mtu(|flannel| flannel.interface_regex = "^eth".into()), None);
    }

    #[test]
    fn only_flannels_own_interfaces_are_tunnels() {
        assert!(is_tunnel("flannel.1") && is_tunnel("flannel.9999999"));
        for other in ["flannel.", "flannel.1a", "flannel-v6.1", "flannel", "cni0", "eth0.1"] {
            assert!(!is_tunnel(other), "{other}");
        }
    }
}
