//! The kernel: what containers and kube-proxy need of it, and who else sets its parameters.

use std::{collections::BTreeMap, path::Path};

use khost::{Host, Result, fs, steps::sysctl};
use kspec::{
    Cluster,
    cluster::KubeProxyMode,
    state::{Facts, Kernel},
};

use super::Finding;
use crate::sysctls;

/// The first release that kube-proxy's nftables mode works with (Kubernetes, "nftables proxy
/// mode").
const NFTABLES: (u32, u32) = (5, 13);

pub(super) fn cgroup(host: &Host) -> Result<Finding> {
    let code = "cgroup-missing";
    let found = fs::names(&host.path("/sys/fs/cgroup"))?;
    Ok(if found.is_empty() {
        Finding::problem(code, "no control groups are mounted")
            .seen("/sys/fs/cgroup is empty")
            .remedy("mount them: systemd does so on every machine it boots")
    } else {
        Finding::passed(code, "control groups are mounted")
    })
}

pub(super) fn overlay(kernel: &Kernel) -> Finding {
    let code = "overlay-missing";
    if kernel.overlay {
        return Finding::passed(code, "the kernel knows overlay file systems");
    }
    Finding::problem(code, "the kernel knows no overlay file systems, which containers are made of")
        .seen("overlay is not in /proc/filesystems and no module has it")
        .remedy("install the modules of the running kernel, or boot a kernel that has overlay")
}

pub(super) fn bridge_netfilter(kernel: &Kernel) -> Finding {
    let code = "bridge-netfilter-missing";
    if kernel.bridge_netfilter {
        return Finding::passed(code, "bridged packets can be shown to iptables");
    }
    Finding::warning(code, "a Service may not answer when its pod is on the node of its client")
        .seen("the kernel has no br_netfilter, and no module of that name can be loaded")
        .remedy("install the modules of the running kernel")
}

pub(super) fn release(release: &str, mode: KubeProxyMode) -> Finding {
    let code = "kernel-too-old";
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let found: (u32, u32) = (number(), number());
    if mode != KubeProxyMode::Nftables || found >= NFTABLES {
        return Finding::passed(code, "the kernel is new enough").seen(release);
    }
    let (major, minor) = NFTABLES;
    Finding::problem(code, format!("kube-proxy's nftables mode needs Linux {major}.{minor}"))
        .seen(format!("this is {release}"))
        .remedy("set mode = \"iptables\" in [kube-proxy], or boot a newer kernel")
}

/// Parameters of `[host] sysctls` that this kernel does not have: better found before anything is
/// changed than half way through.
pub(super) fn parameters(host: &Host, cluster: &Cluster) -> Finding {
    let code = "sysctl-missing";
    let unknown: Vec<_> = cluster
        .host
        .sysctls
        .keys()
        .filter(|key| !key.starts_with("net.bridge.") && !sysctl::exists(host, key))
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        return Finding::passed(code, "the kernel has the parameters of [host] sysctls");
    }
    Finding::problem(code, format!("this kernel has no `{}`", unknown.join("`, `")))
        .seen("there is no such file below /proc/sys")
        .remedy("take it out of [host] sysctls, or load the module that brings it")
        .at("host.sysctls")
}

/// Directories of sysctl.d(5); a file hides those of its name in the directories after its own.
const DIRS: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// Files that set a parameter of ours to something else, and are read after our file at boot.
pub(super) fn overridden(host: &Host, cluster: &Cluster, facts: &Facts) -> Result<Vec<Finding>> {
    let mut files = BTreeMap::new();
    for dir in DIRS {
        for name in fs::names(&host.path(dir))? {
            if Path::new(&name).extension() != Some("conf".as_ref()) {
                continue;
            }
            let path = format!("{dir}/{name}");
            let text = fs::read_text(&host.path(&path))?.unwrap_or_default();
            files.entry(name).or_insert((path, text));
        }
    }
    let wanted = sysctls::wanted(host, cluster, facts);
    let ours = sysctls::PATH.rsplit('/').next().unwrap_or_default();
    let later = files.into_iter().filter(|(name, _)| name.as_str() > ours).map(|(_, file)| file);
    let found = contradictions(&wanted, later);
    Ok(if found.is_empty() {
        vec![Finding::passed("sysctl-overridden", "nobody else sets what kprep sets at boot")]
    } else {
        found
    })
}

