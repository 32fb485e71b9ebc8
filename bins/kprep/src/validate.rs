//! `kprep validate`: everything that is wrong with the description and with the machine, at once.

use std::fmt::Write as _;

use khost::{Result, Tool, error::Exit, fs};
use kspec::{Cluster, SCHEMA};

use crate::checks::{self, Finding, Verdict};

/// Look at everything and show it; with `--json`, what is good as well.
pub(crate) fn run(tool: &Tool) -> Exit {
    let described = description(tool);
    let (cluster, mut input) = match described {
        Ok(cluster) => (Some(cluster), Vec::new()),
        Err(findings) => (None, findings),
    };
    let node = cluster
        .as_ref()
        .map(|cluster| tool.node(cluster))
        .and_then(|node| node.map_err(|error| input.push(Finding::from(error).at("node"))).ok());
    if input.is_empty() {
        let path = tool.config_path().display().to_string();
        input.push(Finding::passed("input-invalid", "the description is sound").seen(path));
    }
    let machine = checks::all(tool, cluster.as_ref().zip(node));
    for finding in input.iter().chain(&machine) {
        show(tool, finding);
    }
    let count = |findings: &[Finding], verdict| {
        findings.iter().filter(|finding| finding.verdict == verdict).count()
    };
    let (wrong, unfit) = (count(&input, Verdict::Problem), count(&machine, Verdict::Problem));
    let looked = input.len() + machine.len();
    let warnings = count(&machine, Verdict::Warning);
    if !tool.report.is_json() {
        let ends = format!("{looked} looked at, {} problems, {warnings} warnings", wrong + unfit);
        tool.report.summary(&ends);
    }
    match (wrong, unfit) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        _ => Exit::BadInput,
    }
}

/// The description, or everything that is wrong with it.
fn description(tool: &Tool) -> Result<Cluster, Vec<Finding>> {
    let error = match tool.cluster() {
        Ok(cluster) => return Ok(cluster),
        Err(error) => error,
    };
    // The error has the first problem; a description that can be read has them all.
    let text = fs::read_text(&tool.config_path()).ok().flatten();
    let read = text.and_then(|text| Cluster::parse(&text).ok());
    let problems = read.map(|cluster| cluster.problems()).unwrap_or_default();
    if problems.is_empty() {
        return Err(vec![error.into()]);
    }
    let finding = |problem: kspec::Problem| {
        Finding::problem(problem.code, problem.message).at(problem.key).remedy(problem.remedy)
    };
    Err(problems.into_iter().map(finding).collect())
}

#[derive(serde::Serialize)]
struct Line<'a> {
    schema: u32,
    phase: &'static str,
    #[serde(flatten)]
    finding: &'a Finding,
}

fn show(tool: &Tool, finding: &Finding) {
    if tool.report.is_json() {
        let line = Line { schema: SCHEMA, phase: "kprep", finding };
        tool.report.data(&(serde_json::to_string(&line).unwrap_or_default() + "\n"));
        return;
    }
    if finding.verdict == Verdict::Passed {
        if tool.report.is_verbose() {
            tool.report.data(&text(finding));
        }
    } else if !tool.report.is_quiet() {
        tool.report.data(&text(finding));
    }
}

fn text(finding: &Finding) -> String {
    let word = match finding.verdict {
        Verdict::Passed => "good",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
    };
    let mut text = format!("{word}[{}]: ", finding.code);
    if !finding.key.is_empty() {
        let _ = write!(text, "{}: ", finding.key); // writing to a string cannot fail
    }
    text += &finding.what;
    for (label, more) in [("seen", &finding.evidence), ("hint", &finding.remedy)] {
        if !more.is_empty() {
            let _ = write!(text, "\n    {label}: {}", more.replace('\n', "\n          "));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::{Finding, text};

    #[test]
    fn a_problem_reads_well() {
        let finding = Finding::problem("port-taken", "port 6443 is taken").at("node[0].name");
        let finding = finding.seen("`nginx` listens\nat it").remedy("stop it");
        insta::assert_snapshot!(text(&finding), @"
        problem[port-taken]: node[0].name: port 6443 is taken
            seen: `nginx` listens
                  at it
            hint: stop it
        ");
    }
}
