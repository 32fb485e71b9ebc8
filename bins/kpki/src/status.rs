//! `kpki status`: the certificates of this node, for people and for programs.

use khost::{Result, Tool};
use kspec::SCHEMA;
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    inspect::{Seen, rfc3339},
    pair::{Found, Pair},
};

/// One certificate, as a line of `status --json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    schema: u32,
    phase: &'a str,
    event: &'a str,
    cert: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(flatten)]
    found: Option<Facts>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Facts {
    subject: String,
    names: Vec<String>,
    issuer: String,
    not_after: String,
    days_left: i64,
}

/// Print what is at each of `pairs`: a table, or with `--json` a line each.
pub(crate) fn print(tool: &Tool, pairs: &[Pair], now: OffsetDateTime) -> Result<()> {
    let mut found = Vec::new();
    for pair in pairs {
        found.push((pair.cert.display().to_string(), pair.certificate(&tool.host)?));
    }
    let text = if tool.report.is_json() { lines(found, now) } else { table(&found, now) };
    tool.report.data(&text);
    Ok(())
}

fn lines(found: Vec<(String, Found<Seen>)>, now: OffsetDateTime) -> String {
    let mut text = String::new();
    for (cert, found) in found {
        let (problem, found) = match found {
            None => (Some("it does not exist".into()), None),
            Some(Err(why)) => (Some(why), None),
            Some(Ok(seen)) => (None, Some(facts(&seen, now))),
        };
        let (schema, phase, event) = (SCHEMA, "kpki", "certificate");
        let line = Line { schema, phase, event, cert, problem, found };
        text += &serde_json::to_string(&line).unwrap_or_default();
        text.push('\n');
    }
    text
}

fn facts(seen: &Seen, now: OffsetDateTime) -> Facts {
    Facts {
        subject: seen.subject.clone(),
        names: seen.names.iter().map(ToString::to_string).collect(),
        issuer: seen.issuer.clone(),
        not_after: rfc3339(seen.term.until),
        days_left: seen.days_left(now),
    }
}

/// Columns as wide as their widest cell; the names, which can be many, come last.
fn table(found: &[(String, Found<Seen>)], now: OffsetDateTime) -> String {
    let mut rows = vec![
        ["CERTIFICATE", "SUBJECT", "ISSUER", "NOT AFTER", "DAYS LEFT", "NAMES"].map(String::from),
    ];
    for (cert, found) in found {
        let cert = cert.clone();
        rows.push(match found {
            None => [
                cert,
                "(does not exist)".into(),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ],
            Some(Err(why)) => [
                cert,
                format!("({why})"),
                String::new(),
                String::new(),
                String::new(),
                String::new(),
            ],
            Some(Ok(seen)) => {
                let facts = facts(seen, now);
                let (days, names) = (facts.days_left.to_string(), facts.names.join(","));
                [cert, facts.subject, facts.issuer, facts.not_after, days, names]
            }
        });
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..6).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
