//! Programs that the tools and kubeadm run and that no step installs.

use std::path::PathBuf;

use khost::{Host, fs};
use kspec::{
    Cluster,
    state::{Facts, Family},
};

use super::Finding;

/// Where an ordinary user does not look and root does.
const SYSTEM: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What the tools themselves run.
const ALWAYS: [&str; 8] =
    ["flock", "groupadd", "hostnamectl", "mount", "nsenter", "systemctl", "umount", "useradd"];
/// What kubeadm asks for and the packages bring (kubeadm, `preflight/checks.go`).
const PACKAGED: [&str; 3] = ["conntrack", "ip", "iptables"];

pub(super) fn needed(host: &Host, cluster: &Cluster, facts: &Facts) -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> =
        std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from)).collect();
    let there = |name: &str| dirs.iter().any(|dir| fs::exists(&host.path(dir).join(name)));
    found(&names(cluster.host.manage_packages, facts), there)
}

fn names(manage_packages: bool, facts: &Facts) -> Vec<&'static str> {
    let mut names = ALWAYS.to_vec();
    names.extend(match (manage_packages, facts.os.family) {
        (true, Family::Debian) => &["apt-get", "dpkg-query"][..],
        (true, Family::RedHat) => &["dnf", "rpm"],
        (false, _) => &PACKAGED,
    });
    names
}

fn found(names: &[&str], there: impl Fn(&str) -> bool) -> Finding {
    let code = "programs-missing";
    let missing: Vec<_> = names.iter().copied().filter(|name| !there(name)).collect();
    if missing.is_empty() {
        return Finding::passed(code, "the programs that are used are there").seen(names.join(" "));
    }
    Finding::problem(code, "programs are missing")
        .seen(missing.join(" "))
        .remedy("install the packages that bring them")
}

#[cfg(test)]
mod tests {
    use super::{super::Verdict, found};

    #[test]
    fn the_missing_are_named() {
        let finding = found(&["mount", "ip", "nsenter"], |name| name == "mount");
        assert_eq!((finding.verdict, &*finding.evidence), (Verdict::Problem, "ip nsenter"));
        assert_eq!(found(&["mount"], |_| true).verdict, Verdict::Passed);
    }
}
