//! `kpki status`: every certificate of this node, for people and for programs.

use khost::{Result, Tool, error::Exit};
use kspec::SCHEMA;
use serde::Serialize;
use time::OffsetDateTime;

use crate::{
    authority::Rules,
    inspect::{Seen, rfc3339},
    inventory::{self, Item, State},
};

/// One certificate, as a line of `status --json`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line {
    schema: u32,
    phase: &'static str,
    event: &'static str,
    name: &'static str,
    file: String,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    renewed_by: &'static str,
    #[serde(flatten)]
    facts: Option<Facts>,
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

/// A certificate and how it is.
#[derive(Debug)]
struct Row {
    item: Item,
    seen: Option<Seen>,
    state: State,
}

/// Print all of them, those first that need something done: a table, or with `--json` a line
/// each. 3 when one is not good.
pub(crate) fn print(tool: &Tool) -> Result<Exit> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let rules = Rules::new(&cluster, OffsetDateTime::now_utc())?;
    let mut rows = Vec::new();
    for item in inventory::items(&tool.host, &cluster, node)? {
        let held = item.read(&tool.host)?;
        let state = item.state(&tool.host, &held, rules.now, rules.renew_before_days)?;
        rows.push(Row { item, seen: held.cert.and_then(Result::ok), state });
    }
    rows.sort_by_key(Row::urgency);
    let good = rows.iter().all(|row| row.state == State::Good);
    let text = if tool.report.is_json() { lines(rows, rules.now) } else { table(&rows, rules.now) };
    tool.report.data(&text);
    Ok(if good { Exit::Done } else { Exit::Differs })
}

impl Row {
    /// What cannot be used comes first, then what ends first, then the name.
    fn urgency(&self) -> (bool, Option<OffsetDateTime>, &'static str) {
        let usable = !matches!(self.state, State::Damaged(_) | State::Missing);
        (usable, self.seen.as_ref().map(|seen| seen.term.until), self.item.name)
    }

    fn file(&self) -> String {
        self.item.holder.path().display().to_string()
    }
}

fn lines(rows: Vec<Row>, now: OffsetDateTime) -> String {
    let mut text = String::new();
    for row in rows {
        let line = Line {
            schema: SCHEMA,
            phase: "kpki",
            event: "certificate",
            name: row.item.name,
            file: row.file(),
            state: row.state.word(),
            problem: row.state.reason().map(str::to_owned),
            renewed_by: row.item.keeper.word(),
            facts: row.seen.map(|seen| facts(&seen, now)),
        };
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

const COLUMNS: [&str; 9] =
    ["NAME", "STATE", "DAYS LEFT", "NOT AFTER", "RENEWED BY", "SUBJECT", "ISSUER", "FILE", "NAMES"];

/// Columns as wide as their widest cell; the names, which can be many, come last.
fn table(rows: &[Row], now: OffsetDateTime) -> String {
    let mut cells = vec![COLUMNS.map(String::from)];
    for row in rows {
        let facts = row.seen.as_ref().map(|seen| facts(seen, now));
        let subject = facts.as_ref().map(|facts| facts.subject.clone()).unwrap_or_default();
        // How long it lasts is told by its columns; what else is wrong needs words.
        let subject = match &row.state {
            State::Damaged(why) => format!("{subject} ({why})").trim_start().to_owned(),
            State::Missing => "(it does not exist)".into(),
            _ => subject,
        };
        let fact = |get: fn(&Facts) -> String| facts.as_ref().map(get).unwrap_or_default();
        cells.push([
            row.item.name.into(),
            row.state.word().into(),
            fact(|facts| facts.days_left.to_string()),
            fact(|facts| facts.not_after.clone()),
            row.item.keeper.word().into(),
            subject,
            fact(|facts| facts.issuer.clone()),
            row.file(),
            fact(|facts| facts.names.join(",")),
        ]);
    }
    let width = |column: usize| cells.iter().map(|row| row[column].len()).max().unwrap_or_default();
    let widths: Vec<_> = (0..COLUMNS.len()).map(width).collect();
    let mut text = String::new();
    for row in &cells {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}
