//! The machine: its system, memory, swap and resolver.

use std::net::IpAddr;

use khost::{Host, fs, os};
use kspec::{Node, Role};

use super::{Found, Outcome, Subject};
use crate::{
    facts::{self, resolver},
    resolver::{conf::ResolvConf, upstream::Upstream},
};

/// `MiB` that kubespray asks for (`minimal_master_memory_mb`, `minimal_node_memory_mb`).
const CONTROL_PLANE_MIB: u64 = 1500;
const NODE_MIB: u64 = 1024;

pub(super) fn operating_system(host: &Host) -> Found {
    let os = os::operating_system(host)?;
    Outcome::passed("the operating system is supported").seen(os.name).only()
}

pub(super) fn arch(_: &Host) -> Found {
    let arch = facts::arch()?;
    Outcome::passed("the processor is supported").seen(arch.to_string()).only()
}

/// `sd_booted(3)`: the directory exists where systemd is init.
pub(super) fn init(host: &Host) -> Found {
    if fs::exists(&host.path("/run/systemd/system")) {
        return Outcome::passed("systemd is init").only();
    }
    Outcome::problem("systemd is not init")
        .seen("there is no /run/systemd/system")
        .remedy("use a machine, or a container, that systemd booted")
        .only()
}

pub(super) fn memory(subject: &Subject<'_>) -> Found {
    suffices(subject.facts.memory_mib, subject.node).only()
}

fn suffices(mib: u64, node: &Node) -> Outcome {
    let (least, role) = if node.is(Role::ControlPlane) {
        (CONTROL_PLANE_MIB, "a control plane")
    } else {
        (NODE_MIB, "a node")
    };
    let wanted = format!("{role} needs {least} MiB of memory");
    let seen = format!("this machine has {mib} MiB");
    if mib >= least {
        return Outcome::passed(wanted).seen(seen);
    }
    Outcome::problem(wanted)
        .seen(seen)
        .remedy("give the machine more memory, or another machine these roles")
}

/// Swap that apply leaves on although kubelet would rather have it off.
pub(super) fn swap(subject: &Subject<'_>) -> Found {
    if subject.facts.container && subject.facts.swap {
        return Outcome::warning("swap is left alone, and kubelet told to live with it")
            .seen("it belongs to the machine that this container runs on")
            .remedy("switch swap off on that machine, if you can")
            .only();
    }
    Outcome::passed("swap is off, or kprep may switch it off, or it shall stay").only()
}

/// kubespray asks for one nameserver unless `CoreDNS` is told where else to ask.
pub(super) fn nameservers(subject: &Subject<'_>) -> Found {
    let Subject { host, cluster, facts, .. } = subject;
    let (path, servers) = if cluster.host.resolver.manage {
        let upstream = Upstream::of(host, cluster, facts.resolver)?;
        (resolver::RESOLV_CONF, upstream.for_pods(cluster).servers)
    } else {
        let text = fs::read_text(&host.path(&facts.resolv_conf))?.unwrap_or_default();
        (&*facts.resolv_conf, ResolvConf::parse(&text).servers)
    };
    let elsewhere = !cluster.addons.upstream_dns.is_empty() || !cluster.addons.coredns.enabled;
    has_nameserver(path, &servers, elsewhere).only()
}

fn has_nameserver(path: &str, servers: &[IpAddr], elsewhere: bool) -> Outcome {
    if !servers.is_empty() || elsewhere {
        return Outcome::passed("CoreDNS knows whom to ask");
    }
    Outcome::problem("CoreDNS has nobody to ask for names outside the cluster")
        .seen(format!("`{path}` names no nameserver"))
        .remedy(format!("add `nameserver ADDRESS` to `{path}`, or set upstream-dns in [addons]"))
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Node, Role};

    use super::{
        super::{Verdict, sample::Sample},
        has_nameserver, suffices,
    };

    fn node() -> Node {
        Cluster::example("node1", "192.0.2.11".parse().unwrap()).nodes.remove(0)
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
            assert_eq!(suffices(mib, node).verdict, verdict, "{mib}");
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

    #[test]
    fn each_is_named_by_its_code() {
        let mut sample = Sample::new(&[
            ("/proc/meminfo", "MemTotal: 1048576 kB\n"),
            ("/etc/resolv.conf", "search example\n"),
            ("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"),
            ("/run/systemd/container", "lxc"),
        ]);
        sample.container = true;
        for (code, said) in [
            ("memory-too-small", "problem[memory-too-small]: a control plane needs 1500 MiB"),
            ("nameserver-missing", "problem[nameserver-missing]: CoreDNS has nobody to ask"),
            ("swap-not-ours", "warning[swap-not-ours]: swap is left alone"),
            ("init-not-systemd", "problem[init-not-systemd]: systemd is not init"),
            ("os-unsupported", "good[os-unsupported]: the operating system is supported"),
            ("arch-unsupported", "good[arch-unsupported]: the processor is supported"),
        ] {
            assert!(sample.says(code).starts_with(said), "{}", sample.says(code));
        }
    }
}
