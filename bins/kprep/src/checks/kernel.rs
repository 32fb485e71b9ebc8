//! The kernel: what containers and kube-proxy need of it, and who else sets its parameters.

use std::{collections::BTreeMap, path::Path};

use khost::{fs, steps::sysctl};
use kspec::cluster::KubeProxyMode;

use super::{Found, Outcome, Subject};
use crate::sysctls;

/// The first release that kube-proxy's nftables mode works with (Kubernetes, "nftables proxy
/// mode").
const NFTABLES: (u32, u32) = (5, 13);

pub(super) fn overlay(subject: &Subject<'_>) -> Found {
    if subject.facts.kernel.overlay {
        return Outcome::passed("the kernel knows overlay file systems").only();
    }
    Outcome::problem("the kernel knows no overlay file systems, which containers are made of")
        .seen("overlay is not in /proc/filesystems and no module has it")
        .remedy("install the modules of the running kernel, or boot a kernel that has overlay")
        .only()
}

pub(super) fn bridge_netfilter(subject: &Subject<'_>) -> Found {
    if subject.facts.kernel.bridge_netfilter {
        return Outcome::passed("bridged packets can be shown to iptables").only();
    }
    Outcome::warning("a Service may not answer when its pod is on the node of its client")
        .seen("the kernel has no br_netfilter, and no module of that name can be loaded")
        .remedy("install the modules of the running kernel")
        .only()
}

pub(super) fn release(subject: &Subject<'_>) -> Found {
    new_enough(&subject.facts.kernel.release, subject.cluster.kube_proxy.mode).only()
}

fn new_enough(release: &str, mode: KubeProxyMode) -> Outcome {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    let mut number = || numbers.next().and_then(|digits| digits.parse().ok()).unwrap_or(0);
    let found: (u32, u32) = (number(), number());
    if mode != KubeProxyMode::Nftables || found >= NFTABLES {
        return Outcome::passed("the kernel is new enough").seen(release);
    }
    let (major, minor) = NFTABLES;
    Outcome::problem(format!("kube-proxy's nftables mode needs Linux {major}.{minor}"))
        .seen(format!("this is {release}"))
        .remedy("set mode = \"iptables\" in [kube-proxy], or boot a newer kernel")
}

/// Parameters of `[host] sysctls` that this kernel does not have: better found before anything is
/// changed than half way through.
pub(super) fn parameters(subject: &Subject<'_>) -> Found {
    let Subject { host, cluster, .. } = subject;
    let unknown: Vec<_> = cluster
        .host
        .sysctls
        .keys()
        .filter(|key| !key.starts_with("net.bridge.") && !sysctl::exists(host, key))
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        return Outcome::passed("the kernel has the parameters of [host] sysctls").only();
    }
    Outcome::problem(format!("this kernel has no `{}`", unknown.join("`, `")))
        .seen("there is no such file below /proc/sys")
        .remedy("take it out of [host] sysctls, or load the module that brings it")
        .at("host.sysctls")
        .only()
}

/// Directories of sysctl.d(5); a file hides those of its name in the directories after its own.
const DIRS: [&str; 4] =
    ["/etc/sysctl.d", "/run/sysctl.d", "/usr/local/lib/sysctl.d", "/usr/lib/sysctl.d"];

/// Files that set a parameter of ours to something else, and are read after our file at boot.
pub(super) fn overridden(subject: &Subject<'_>) -> Found {
    let Subject { host, cluster, facts, .. } = subject;
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
        vec![Outcome::passed("nobody else sets what kprep sets at boot")]
    } else {
        found
    })
}

/// The last word that `later` files, as path and text, have on a parameter that is `wanted`
/// otherwise.
fn contradictions(
    wanted: &BTreeMap<String, String>,
    later: impl Iterator<Item = (String, String)>,
) -> Vec<Outcome> {
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
        Some(Outcome::warning(what).seen(seen).remedy(remedy))
    };
    last.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use kspec::cluster::KubeProxyMode::{Iptables, Nftables};

    use super::{
        super::{Verdict, sample::Sample},
        contradictions, new_enough,
    };

    #[test]
    fn nftables_needs_a_kernel() {
        for (text, mode, verdict) in [
            ("5.12.19", Nftables, Verdict::Problem),
            ("5.13.0-rc1", Nftables, Verdict::Passed),
            ("6.12.0-55.el10.x86_64", Nftables, Verdict::Passed),
            ("4.18.0-553.el8", Nftables, Verdict::Problem),
            ("4.18.0-553.el8", Iptables, Verdict::Passed),
        ] {
            assert_eq!(new_enough(text, mode).verdict, verdict, "{text}");
        }
    }

    #[test]
    fn unknown_parameters_are_named() {
        let mut sample = Sample::new(&[("/proc/sys/vm/swappiness", "60")]);
        for key in ["vm.swappiness", "net.bridge.bridge-nf-call-iptables"] {
            sample.cluster.host.sysctls.insert(key.into(), "1".into());
        }
        assert!(sample.says("sysctl-missing").starts_with("good"));
        sample.cluster.host.sysctls.insert("net.nope".into(), "1".into());
        let said = sample.says("sysctl-missing");
        let problem = "problem[sysctl-missing]: host.sysctls: this kernel has no `net.nope`\n";
        assert!(said.starts_with(problem), "{said}");
    }

    #[test]
    fn what_the_kernel_lacks_is_told() {
        let mut sample = Sample::new(&[
            ("/proc/filesystems", "nodev\ttmpfs\n"),
            ("/proc/sys/kernel/osrelease", "4.18.0-553.el8\n"),
        ]);
        sample.cluster.kube_proxy.mode = Nftables;
        for (code, said) in [
            ("overlay-missing", "problem[overlay-missing]: the kernel knows no overlay"),
            ("bridge-netfilter-missing", "warning[bridge-netfilter-missing]: a Service may not"),
            ("kernel-too-old", "problem[kernel-too-old]: kube-proxy's nftables mode needs Linux"),
        ] {
            assert!(sample.says(code).starts_with(said), "{}", sample.says(code));
        }
    }

    #[test]
    fn a_later_file_that_overrides_ours_is_named() {
        let sample = Sample::new(&[("/etc/sysctl.d/99-x.conf", "net.ipv4.ip_forward = 0\n")]);
        insta::assert_snapshot!(sample.says("sysctl-overridden"), @"
        warning[sysctl-overridden]: net.ipv4.ip_forward will not be 1 after the next boot
            seen: `/etc/sysctl.d/99-x.conf` sets it to 0
            hint: remove net.ipv4.ip_forward from `/etc/sysctl.d/99-x.conf`
        ");
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
