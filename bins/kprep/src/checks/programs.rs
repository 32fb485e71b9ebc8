//! Programs that the tools and kubeadm run and that no step installs.

use std::path::PathBuf;

use khost::fs;
use kspec::state::{Facts, Family};

use super::{Found, Outcome, Subject};

/// Where an ordinary user does not look and root does.
const SYSTEM: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What the tools themselves run.
const ALWAYS: [&str; 8] =
    ["flock", "groupadd", "hostnamectl", "mount", "nsenter", "systemctl", "umount", "useradd"];
/// What kubeadm asks for and the packages bring (kubeadm, `preflight/checks.go`).
const PACKAGED: [&str; 3] = ["conntrack", "ip", "iptables"];

pub(super) fn needed(subject: &Subject<'_>) -> Found {
    let Subject { host, cluster, facts, .. } = subject;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs: Vec<PathBuf> =
        std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from)).collect();
    let there = |name: &str| dirs.iter().any(|dir| fs::exists(&host.path(dir).join(name)));
    found(&names(cluster.host.manage_packages, facts), there).only()
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

fn found(names: &[&str], there: impl Fn(&str) -> bool) -> Outcome {
    let missing: Vec<_> = names.iter().copied().filter(|name| !there(name)).collect();
    if missing.is_empty() {
        return Outcome::passed("the programs that are used are there").seen(names.join(" "));
    }
    Outcome::problem("programs are missing")
        .seen(missing.join(" "))
        .remedy("install the packages that bring them")
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Verdict, sample::Sample},
        found,
    };

    #[test]
    fn the_missing_are_named() {
        let finding = found(&["mount", "ip", "nsenter"], |name| name == "mount");
        assert_eq!((finding.verdict, &*finding.evidence), (Verdict::Problem, "ip nsenter"));
        assert_eq!(found(&["mount"], |_| true).verdict, Verdict::Passed);
    }

    #[test]
    fn what_is_looked_for_depends_on_the_system() {
        let said = Sample::new(&[("/etc/os-release", "ID=rocky\n")]).says("programs-missing");
        assert!(said.starts_with("problem[programs-missing]: programs are missing"), "{said}");
        assert!(said.contains("dnf rpm") && !said.contains("apt-get"), "{said}");
    }
}
