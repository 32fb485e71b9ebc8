//! Can this machine become a node? Looked at before anything is changed, and by `kprep validate`.
//!
//! kubespray's asserts (`preinstall/tasks/0040-verify-settings.yml`) and what operators suffer
//! from, with what was found and what to do beside each. No check changes anything; only the disk
//! probe writes, and only when it is asked for.

mod addresses;
mod capabilities;
mod cgroups;
mod clock;
mod disk;
mod engines;
mod features;
mod finding;
mod firewall;
mod kernel;
mod leftovers;
mod machine;
mod names;
mod ports;
mod programs;
#[cfg(test)]
mod sample;
mod security;
mod space;

use std::path::PathBuf;

use khost::{Error, Host, Result, Tool, fs};
use kspec::{
    Cluster, Node,
    state::{Facts, State as _},
};

pub(crate) use finding::{Finding, Outcome, Verdict};

use crate::facts;

/// What the checks look at: this machine, as the node it shall become.
pub(crate) struct Subject<'a> {
    host: &'a Host,
    cluster: &'a Cluster,
    node: &'a Node,
    facts: Facts,
    /// Where the description lies.
    config: PathBuf,
    /// kprep has been here before: what is found may be the node's own.
    prepared: bool,
    /// The disk may be written to, to see how fast it is.
    probe_disk: bool,
}

/// Where a check has a meaning.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// It reads files, and a tree has them as well.
    Tree,
    /// It asks the running machine.
    Machine,
}
use Scope::{Machine, Tree};

