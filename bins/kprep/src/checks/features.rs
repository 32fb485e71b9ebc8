//! Kernel features, by using them: in a network of its own that ends with the program, where
//! nothing that is made can be seen from outside or outlives the look.
//!
//! The name of a module tells little: it may be built in, or belong to the machine below a
//! container. An ordinary user is root in a namespace of users as well, where the system lets him.

use std::time::Duration;

use khost::{Cmd, Error, Host};
use kspec::cluster::{Backend, KubeProxyMode};

use super::{Found, Outcome, Subject};

const LIMIT: Duration = Duration::from_secs(5);

/// What kube-proxy's rules are made of (`pkg/proxy/iptables/proxier.go`), flannel's too.
const RULES: &str = "\
*nat
-A POSTROUTING -m comment --comment kprep -m mark --mark 0x4000/0x4000 -j MASQUERADE --random-fully
-A PREROUTING -p tcp -m addrtype --dst-type LOCAL -m statistic --mode random --probability 0.5 -j DNAT --to-destination 192.0.2.1:1
-A PREROUTING -m recent --name kprep --rcheck --seconds 10 --reap -j MARK --set-xmark 0x4000/0x4000
COMMIT
*filter
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
";

#[expect(clippy::unnecessary_wraps, reason = "all checks have one form")]
pub(super) fn devices(subject: &Subject<'_>) -> Found {
    let mut kinds = vec![
        ("bridge", "no bridge: pods of a node have no network", &["bridge"][..]),
        ("veth", "no veth: no pod has a network", &["veth"]),
    ];
    if subject.cluster.network.flannel.backend == Backend::Vxlan {
        let vxlan = &["vxlan", "id", "1", "dstport", "8472"];
        kinds.push(("vxlan", "no vxlan: pods of different nodes do not reach each other", vxlan));
    }
    let mut found = Vec::new();
    for (kind, without, how) in kinds {
        let add = ["ip", "link", "add", "k8steps", "type"].iter().chain(how);
        found.push(judge(
            apart(&add.copied().collect::<Vec<_>>()).run().map(drop),
            &format!("the kernel makes network devices of the kind {kind}"),
            &format!("the kernel makes {without}"),
            "install the modules of the running kernel, or boot a kernel that has it",
        ));
    }
    Ok(found)
}

pub(super) fn packet_filter(subject: &Subject<'_>) -> Found {
    let mode = subject.cluster.kube_proxy.mode;
    let cmd = if mode == KubeProxyMode::Nftables {
        apart(&["nft", "add", "table", "ip", "kprep"])
    } else {
        apart(&["iptables-restore"]).input(RULES)
    };
    judge(
        cmd.run().map(drop),
        "the packet filter takes kube-proxy's rules",
        "the packet filter does not take kube-proxy's rules",
        "install the modules of the running kernel, or choose another mode in [kube-proxy]",
    )
    .only()
}

/// A command in a network of its own.
fn apart(command: &[&str]) -> Cmd {
    let own =
        if Host::is_root() { &["--net"][..] } else { &["--user", "--map-root-user", "--net"] };
    Cmd::new("unshare").args(own.iter().chain(command).copied()).limit(LIMIT)
}

/// Only a program that ran and failed tells something about the kernel.
fn judge(ran: Result<(), Error>, good: &str, bad: &str, remedy: &str) -> Outcome {
    let Err(error) = ran else { return Outcome::passed(good) };
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    if error.code() != "program-failed" || cause.starts_with("unshare:") {
        let not_there = cause.contains("No such file or directory");
        return Outcome::skipped(format!("whether {good}")).seen(cause).remedy(if not_there {
            "look again once `kprep apply` has installed the program"
        } else {
            "run as root"
        });
    }
    Outcome::problem(bad).seen(cause).remedy(remedy)
}

#[cfg(test)]
mod tests {
    use khost::Error;

    use super::{
        super::{Verdict, sample::Sample},
        judge,
    };

    #[test]
    fn only_the_kernels_own_no_is_a_problem() {
        let failed = |cause: &str| {
            let error = Error::host("program-failed", "it failed").because(cause.to_owned());
            judge(Err(error), "it works", "it does not", "mend it")
        };
        let outcome = failed("Error: Unknown device type.");
        assert_eq!((outcome.verdict, &*outcome.what), (Verdict::Problem, "it does not"));
        let outcome = failed("unshare: unshare failed: Operation not permitted");
        assert_eq!((outcome.verdict, &*outcome.remedy), (Verdict::Skipped, "run as root"));
        let outcome = failed("unshare: failed to execute nft: No such file or directory");
        assert_eq!(outcome.verdict, Verdict::Skipped);
        assert!(outcome.remedy.contains("once `kprep apply`"), "{outcome:?}");
        assert_eq!(judge(Ok(()), "it works", "", "").what, "it works");
    }

    /// Whatever this kernel has: each kind is told of, and nothing is left behind.
    #[test]
    fn the_kernel_is_asked() {
        let devices = || khost::fs::names("/sys/class/net".as_ref()).unwrap();
        let before = devices();
        let said = Sample::new(&[]).says("network-device-missing");
        for kind in ["bridge", "veth", "vxlan"] {
            assert!(said.contains(kind), "{said}");
        }
        let said = Sample::new(&[]).says("packet-filter-missing");
        assert!(said.contains("kube-proxy's rules"), "{said}");
        assert_eq!(devices(), before);
    }
}
