//! Interfaces, addresses, routes, and the packet filter chains that Kubernetes' programs make.

use std::{net::IpAddr, path::Path};

use kspec::Cidr;

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
///
/// # Errors
/// When `ip` refuses, as it does for real network cards.
pub fn remove_interface(name: &str) -> Result<()> {
    if !interface_exists(name) {
        return Ok(());
    }
    Cmd::new("ip").args(["link", "delete", name]).run().map(drop)
}

/// Whether nftables has the table `table`, which is `FAMILY NAME`.
///
/// # Errors
/// When `nft` fails. Where there is no such program, there is no such table.
pub fn table_exists(table: &str) -> Result<bool> {
    match Cmd::new("nft").args(["list", "tables"]).run() {
        Ok(output) => Ok(output.stdout.lines().any(|line| line == format!("table {table}"))),
        Err(error) if error.code() == "program-missing" => Ok(false),
        Err(error) => Err(error),
    }
}

/// Remove the table `table` with all it holds, when it is there.
///
/// # Errors
/// When `nft` refuses.
pub fn remove_table(table: &str) -> Result<()> {
    if table_exists(table)? {
        Cmd::new("nft").args(["delete", "table"]).args(table.split(' ')).run()?;
    }
    Ok(())
}

/// Remove every route to a part of `network`, of the main table.
pub(crate) fn remove_routes(network: &Cidr) -> Result<()> {
    let family = if network.is_v4() { "-4" } else { "-6" };
    let args = [family, "-json", "route", "show", "root", &network.to_string()];
    let found = Cmd::new("ip").args(args).run()?.stdout;
    for route in deletions(&found)? {
        Cmd::new("ip").args([family, "route", "delete"]).args(route).run()?;
    }
    Ok(())
}

/// What `ip route delete` is to be told of each route that `ip -json route show` printed.
fn deletions(json: &str) -> Result<Vec<Vec<String>>> {
    let routes: Vec<serde_json::Value> = match json.trim() {
        "" => Vec::new(), // no routes at all
        json => serde_json::from_str(json).map_err(|error| {
            Error::host("network-failed", "`ip` printed no JSON").because(error)
        })?,
    };
    let words = |route: &serde_json::Value| {
        let of = |key: &str| route[key].as_str().map(ToOwned::to_owned);
        let named = |word: &str, key: &str| of(key).map(|value| [word.to_owned(), value]);
        let hop = [named("via", "gateway"), named("dev", "dev")].into_iter().flatten().flatten();
        of("dst").into_iter().chain(hop).collect()
    };
    Ok(routes.iter().map(words).collect())
}

/// Remove every chain whose name begins with `prefix`, and every rule that mentions one, from all
/// iptables tables. All other rules stay, with their counters.
///
/// # Errors
/// When the programs of iptables fail.
pub fn remove_chains(prefix: &str) -> Result<()> {
    for (family, script) in removals(prefix)? {
        let restore = Cmd::new(format!("{family}-restore")).args(["--noflush", "--counters"]);
        restore.input(script).run()?;
    }
    Ok(())
}

/// Whether an iptables table has a chain whose name begins with `prefix`.
///
/// # Errors
/// When the programs of iptables fail. Where there are none, there are no chains.
pub fn chains_exist(prefix: &str) -> Result<bool> {
    Ok(!removals(prefix)?.is_empty())
}

/// For each family that has such chains, the script that removes them.
fn removals(prefix: &str) -> Result<Vec<(&'static str, String)>> {
    let mut scripts = Vec::new();
    for family in ["iptables", "ip6tables"] {
        let save = match Cmd::new(format!("{family}-save")).run() {
            Ok(output) => output.stdout,
            Err(error) if error.code() == "program-missing" => continue,
            Err(error) => return Err(error),
        };
        scripts.extend(without_chains(&save, prefix).map(|script| (family, script)));
    }
    Ok(scripts)
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
    use super::{deletions, without_chains};

    #[test]
    fn what_is_no_list_of_routes() {
        assert!(deletions(" \n").unwrap().is_empty());
        let error = deletions("default via 10.0.0.1").unwrap_err();
        assert_eq!(error.code(), "network-failed");
        assert!(error.chain().contains("`ip` printed no JSON"), "{}", error.chain());
    }

    #[test]
    fn a_route_is_named_by_where_it_leads_and_through_what() {
        let json = r#"[
            {"dst":"10.233.65.0/24","gateway":"10.99.0.12","dev":"eth0","flags":[]},
            {"dst":"10.233.64.0/24","dev":"cni0","protocol":"kernel","prefsrc":"10.233.64.1"}
        ]"#;
        let found = deletions(json).unwrap();
        assert_eq!(
            found,
            [
                &["10.233.65.0/24", "via", "10.99.0.12", "dev", "eth0"][..],
                &["10.233.64.0/24", "dev", "cni0"]
            ]
        );
        assert!(deletions("").unwrap().is_empty() && deletions("[ ]").unwrap().is_empty());
    }

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
