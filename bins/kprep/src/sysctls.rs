//! Kernel parameters: the running value of each, and a file of our own for the next boot.
//!
//! kubespray's table (`preinstall/tasks/0080-system-configurations.yml`, `node/tasks/main.yml`).
//! It edits the distribution's `99-sysctl.conf`, be it a link; that file is left alone here.

use std::{collections::BTreeMap, fmt::Write as _};

use khost::{
    Host, StepList,
    steps::{
        absent::Absent,
        file::File,
        sysctl::{self, Sysctl},
    },
};
use kspec::{Cluster, state::Facts};

use crate::modules::BRIDGE;

/// Read after the distribution's own files (sysctl.d(5)).
pub(crate) const PATH: &str = "/etc/sysctl.d/90-k8steps.conf";

/// What earlier versions of kubespray left, with values of then.
const OLD: [&str; 2] = ["/etc/sysctl.d/ipv4-ip_forward.conf", "/etc/sysctl.d/bridge-nf-call.conf"];

/// Only kernels before 4.19 of the Red Hat kind have it.
const MAY_DETACH_MOUNTS: &str = "fs.may_detach_mounts";

/// Every parameter, by its dotted name. `[host] sysctls` has the last word.
pub(crate) fn wanted(host: &Host, cluster: &Cluster, facts: &Facts) -> BTreeMap<String, String> {
    let mut wanted: BTreeMap<String, String> = [
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv4.ip_local_reserved_ports", &cluster.network.node_ports),
        // kubelet's `protectKernelDefaults` refuses to start with other values.
        ("kernel.keys.root_maxbytes", "25000000"),
        ("kernel.keys.root_maxkeys", "1000000"),
        ("kernel.panic", "10"),
        ("kernel.panic_on_oops", "1"),
        ("vm.overcommit_memory", "1"),
        ("vm.panic_on_oom", "0"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    let mut want = |key: &str| wanted.insert(key.into(), "1".into());
    if !cluster.network.service_cidr.is_v4() || !cluster.network.pod_cidr.is_v4() {
        want("net.ipv6.conf.all.forwarding");
    }
    if facts.kernel.bridge_netfilter {
        for family in ["arptables", "ip6tables", "iptables"] {
            want(&format!("net.bridge.bridge-nf-call-{family}"));
        }
    }
    if !facts.container && sysctl::exists(host, MAY_DETACH_MOUNTS) {
        want(MAY_DETACH_MOUNTS);
    }
    wanted.extend(cluster.host.sysctls.clone());
    wanted
}

/// The file and the running values.
pub(crate) fn set(steps: &mut StepList, wanted: &BTreeMap<String, String>) {
    steps.extend(OLD.map(Absent::new));
    steps.add(File::new(PATH).text(render(wanted)));
    steps.extend(wanted.iter().map(|(key, value)| {
        let sysctl = Sysctl::new(key, value);
        if key.starts_with("net.bridge.") { sysctl.brought_by(BRIDGE) } else { sysctl }
    }));
}

fn render(wanted: &BTreeMap<String, String>) -> String {
    let mut text = "# kprep: what Kubernetes needs of the kernel\n".to_owned();
    for (key, value) in wanted {
        let _ = writeln!(text, "{key} = {value}"); // writing to a string cannot fail
    }
    text
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::Cluster;

    use super::{render, wanted};
    use crate::facts;

    fn text(cluster: &Cluster, bridge: bool) -> String {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let mut facts = facts::gather(&host, cluster, &cluster.nodes[0]).unwrap();
        facts.kernel.bridge_netfilter = bridge;
        render(&wanted(&host, cluster, &facts))
    }

    #[test]
    fn the_table() {
        let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
        cluster.host.sysctls.insert("vm.panic_on_oom".into(), "1".into());
        cluster.host.sysctls.insert("vm.swappiness".into(), "10".into());
        insta::assert_snapshot!(text(&cluster, true), @"
        # kprep: what Kubernetes needs of the kernel
        kernel.keys.root_maxbytes = 25000000
        kernel.keys.root_maxkeys = 1000000
        kernel.panic = 10
        kernel.panic_on_oops = 1
        net.bridge.bridge-nf-call-arptables = 1
        net.bridge.bridge-nf-call-ip6tables = 1
        net.bridge.bridge-nf-call-iptables = 1
        net.ipv4.ip_forward = 1
        net.ipv4.ip_local_reserved_ports = 30000-32767
        vm.overcommit_memory = 1
        vm.panic_on_oom = 1
        vm.swappiness = 10
        ");
        assert!(!text(&cluster, false).contains("net.bridge"));
    }

    #[test]
    fn ipv6_networks_are_forwarded() {
        let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
        assert!(!text(&cluster, true).contains("net.ipv6"));
        cluster.network.pod_cidr = "fd85:ee78:d8a6:8607::1:0/112".parse().unwrap();
        assert!(text(&cluster, true).contains("net.ipv6.conf.all.forwarding = 1\n"));
    }
}
