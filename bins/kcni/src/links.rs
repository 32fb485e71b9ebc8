//! Interfaces and packet filters as the present configuration wants them: flanneld makes its own,
//! and leaves those of an earlier configuration.

use std::path::Path;

use khost::{
    Change, Cmd, Context, Error, Host, Result, Status, Step, Thing, fs,
    steps::network::{
        addresses, chains_exist, remove_chains, remove_interface, remove_table, table_exists,
    },
};
use kspec::{Cidr, cluster::Flannel};

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
        let has = fs::read_text(&Path::new(LINKS).join(BRIDGE).join("mtu"))?;
        let has = has.and_then(|text| text.trim().parse().ok());
        Ok(has.filter(|has| *has != share.mtu).map(|has| (has, share.mtu)))
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
    use super::is_tunnel;

    #[test]
    fn only_flannels_own_interfaces_are_tunnels() {
        assert!(is_tunnel("flannel.1") && is_tunnel("flannel.9999999"));
        for other in ["flannel.", "flannel.1a", "flannel-v6.1", "flannel", "cni0", "eth0.1"] {
            assert!(!is_tunnel(other), "{other}");
        }
    }
}
