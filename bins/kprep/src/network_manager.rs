//! `NetworkManager` keeps its hands off the interfaces that Kubernetes makes.

use khost::{
    Cmd, Host, Result, StepList, fs,
    steps::{file::File, unit::Unit},
};
use kspec::Cluster;

const DIR: &str = "/etc/NetworkManager";
/// kubespray's file (`preinstall/tasks/0062-networkmanager-unmanaged-devices.yml`).
const PATH: &str = "/etc/NetworkManager/conf.d/k8s.conf";
const UNIT: &str = "NetworkManager.service";

/// The file where `NetworkManager` is installed; where it is also at work, it reads the file.
pub(crate) fn hands_off(steps: &mut StepList, host: &Host, cluster: &Cluster) -> Result<()> {
    if !fs::exists(&host.path(DIR)) {
        return Ok(());
    }
    steps.add(File::new(PATH).text(render(cluster)));
    if host.is_live() && is_at_work()? {
        steps.add(Unit::new(UNIT).reads([PATH]).started_elsewhere());
    }
    Ok(())
}

/// Whether it runs and is meant to: a unit that is off is nothing to restart.
fn is_at_work() -> Result<bool> {
    // is-active and is-enabled say no by one of these (systemctl(1)).
    let says = |verb| Cmd::new("systemctl").args([verb, "--quiet", UNIT]).accept(&[0, 1, 3, 4]);
    Ok(says("is-active").run()?.code == 0 && says("is-enabled").run()?.code == 0)
}

/// `NetworkManager.conf(5)`, section `keyfile`; names may hold wildcards.
fn render(cluster: &Cluster) -> String {
    let vxlan = format!("flannel.{}", cluster.network.flannel.vni);
    let names = ["cni0", &vxlan, "veth*", "kube-ipvs0", "nodelocaldns"];
    let devices = names.map(|name| format!("interface-name:{name}")).join(";");
    format!("# kprep: interfaces of Kubernetes\n[keyfile]\nunmanaged-devices+={devices}\n")
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    #[test]
    fn all_interfaces_of_kubernetes_are_named() {
        insta::assert_snapshot!(super::render(&Cluster::default()), @"
        # kprep: interfaces of Kubernetes
        [keyfile]
        unmanaged-devices+=interface-name:cni0;interface-name:flannel.1;interface-name:veth*;interface-name:kube-ipvs0;interface-name:nodelocaldns
        ");
    }
}
