//! Packages of the distribution that a Kubernetes node uses.
//!
//! kubespray's list (`bootstrap_os`, `pkgs`), without what only Ansible or its package sources
//! need: apt-transport-https, gnupg, mergerfs, python3-apt, software-properties-common.

use khost::steps::package::Packages;
use kspec::{
    Cluster,
    cluster::{KubeProxyMode, Selinux},
    state::Family,
};

const BOTH: [&str; 12] = [
    "bash-completion",
    "conntrack",
    "curl",
    "e2fsprogs",
    "ebtables",
    "iptables",
    "openssl",
    "rsync",
    "socat",
    "tar",
    "unzip",
    "xfsprogs",
];
const DEBIAN: [&str; 3] = ["apparmor", "iproute2", "libseccomp2"];
const RED_HAT: [&str; 5] =
    ["container-selinux", "device-mapper-libs", "iproute", "libseccomp", "nss"];
/// What labels files for a `SELinux` that forbids: matchpathcon(8), semanage(8).
const ENFORCING: [&str; 2] = ["libselinux-utils", "policycoreutils-python-utils"];

/// The packages a node of `cluster` needs.
pub(crate) fn needed(cluster: &Cluster, family: Family) -> Packages {
    Packages::new(family, &all(cluster, family))
}

fn all(cluster: &Cluster, family: Family) -> Vec<&str> {
    let mut names = names(cluster.kube_proxy.mode, family);
    if cluster.host.selinux == Selinux::Enforcing && family == Family::RedHat {
        names.extend(ENFORCING);
    }
    names.extend(cluster.host.packages.iter().map(String::as_str));
    names.sort_unstable();
    names.dedup();
    names
}

fn names(mode: KubeProxyMode, family: Family) -> Vec<&'static str> {
    let mut names = BOTH.to_vec();
    names.extend(match family {
        Family::Debian => &DEBIAN[..],
        Family::RedHat => &RED_HAT[..],
    });
    names.push(if mode == KubeProxyMode::Ipvs { "ipvsadm" } else { "ipset" });
    if mode == KubeProxyMode::Nftables {
        names.push("nftables");
    }
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use kspec::{
        Cluster,
        cluster::{KubeProxyMode, Selinux},
        state::Family,
    };

    use super::{all, names};

    #[test]
    fn debian() {
        insta::assert_snapshot!(names(KubeProxyMode::Iptables, Family::Debian).join(" "), @"apparmor bash-completion conntrack curl e2fsprogs ebtables iproute2 ipset iptables libseccomp2 openssl rsync socat tar unzip xfsprogs");
    }

    #[test]
    fn red_hat() {
        insta::assert_snapshot!(names(KubeProxyMode::Iptables, Family::RedHat).join(" "), @"bash-completion conntrack container-selinux curl device-mapper-libs e2fsprogs ebtables iproute ipset iptables libseccomp nss openssl rsync socat tar unzip xfsprogs");
    }

    #[test]
    fn kube_proxy_has_its_tool() {
        let has = |mode, name| names(mode, Family::Debian).contains(&name);
        assert!(has(KubeProxyMode::Ipvs, "ipvsadm") && !has(KubeProxyMode::Ipvs, "ipset"));
        assert!(has(KubeProxyMode::Nftables, "nftables") && has(KubeProxyMode::Nftables, "ipset"));
    }

    #[test]
    fn the_operators_own_and_what_labels_files_come_along_once() {
        let mut cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let more = |cluster: &Cluster, family| {
            let mut more = all(cluster, family);
            for usual in names(cluster.kube_proxy.mode, family) {
                more.remove(more.iter().position(|name| *name == usual).unwrap());
            }
            more.join(" ")
        };
        assert_eq!(more(&cluster, Family::RedHat), "");
        cluster.host.packages = ["tar", "htop"].map(Into::into).to_vec();
        cluster.host.selinux = Selinux::Enforcing;
        assert_eq!(more(&cluster, Family::Debian), "htop");
        let labelling = "htop libselinux-utils policycoreutils-python-utils";
        assert_eq!(more(&cluster, Family::RedHat), labelling);
    }
}