type Found = Result<Vec<Outcome>>;
type OfAny = fn(&Host) -> Found;
type OfNode = fn(&Subject<'_>) -> Found;

/// Checks that need to know nothing of what the machine shall be.
const OF_ANY: [(&str, Scope, OfAny); 4] = [
    ("os-unsupported", Tree, machine::operating_system),
    ("arch-unsupported", Machine, machine::arch),
    ("init-not-systemd", Machine, machine::init),
    ("cgroup-missing", Machine, cgroups::mounted),
];

/// Checks of a machine that shall become a certain node. `kspec::cluster::ACCEPTABLE` says which
/// of their problems can be accepted.
const OF_A_NODE: [(&str, Scope, OfNode); 34] = [
    ("address-not-here", Machine, addresses::here),
    ("address-of-another", Machine, addresses::of_another),
    ("address-duplicate", Machine, addresses::duplicate),
    ("address-silent", Machine, addresses::answers),
    ("name-elsewhere", Tree, names::elsewhere),
    ("name-not-resolved", Machine, names::resolved),
    ("nameserver-missing", Machine, machine::nameservers),
    ("programs-missing", Machine, programs::needed),
    ("memory-too-small", Machine, machine::memory),
    ("space-too-little", Machine, space::enough),
    ("space-pressure", Machine, space::without_pressure),
    ("disk-slow", Tree, disk::fast_enough),
    ("clock-behind", Machine, clock::not_behind),
    ("clock-not-synchronised", Machine, clock::synchronised),
    ("cgroup-v1", Machine, cgroups::version),
    ("cgroup-controller-missing", Machine, cgroups::controllers),
    ("overlay-missing", Machine, kernel::overlay),
    ("bridge-netfilter-missing", Machine, kernel::bridge_netfilter),
    ("kernel-too-old", Machine, kernel::release),
    ("network-device-missing", Machine, features::devices),
    ("packet-filter-missing", Machine, features::packet_filter),
    ("sysctl-missing", Machine, kernel::parameters),
    ("sysctl-overridden", Tree, kernel::overridden),
    ("capability-missing", Machine, capabilities::needed),
    ("capability-adapted", Machine, capabilities::adapted),
    ("swap-not-ours", Machine, machine::swap),
    ("selinux-mode", Tree, security::selinux),
    ("port-taken", Machine, ports::free),
    ("node-port-taken", Machine, ports::node_ports_free),
    ("firewall-drops", Machine, firewall::lets_through),
    ("chain-drops", Machine, firewall::chains),
    ("engine-foreign", Machine, engines::none_but_ours),
    ("cluster-foreign", Machine, engines::no_other_cluster),
    ("leftovers", Tree, leftovers::none),
];

/// All checks of the machine, whatever each comes to. Those that need to know what the machine
/// shall be are left out when nothing is known of it, and those of the running machine in a tree.
pub(crate) fn all(
    tool: &Tool,
    wanted: Option<(&Cluster, &Node)>,
    probe_disk: bool,
) -> Vec<Finding> {
    let host = &tool.host;
    let here = |scope| scope == Tree || host.is_live();
    let mut found = Vec::new();
    let mut look = |code, outcomes: Found| match outcomes {
        Ok(outcomes) => found.extend(outcomes.into_iter().map(|outcome| outcome.called(code))),
        Err(error) => found.push(error.into()),
    };
    for (code, _, check) in OF_ANY.into_iter().filter(|(_, scope, _)| here(*scope)) {
        look(code, check(host));
    }
    let Some((cluster, node)) = wanted else { return found };
    match Subject::new(host, cluster, node, tool.config_path(), probe_disk) {
        Ok(subject) => {
            for (code, _, check) in OF_A_NODE.into_iter().filter(|(_, scope, _)| here(*scope)) {
                look(code, check(&subject));
            }
        }
        Err(error) => found.push(error.into()),
    }
    accept(&mut found, &cluster.host.accept_problems);
    found
}

impl<'a> Subject<'a> {
    fn new(
        host: &'a Host,
        cluster: &'a Cluster,
        node: &'a Node,
        config: PathBuf,
        probe_disk: bool,
    ) -> Result<Self> {
        let facts = facts::whatever_the_system(host, cluster, node)?;
        let prepared = fs::exists(&host.path(Facts::PATH));
        Ok(Self { host, cluster, node, facts, config, prepared, probe_disk })
    }
}

/// Problems the operator has accepted are warnings.
fn accept(found: &mut [Finding], accepted: &[String]) {
    let acceptable = |code: &str| kspec::cluster::ACCEPTABLE.contains(&code);
    for finding in found.iter_mut().filter(|finding| finding.is(Verdict::Problem)) {
        if acceptable(finding.code) && accepted.iter().any(|code| code == finding.code) {
            finding.outcome.verdict = Verdict::Warning;
            finding.outcome.what += ", which [host] accept-problems accepts";
        }
    }
}

/// Refuse to prepare a machine that cannot become a node, and pass on the warnings.
///
/// # Errors
/// The first problem; the hint says where to see the others.
pub(crate) fn passed(tool: &Tool, cluster: &Cluster, node: &Node) -> Result<()> {
    let findings = all(tool, Some((cluster, node)), false);
    for finding in findings.iter().filter(|finding| finding.is(Verdict::Warning)) {
        tool.report.say(&warning(&finding.outcome));
    }
    let mut problems = findings.iter().filter(|finding| finding.is(Verdict::Problem));
    let Some(Finding { code, outcome: first }) = problems.next() else { return Ok(()) };
    let hint = match problems.count() {
        0 => first.remedy.clone(),
        more => format!("{}; `kprep validate` shows {more} more", first.remedy),
    };
    let error = Error::host(code, first.what.clone()).hint(hint);
    Err(if first.evidence.is_empty() { error } else { error.because(first.evidence.clone()) })
}

fn warning(outcome: &Outcome) -> String {
    if outcome.evidence.is_empty() {
        return format!("warning: {}", outcome.what);
    }
    format!("warning: {} ({})", outcome.what, outcome.evidence.replace('\n', ", "))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kspec::cluster::ACCEPTABLE;

    use super::{OF_A_NODE, OF_ANY, Outcome, Verdict, accept, warning};

    fn codes() -> Vec<&'static str> {
        let any = OF_ANY.iter().map(|(code, ..)| *code);
        any.chain(OF_A_NODE.iter().map(|(code, ..)| *code)).collect()
    }

    #[test]
    fn every_code_names_one_check_and_stands_on_the_page() {
        let page = include_str!("../../../../docs/kprep.md");
        let mut seen = BTreeSet::new();
        for code in codes() {
            assert!(seen.insert(code), "`{code}` names two checks");
            assert!(page.contains(&format!("`{code}`")), "docs/kprep.md says nothing of `{code}`");
        }
    }

    #[test]
    fn only_problems_of_checks_can_be_accepted() {
        for code in ACCEPTABLE {
            assert!(codes().contains(&code), "`{code}` is no check");
        }
    }

    #[test]
    fn an_accepted_problem_is_a_warning_and_others_stay() {
        let problem = |code| Outcome::problem("it is bad").called(code);
        let mut found = [problem("port-taken"), problem("disk-slow"), problem("os-unsupported")];
        accept(&mut found, &["port-taken".into(), "os-unsupported".into()]);
        let verdicts = found.each_ref().map(|finding| finding.outcome.verdict);
        assert_eq!(verdicts, [Verdict::Warning, Verdict::Problem, Verdict::Problem]);
        assert_eq!(found[0].outcome.what, "it is bad, which [host] accept-problems accepts");
    }

    #[test]
    fn a_warning_without_evidence_has_no_brackets() {
        assert_eq!(warning(&Outcome::warning("it is old")), "warning: it is old");
        let seen = Outcome::warning("it is old").seen("from\n1999");
        assert_eq!(warning(&seen), "warning: it is old (from, 1999)");
    }
}