/// The last word that `later` files, as path and text, have on a parameter that is `wanted`
/// otherwise.
fn contradictions(
    wanted: &BTreeMap<String, String>,
    later: impl Iterator<Item = (String, String)>,
) -> Vec<Finding> {
    let mut last = BTreeMap::new();
    for (path, text) in later {
        for line in text.lines().filter(|line| !line.trim_start().starts_with(['#', ';'])) {
            let Some((key, value)) = line.split_once('=') else { continue };
            let key = key.trim().trim_start_matches('-').replace('/', ".");
            last.insert(key, (value.trim().to_owned(), path.clone()));
        }
    }
    let differs = |(key, (value, path)): (String, (String, String))| {
        let wanted = wanted.get(&key).filter(|wanted| **wanted != value)?;
        let what = format!("{key} will not be {wanted} after the next boot");
        let remedy = format!("remove {key} from `{path}`");
        let seen = format!("`{path}` sets it to {value}");
        Some(Finding::warning("sysctl-overridden", what).seen(seen).remedy(remedy))
    };
    last.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::{
        Cluster,
        cluster::KubeProxyMode::{Iptables, Nftables},
    };

    use super::{super::Verdict, contradictions, parameters, release};

    #[test]
    fn nftables_needs_a_kernel() {
        for (text, mode, verdict) in [
            ("5.12.19", Nftables, Verdict::Problem),
            ("5.13.0-rc1", Nftables, Verdict::Passed),
            ("6.12.0-55.el10.x86_64", Nftables, Verdict::Passed),
            ("4.18.0-553.el8", Nftables, Verdict::Problem),
            ("4.18.0-553.el8", Iptables, Verdict::Passed),
        ] {
            assert_eq!(release(text, mode).verdict, verdict, "{text}");
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("proc/sys/vm/swappiness")).unwrap();
        let host = Host::new(root.path());
        let mut cluster = Cluster::default();
        for key in ["vm.swappiness", "net.bridge.bridge-nf-call-iptables"] {
            cluster.host.sysctls.insert(key.into(), "1".into());
        }
        assert_eq!(parameters(&host, &cluster).verdict, Verdict::Passed);
        cluster.host.sysctls.insert("net.nope".into(), "1".into());
        let finding = parameters(&host, &cluster);
        assert_eq!(finding.verdict, Verdict::Problem);
        assert_eq!(finding.what, "this kernel has no `net.nope`");
    }

    #[test]
    fn the_last_word_counts() {
        let wanted = [("net.ipv4.ip_forward", "1"), ("vm.panic_on_oom", "0")];
        let wanted = wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let files = |files: &[(&str, &str)]| {
            let owned = files.iter().map(|(path, text)| ((*path).into(), (*text).into()));
            contradictions(&wanted, owned.collect::<Vec<_>>().into_iter())
        };
        let found = files(&[
            ("/etc/sysctl.d/99-sysctl.conf", "# net.ipv4.ip_forward=0\n-net/ipv4/ip_forward = 0\n"),
            ("/etc/sysctl.d/99-x.conf", "vm.panic_on_oom=0\nvm.swappiness=1\n"),
        ]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].what, "net.ipv4.ip_forward will not be 1 after the next boot");
        let mended = [("/a", "net.ipv4.ip_forward=0\n"), ("/b", "net.ipv4.ip_forward=1\n")];
        assert_eq!(files(&mended), []);
    }
}
