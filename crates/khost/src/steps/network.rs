//! Interfaces, addresses, and the packet filter chains that Kubernetes' programs make.

use std::{net::IpAddr, path::Path};

use crate::{Cmd, Error, Result, fs};

/// The machine's own addresses, without loopback and link-local ones.
pub fn addresses() -> Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().map_err(|error| {
        Error::host("network-failed", "cannot list the machine's addresses").because(error)
    })?;
    let mut found = Vec::new();
    for address in interfaces.filter_map(|interface| interface.address) {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let v6 = address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()));
        let Some(ip) = v4.or(v6).filter(|ip| !ip.is_loopback()) else { continue };
        let link_local = match ip {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if !link_local && !found.contains(&ip) {
            found.push(ip);
        }
    }
    Ok(found)
}

pub(crate) fn interface_exists(name: &str) -> bool {
    fs::exists(&Path::new("/sys/class/net").join(name))
}

/// Remove the interface `name`, when it is there.
pub(crate) fn remove_interface(name: &str) -> Result<()> {
    if !interface_exists(name) {
        return Ok(());
    }
    Cmd::new("ip").args(["link", "delete", name]).run().map(drop)
}

/// Remove every chain whose name begins with `prefix`, and every rule that mentions one, from all
/// iptables tables. All other rules stay, with their counters.
pub(crate) fn remove_chains(prefix: &str) -> Result<()> {
    for family in ["iptables", "ip6tables"] {
        let save = match Cmd::new(format!("{family}-save")).run() {
            Ok(output) => output.stdout,
            Err(error) if error.code() == "program-missing" => continue,
            Err(error) => return Err(error),
        };
        if let Some(script) = without_chains(&save, prefix) {
            let restore = Cmd::new(format!("{family}-restore")).args(["--noflush", "--counters"]);
            restore.input(script).run()?;
        }
    }
    Ok(())
}

/// A script for `iptables-restore --noflush` that takes the chains named `prefix…` out of `save`
/// (the output of `iptables-save`): rules elsewhere that mention them are deleted, they themselves
/// are emptied and removed. None when there are none.
fn without_chains(save: &str, prefix: &str) -> Option<String> {
    let mut lines = Vec::new();
    let (mut chains, mut rules) = (Vec::new(), Vec::new());
    let mentions = |rule: &str| rule.split(' ').any(|word| word.starts_with(prefix));
    for line in save.lines() {
        if line.starts_with('*') {
            chains.clear();
            rules.clear();
            lines.push(line.to_owned());
        } else if let Some(chain) = line.strip_prefix(':').and_then(|line| line.split(' ').next()) {
            if chain.starts_with(prefix) {
                chains.push(chain);
            }
        } else if let Some(rule) = line.strip_prefix("-A ").filter(|rule| mentions(rule)) {
            if !rule.starts_with(prefix) {
                rules.push(rule);
            }
        } else if line == "COMMIT" {
            for rule in &rules {
                lines.push(format!("-D {rule}"));
            }
            for chain in &chains {
                lines.push(format!("-F {chain}"));
            }
            for chain in &chains {
                lines.push(format!("-X {chain}"));
            }
            lines.push("COMMIT".into());
        }
    }
    let any = lines.iter().any(|line: &String| line.starts_with('-'));
    any.then(|| lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::without_chains;

    #[test]
    fn only_our_chains_and_the_rules_that_name_them_go() {
        let save = "\
*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK - [0:0]
:MINE - [0:0]
-A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-A PREROUTING -j MINE
-A KUBE-SERVICES -j KUBE-MARK
-A MINE -p tcp --dport 22 -j RETURN
COMMIT
*filter
:INPUT ACCEPT [0:0]
COMMIT
";
        let expected = "\
*nat
-D PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES
-F KUBE-SERVICES
-F KUBE-MARK
-X KUBE-SERVICES
-X KUBE-MARK
COMMIT
*filter
COMMIT
";
        assert_eq!(without_chains(save, "KUBE-").as_deref(), Some(expected));
        assert_eq!(without_chains(save, "FLANNEL-"), None);
    }
}
