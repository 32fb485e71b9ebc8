//! `kprep validate`: everything that is wrong with the description and with the machine, at once.

use std::fmt::Write as _;

use khost::{Result, Tool, error::Exit, fs};
use kspec::{Cluster, SCHEMA};

use crate::checks::{self, Finding, Outcome, Verdict};

/// Look at everything and show it; with `--json`, what is good as well. With `probe_disk`, the disk
/// is written to.
pub(crate) fn run(tool: &Tool, probe_disk: bool) -> Exit {
    let described = description(tool);
    let (cluster, mut input) = match described {
        Ok(cluster) => (Some(cluster), Vec::new()),
        Err(findings) => (None, findings),
    };
    let node = cluster
        .as_ref()
        .map(|cluster| tool.node(cluster))
        .and_then(|node| node.map_err(|error| input.push(at_node(error.into()))).ok());
    if input.is_empty() {
        let path = tool.config_path().display().to_string();
        let sound = Outcome::passed("the description is sound").seen(path);
        input.push(sound.called("input-invalid"));
    }
    let machine = checks::all(tool, cluster.as_ref().zip(node), probe_disk);
    for finding in input.iter().chain(&machine) {
        show(tool, finding);
    }
    if !tool.report.is_json() {
        tool.report.summary(&summary(&[&input[..], &machine].concat()));
    }
    match (count(&input, Verdict::Problem), count(&machine, Verdict::Problem)) {
        (0, 0) => Exit::Done,
        (0, _) => Exit::Failed,
        _ => Exit::BadInput,
    }
}

fn at_node(mut finding: Finding) -> Finding {
    finding.outcome.key = "node".into();
    finding
}

fn count(findings: &[Finding], verdict: Verdict) -> usize {
    findings.iter().filter(|finding| finding.is(verdict)).count()
}

fn summary(findings: &[Finding]) -> String {
    let (problems, warnings) = (Verdict::Problem, Verdict::Warning);
    let skipped = count(findings, Verdict::Skipped);
    let mut text = format!(
        "{} looked at, {} problems, {} warnings",
        findings.len() - skipped,
        count(findings, problems),
        count(findings, warnings)
    );
    if skipped > 0 {
        let _ = write!(text, ", {skipped} not looked at (`-v` says why)"); // cannot fail
    }
    text
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
        let outcome = Outcome::problem(problem.message).at(problem.key).remedy(problem.remedy);
        outcome.called(problem.code)
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
    if finding.is(Verdict::Passed) || finding.is(Verdict::Skipped) {
        if tool.report.is_verbose() {
            tool.report.data(&text(finding));
        }
    } else if !tool.report.is_quiet() {
        tool.report.data(&text(finding));
    }
}

/// A finding as people read it.
pub(crate) fn text(finding: &Finding) -> String {
    let Finding { code, outcome } = finding;
    let word = match outcome.verdict {
        Verdict::Passed => "good",
        Verdict::Warning => "warning",
        Verdict::Problem => "problem",
        Verdict::Skipped => "skipped",
    };
    let mut text = format!("{word}[{code}]: ");
    if !outcome.key.is_empty() {
        let _ = write!(text, "{}: ", outcome.key); // writing to a string cannot fail
    }
    text += &outcome.what;
    for (label, more) in [("seen", &outcome.evidence), ("hint", &outcome.remedy)] {
        if !more.is_empty() {
            let _ = write!(text, "\n    {label}: {}", more.replace('\n', "\n          "));
        }
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::{Outcome, summary, text};

    #[test]
    fn a_problem_reads_well() {
        let outcome = Outcome::problem("port 6443 is taken").at("node[0].name");
        let outcome = outcome.seen("`nginx` listens\nat it").remedy("stop it");
        insta::assert_snapshot!(text(&outcome.called("port-taken")), @"
        problem[port-taken]: node[0].name: port 6443 is taken
            seen: `nginx` listens
                  at it
            hint: stop it
        ");
    }

    #[test]
    fn all_kinds_are_counted_wherever_they_come_from() {
        let findings = [
            Outcome::passed("a").called("x"),
            Outcome::warning("b").called("x"),
            Outcome::problem("c").called("x"),
        ];
        assert_eq!(summary(&findings), "3 looked at, 1 problems, 1 warnings");
        let skipped = [&findings[..], &[Outcome::skipped("d").called("x")]].concat();
        let expected = "3 looked at, 1 problems, 1 warnings, 1 not looked at (`-v` says why)";
        assert_eq!(summary(&skipped), expected);
    }
}
