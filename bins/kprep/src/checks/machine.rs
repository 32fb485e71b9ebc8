//! The machine: its system, memory, address, swap and resolver.

use std::net::IpAddr;

use khost::{Host, Result, fs, steps::network};
use kspec::{Cluster, Node, Role, state::Facts};

use super::Finding;
use crate::{
    facts::resolver,
    resolver::{conf::ResolvConf, upstream::Upstream},
};

/// `MiB` that kubespray asks for (`minimal_master_memory_mb`, `minimal_node_memory_mb`).
const CONTROL_PLANE_MIB: u64 = 1500;
const NODE_MIB: u64 = 1024;

pub(super) fn operating_system(host: &Host) -> Result<Finding> {
    let os = khost::os::operating_system(host)?;
    Ok(Finding::passed("os-unsupported", "the operating system is supported").seen(os.name))
}

/// `sd_booted(3)`: the directory exists where systemd is init.
pub(super) fn init(host: &Host) -> Finding {
    if fs::exists(&host.path("/run/systemd/system")) {
        return Finding::passed("init-not-systemd", "systemd is init");
    }
    Finding::problem("init-not-systemd", "systemd is not init")
        .seen("there is no /run/systemd/system")
        .remedy("use a machine, or a container, that systemd booted")
}

pub(super) fn address(node: &Node) -> Result<Finding> {
    Ok(is_own(node, &network::addresses()?))
}

fn is_own(node: &Node, own: &[IpAddr]) -> Finding {
    let (address, name) = (node.address, &node.name);
    let seen = own.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if own.contains(&address) {
        return Finding::passed("address-not-here", format!("{address} is one of this machine's"))
            .seen(seen);
    }
    let seen = if seen.is_empty() { "it has none but loopback".into() } else { seen };
    let what = format!("{address} of node `{name}` is not an address of this machine");
    Finding::problem("address-not-here", what).seen(format!("it has: {seen}")).remedy(format!(
        "correct the address of [[node]] `{name}`, or give the machine that address, \
         or say with `--node` which node it is"
    ))
}

pub(super) fn memory(mib: u64, node: &Node) -> Finding {
    let (least, role) = if node.is(Role::ControlPlane) {
        (CONTROL_PLANE_MIB, "a control plane")
    } else {
        (NODE_MIB, "a node")
    };
    let wanted = format!("{role} needs {least} MiB of memory");
    let seen = format!("this machine has {mib} MiB");
    if mib >= least {
        return Finding::passed("memory-too-small", wanted).seen(seen);
    }
    Finding::problem("memory-too-small", wanted)
        .seen(seen)
        .remedy("give the machine more memory, or another machine these roles")
}

/// Swap that apply leaves on although kubelet would rather have it off.
pub(super) fn swap(facts: &Facts) -> Finding {
    let code = "swap-not-ours";
    if facts.container && facts.swap {
        return Finding::warning(code, "swap is left alone, and kubelet told to live with it")
            .seen("it belongs to the machine that this container runs on")
            .remedy("switch swap off on that machine, if you can");
    }
    Finding::passed(code, "swap is off, or kprep may switch it off, or it shall stay")
}

/// kubespray asks for one nameserver unless `CoreDNS` is told where else to ask.
pub(super) fn nameservers(host: &Host, cluster: &Cluster, facts: &Facts) -> Result<Finding> {
    let (path, servers) = if cluster.host.resolver.manage {
        let upstream = Upstream::of(host, cluster, facts.resolver)?;
        (resolver::RESOLV_CONF, upstream.for_pods(cluster).servers)
    } else {
        let text = fs::read_text(&host.path(&facts.resolv_conf))?.unwrap_or_default();
        (&*facts.resolv_conf, ResolvConf::parse(&text).servers)
    };
    let elsewhere = !cluster.addons.upstream_dns.is_empty() || !cluster.addons.coredns.enabled;
    Ok(has_nameserver(path, &servers, elsewhere))
}

fn has_nameserver(path: &str, servers: &[IpAddr], elsewhere: bool) -> Finding {
    let code = "nameserver-missing";
    if !servers.is_empty() || elsewhere {
        return Finding::passed(code, "CoreDNS knows whom to ask");
    }
    Finding::problem(code, "CoreDNS has nobody to ask for names outside the cluster")
        .seen(format!("`{path}` names no nameserver"))
        .remedy(format!("add `nameserver ADDRESS` to `{path}`, or set upstream-dns in [addons]"))
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Node, Role};

    use super::{super::Verdict, has_nameserver, is_own, memory};

    fn node() -> Node {
        Cluster::example("node1", "192.0.2.11".parse().unwrap()).nodes.remove(0)
    }

    #[test]
    fn an_address_must_be_here() {
        let other = ["192.0.2.12".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let finding = is_own(&node(), &other);
        assert_eq!(finding.verdict, Verdict::Problem);
        assert_eq!(finding.evidence, "it has: 192.0.2.12, 2001:db8::1");
        assert_eq!(is_own(&node(), &[node().address]).verdict, Verdict::Passed);
        assert!(is_own(&node(), &[]).evidence.contains("none"));
    }

    #[test]
    fn memory_by_role() {
        let mut worker = node();
        worker.roles = vec![Role::Worker];
        for (mib, node, verdict) in [
            (1499, &node(), Verdict::Problem),
            (1500, &node(), Verdict::Passed),
            (1023, &worker, Verdict::Problem),
            (1024, &worker, Verdict::Passed),
        ] {
            assert_eq!(memory(mib, node).verdict, verdict, "{mib}");
        }
    }

    #[test]
    fn a_nameserver_or_an_upstream() {
        let servers = ["192.0.2.1".parse().unwrap()];
        for (servers, elsewhere, verdict) in [
            (&servers[..], false, Verdict::Passed),
            (&[], true, Verdict::Passed),
            (&[], false, Verdict::Problem),
        ] {
            assert_eq!(has_nameserver("/r", servers, elsewhere).verdict, verdict);
        }
    }
}
