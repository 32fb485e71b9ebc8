//! The events of a run in a file (`--events FILE`), for those who look at it afterwards: what
//! `--json` prints, and besides which programs were run, whose files were read, and what it cost.
//!
//! Processes that run side by side may name the same file: every event is one write at its end.
//! Times are seconds of `CLOCK_MONOTONIC` (`clock_gettime(2)`), the same clock for all of them.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        time::{TimeVal, TimeValLike as _},
    },
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Error, Result};

static LOG: OnceLock<Log> = OnceLock::new();

/// Where this process's events go, besides.
#[derive(Debug)]
struct Log {
    phase: &'static str,
    file: File,
    /// The step at work, parent of the programs it runs.
    step: Mutex<String>,
}

/// Write the events of `phase`, this process, to the end of the file at `path` from now on.
pub(crate) fn open(phase: &'static str, path: &Path) -> Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o644).open(path);
    let file = file.map_err(|error| {
        Error::input("events-unwritable", format!("cannot write events to `{}`", path.display()))
            .because(error)
            .hint("name a file in a directory that exists, or leave `--events` out")
    })?;
    let _ = LOG.set(Log { phase, file, step: Mutex::default() }); // set once, by `main`
    Ok(())
}

/// Now, in seconds of the monotonic clock, to the microsecond.
pub(crate) fn now() -> f64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    (now.as_secs_f64() * 1e6).round() / 1e6
}

/// Keep an event that people or programs were told.
pub(crate) fn keep(line: &impl Serialize) {
    if let Some(log) = LOG.get() {
        log.write(&serde_json::to_string(line).unwrap_or_default());
    }
}

/// What happens next is part of the step `id`.
pub(crate) fn enter(id: &str) {
    if let Some(mut step) = LOG.get().and_then(|log| log.step.lock().ok()) {
        id.clone_into(&mut step);
    }
}

/// This process began, to do what its arguments say.
pub(crate) fn started() {
    let arguments: Vec<_> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    tell("started", json!({ "what": arguments.join(" ") }));
}

/// A file of another phase was read; `made_by` is the command that makes it.
pub(crate) fn read(path: &str, made_by: &str) {
    tell("read", json!({ "what": path, "made_by": made_by }));
}

/// A program was run to its end.
pub(crate) fn ran(line: &str, began: f64, code: i32) {
    tell("ran", json!({ "what": line, "began": began, "code": code }));
}

/// This process ends. Processor time is its own, without the programs it ran.
pub(crate) fn ended(code: u8) {
    let Ok(used) = getrusage(UsageWho::RUSAGE_SELF) else { return };
    let seconds = |time: TimeVal| {
        let time = Duration::from_micros(time.num_microseconds().cast_unsigned());
        time.as_secs_f64()
    };
    tell(
        "ended",
        json!({
            "code": code,
            "user_seconds": seconds(used.user_time()),
            "system_seconds": seconds(used.system_time()),
            "peak_kib": used.max_rss(),
        }),
    );
}

/// An event that only the file gets.
fn tell(event: &str, fields: Value) {
    let Some(log) = LOG.get() else { return };
    let mut line = Map::new();
    line.insert("schema".into(), kspec::SCHEMA.into());
    line.insert("at".into(), now().into());
    line.insert("phase".into(), log.phase.into());
    line.insert("event".into(), event.into());
    if let Ok(step) = log.step.lock()
        && !step.is_empty()
    {
        line.insert("parent".into(), step.as_str().into());
    }
    if let Value::Object(fields) = fields {
        line.extend(fields);
    }
    log.write(&Value::Object(line).to_string());
}

impl Log {
    /// One write, so that lines of several processes do not mix. What cannot be written is lost:
    /// the work goes on.
    fn write(&self, line: &str) {
        if let Err(error) = (&self.file).write_all(format!("{line}\n").as_bytes()) {
            tracing::debug!("an event is lost: {error}");
        }
    }
}
