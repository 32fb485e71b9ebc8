//! Can this machine become a node? Looked at before anything is changed, and by `kprep validate`.
//!
//! kubespray's asserts (`preinstall/tasks/0040-verify-settings.yml`), with what was found and what
//! to do beside each.

mod kernel;
mod machine;
mod ports;
mod programs;

use khost::{Error, Result, Tool, fs};
use kspec::{
    Cluster, Node,
    state::{Facts, State as _},
};

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// It is good.
    Passed,
    /// It works, but not as well as it could.
    Warning,
    /// No node can be made of this.
    Problem,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Finding {
    /// A stable name: of the check, and of its failure.
    pub(crate) code: &'static str,
    #[serde(rename = "event")]
    pub(crate) verdict: Verdict,
    /// In `cluster.toml`, the key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) key: String,
    /// What is wanted, or what is wrong.
    pub(crate) what: String,
    /// What was seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) evidence: String,
    /// What to do about it.
    #[serde(rename = "hint", skip_serializing_if = "String::is_empty")]
    pub(crate) remedy: String,
}

impl Finding {
    fn new(verdict: Verdict, code: &'static str, what: impl Into<String>) -> Self {
        let [key, evidence, remedy] = [const { String::new() }; 3];
        Self { code, verdict, key, what: what.into(), evidence, remedy }
    }

    /// All is well: what was looked at.
    pub(crate) fn passed(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(Verdict::Passed, code, what)
    }

    /// A warning: what is not as it should be.
    pub(crate) fn warning(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(Verdict::Warning, code, what)
    }

    /// A problem: what is wrong.
    pub(crate) fn problem(code: &'static str, what: impl Into<String>) -> Self {
        Self::new(Verdict::Problem, code, what)
    }

    /// What was seen.
    pub(crate) fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence = evidence.into();
        self
    }

    /// What to do about it.
    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// Where in `cluster.toml`.
    pub(crate) fn at(mut self, key: impl Into<String>) -> Self {
        self.key = key.into();
        self
    }
}

impl From<Error> for Finding {
    fn from(error: Error) -> Self {
        let mut causes = Vec::new();
        let mut cause = std::error::Error::source(&error);
        while let Some(source) = cause {
            causes.push(source.to_string());
            cause = source.source();
        }
        let finding = Self::problem(error.code(), error.to_string()).seen(causes.join(": "));
        finding.remedy(error.next().unwrap_or_default())
    }
}

/// All checks of the machine, whatever each comes to. Those that need to know what the machine
/// shall be are left out when nothing is known of it, and those of the running machine in a tree.
pub(crate) fn all(tool: &Tool, wanted: Option<(&Cluster, &Node)>) -> Vec<Finding> {
    let host = &tool.host;
    let mut found = Vec::new();
    let mut look = |findings: Result<Vec<Finding>>| match findings {
        Ok(findings) => found.extend(findings),
        Err(error) => found.push(error.into()),
    };
    look(machine::operating_system(host).map(|finding| vec![finding]));
    if !host.is_live() {
        return found;
    }
    look(Ok(vec![machine::init(host)]));
    look(kernel::cgroup(host).map(|finding| vec![finding]));
    let Some((cluster, node)) = wanted else { return found };
    let facts = match crate::facts::gather(host, cluster, node) {
        Ok(facts) => facts,
        Err(error) => {
            found.push(error.into());
            found.dedup_by_key(|finding| finding.code); // the operating system was looked at
            return found;
        }
    };
    look(machine::address(node).map(|finding| vec![finding]));
    look(Ok(vec![
        programs::needed(host, cluster, &facts),
        machine::memory(facts.memory_mib, node),
        kernel::overlay(&facts.kernel),
        kernel::bridge_netfilter(&facts.kernel),
        kernel::release(&facts.kernel.release, cluster.kube_proxy.mode),
        kernel::parameters(host, cluster),
        machine::swap(&facts),
    ]));
    look(machine::nameservers(host, cluster, &facts).map(|finding| vec![finding]));
    let prepared = fs::exists(&host.path(Facts::PATH));
    look(ports::free(host, node, prepared));
    look(kernel::overridden(host, cluster, &facts));
    found
}

/// Refuse to prepare a machine that cannot become a node, and pass on the warnings.
///
/// # Errors
/// The first problem; the hint says where to see the others.
pub(crate) fn passed(tool: &Tool, cluster: &Cluster, node: &Node) -> Result<()> {
    let findings = all(tool, Some((cluster, node)));
    for warning in findings.iter().filter(|finding| finding.verdict == Verdict::Warning) {
        tool.report.say(&format!("warning: {} ({})", warning.what, warning.evidence));
    }
    let mut problems = findings.iter().filter(|finding| finding.verdict == Verdict::Problem);
    let Some(first) = problems.next() else { return Ok(()) };
    let hint = match problems.count() {
        0 => first.remedy.clone(),
        more => format!("{}; `kprep validate` shows {more} more", first.remedy),
    };
    let error = Error::host(first.code, first.what.clone()).hint(hint);
    Err(if first.evidence.is_empty() { error } else { error.because(first.evidence.clone()) })
}
