//! Kernel modules, now and at every boot.
//!
//! What counts is the feature: a module that is built in, or that the machine below a container
//! has loaded, is neither loaded nor listed.

use std::path::PathBuf;

use khost::{
    Host, Result, StepList,
    steps::{file::File, module::Module},
};
use kspec::{Cluster, cluster::KubeProxyMode, state::Facts};

use crate::facts;

/// systemd's list of modules to load at boot (modules-load.d(5)).
const PATH: &str = "/etc/modules-load.d/k8steps.conf";

/// Shows bridged packets to iptables; without it, a Service whose pod is on the node of its
/// client does not answer.
pub(crate) const BRIDGE: &str = "br_netfilter";

/// For kube-proxy in ipvs mode, as kubespray lists them (`node/tasks/main.yml`).
const IPVS: [&str; 7] =
    ["ip_vs", "ip_vs_rr", "ip_vs_wrr", "ip_vs_sh", "ip_vs_wlc", "ip_vs_lc", "nf_conntrack"];

/// The modules that `cluster` uses, with the file that is there once the feature is.
fn wanted(cluster: &Cluster) -> Vec<(&'static str, PathBuf)> {
    let listed = |name: &str| PathBuf::from("/sys/module").join(name);
    let mut wanted =
        vec![("overlay", listed("overlay")), (BRIDGE, PathBuf::from("/proc/sys/net/bridge"))];
    match cluster.kube_proxy.mode {
        KubeProxyMode::Iptables => {}
        KubeProxyMode::Ipvs => wanted.extend(IPVS.map(|name| (name, listed(name)))),
        KubeProxyMode::Nftables => wanted.push(("nf_tables", listed("nf_tables"))),
    }
    wanted
}

/// Load what can be loaded, and have it loaded at boot.
pub(crate) fn loaded(
    steps: &mut StepList,
    host: &Host,
    cluster: &Cluster,
    facts: &Facts,
) -> Result<()> {
    let mut loadable = Vec::new();
    for (name, feature) in wanted(cluster) {
        if facts::loadable(host, name, facts.container)? {
            loadable.push((name, feature));
        }
    }
    if loadable.is_empty() {
        return Ok(());
    }
    steps.add(File::new(PATH).text(render(loadable.iter().map(|(name, _)| *name))));
    steps.extend(loadable.into_iter().map(|(name, feature)| Module::new(name, feature)));
    Ok(())
}

fn render<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.fold("# kprep: what Kubernetes needs of the kernel\n".into(), |text, name| {
        format!("{text}{name}\n")
    })
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, cluster::KubeProxyMode};

    use super::{render, wanted};

    #[test]
    fn ipvs_has_its_modules() {
        let mut cluster = Cluster::default();
        let names = |cluster: &Cluster| render(wanted(cluster).iter().map(|(name, _)| *name));
        insta::assert_snapshot!(names(&cluster), @"
        # kprep: what Kubernetes needs of the kernel
        overlay
        br_netfilter
        ");
        cluster.kube_proxy.mode = KubeProxyMode::Ipvs;
        assert!(names(&cluster).contains("ip_vs_wrr\n"));
    }
}
