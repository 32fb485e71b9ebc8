//! Telling people and programs what happens. Data goes to standard output, talk to standard
//! error; with `--json` every event is one JSON object a line on standard output.

use std::io::{IsTerminal as _, Write as _};

use serde::Serialize;

use crate::{Change, Detail, events};

/// Where a tool's words go.
#[derive(Debug)]
pub struct Report {
    phase: &'static str,
    json: bool,
    loudness: Loudness,
    colour: bool,
}

/// How much is said to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loudness {
    /// Only errors (`-q`).
    Quiet,
    /// What changes, and how it ended.
    Normal,
    /// Every step (`-v`).
    Verbose,
}

/// What happened to a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It is as wanted.
    Unchanged,
    /// It would change.
    Planned,
    /// It is about to change.
    Changing,
    /// It changed.
    Changed,
    /// It differs from what is wanted.
    Drifted,
    /// It is being waited for.
    Waiting,
    /// It works.
    Healthy,
    /// It does not work.
    Unhealthy,
    /// It means the running machine and this is a tree.
    Skipped,
    /// It was put back.
    Restored,
    /// It was left.
    Left,
    /// How it all ended.
    Summary,
}

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    /// Seconds of the monotonic clock.
    at: f64,
    phase: &'static str,
    event: Event,
    #[serde(skip_serializing_if = "str::is_empty")]
    step: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    diff: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

impl Report {
    /// A report in the name of `phase`.
    pub fn new(phase: &'static str, json: bool, loudness: Loudness) -> Self {
        let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        Self { phase, json, loudness, colour }
    }

    /// Whether events are JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether every step is to be told of.
    pub fn is_verbose(&self) -> bool {
        self.loudness == Loudness::Verbose
    }

    /// Whether only errors are wanted.
    pub fn is_quiet(&self) -> bool {
        self.loudness == Loudness::Quiet
    }

    /// Something happened to a step.
    pub fn step(&self, event: Event, step: &str, change: &Change) {
        self.emit(event, step, change);
        if self.json {
            return;
        }
        match event {
            Event::Planned | Event::Drifted => self.show(event, change),
            Event::Unchanged | Event::Skipped | Event::Healthy | Event::Changing
                if self.loudness != Loudness::Verbose => {}
            _ => self.say(&format!("{} {}", word(event), change.what)),
        }
    }

    /// How it all ended.
    pub fn summary(&self, text: &str) {
        self.emit(Event::Summary, "", &Change::new(text));
        if !self.json {
            self.say(text);
        }
    }

    /// A line for people, on standard error. Nothing with `-q`; nothing to add with `--json`,
    /// where events tell the same.
    pub fn say(&self, text: &str) {
        if !self.is_quiet() {
            talk(&format!("{}: {text}\n", self.phase));
        }
    }

    /// Data for a program or a pipe, on standard output.
    pub fn data(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(text.as_bytes()); // a closed pipe is the reader's choice
        let _ = out.flush();
    }

    /// For programs: those that read standard output, and those that read the file of events.
    fn emit(&self, event: Event, step: &str, change: &Change) {
        let (diff, before, after) = match &change.detail {
            None => (None, None, None),
            Some(Detail::Diff(diff)) => (Some(diff.as_str()), None, None),
            Some(Detail::Values { before, after }) => {
                (None, Some(before.as_str()), Some(after.as_str()))
            }
        };
        let (phase, what) = (self.phase, change.what.as_str());
        let (schema, at) = (kspec::SCHEMA, events::now());
        let line = Line { schema, at, phase, event, step, what, diff, before, after };
        events::keep(&line);
        if self.json {
            self.data(&(serde_json::to_string(&line).unwrap_or_default() + "\n"));
        }
    }

    /// A difference, as data.
    fn show(&self, event: Event, change: &Change) {
        if self.is_quiet() {
            return;
        }
        let mut text =
            format!("{} {}\n", if event == Event::Planned { "~" } else { "!" }, change.what);
        match &change.detail {
            None => {}
            Some(Detail::Values { before, after }) => {
                text += &self.painted('-', before);
                text += &self.painted('+', after);
            }
            Some(Detail::Diff(diff)) => {
                for line in diff.lines() {
                    let mark = line.chars().next().unwrap_or(' ');
                    text += &self.painted(mark, line.get(1..).unwrap_or_default());
                }
            }
        }
        self.data(&text);
    }

    fn painted(&self, mark: char, text: &str) -> String {
        let colour = match mark {
            '+' => "\x1b[32m",
            '-' => "\x1b[31m",
            _ => "",
        };
        if self.colour && !colour.is_empty() {
            format!("    {colour}{mark}{text}\x1b[0m\n")
        } else {
            format!("    {mark}{text}\n")
        }
    }
}

/// Say `text` on standard error. That nobody hears it, or that it cannot be written down, is no
/// reason to stop in the middle of something.
pub(crate) fn talk(text: &str) {
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

fn word(event: Event) -> &'static str {
    match event {
        Event::Unchanged => "unchanged:",
        Event::Planned => "would",
        Event::Changing => "begin:",
        Event::Changed => "done:",
        Event::Drifted => "differs:",
        Event::Waiting => "waiting for",
        Event::Healthy => "works:",
        Event::Unhealthy => "does not work:",
        Event::Skipped => "not in a tree:",
        Event::Restored => "undone:",
        Event::Left => "left:",
        Event::Summary => "",
    }
}
