//! Showing how far downloads are: bars on a terminal, now and then a line elsewhere.

use std::{
    io::IsTerminal as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use khost::{
    Change,
    report::{Event, Report},
};

/// How often a line is written where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// All downloads of one run.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    report: &'a Report,
    bars: Option<MultiProgress>,
}

/// One download.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    report: &'a Report,
    words: [&'static str; 2],
    id: String,
    name: String,
    bar: Option<ProgressBar>,
    started: Instant,
    told: Mutex<Instant>,
    first: AtomicU64,
    last: AtomicU64,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(report: &'a Report) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bars = terminal && !report.is_json() && !report.is_quiet();
        Self { report, bars: bars.then(MultiProgress::new) }
    }

    /// `name`, of the step `id`, is about to be fetched or otherwise moved; `words` say what is
    /// being done, and what has been.
    pub(crate) fn start(&self, id: String, name: String, words: [&'static str; 2]) -> Transfer<'a> {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template(
                "{prefix:24!} {wide_bar} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>13} {eta:>4}",
            );
            let bar = bars.add(ProgressBar::no_length().with_prefix(name.clone()));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        let now = Instant::now();
        let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let told = Mutex::new(now);
        let transfer =
            Transfer { report: self.report, words, id, name, bar, started: now, told, first, last };
        transfer.tell(&format!("{} {}", transfer.words[0], transfer.name));
        transfer
    }
}

impl Transfer<'_> {
    /// There are `position` bytes now, of `total`.
    pub(crate) fn at(&self, position: u64, total: Option<u64>) {
        self.first.fetch_min(position, Ordering::Relaxed);
        self.last.store(position, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            if bar.length() != total
                && let Some(total) = total
            {
                bar.set_length(total);
            }
            bar.set_position(position);
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= LINE_EVERY {
            *told = Instant::now();
            let of = total.map(|total| format!(" of {}", HumanBytes(total))).unwrap_or_default();
            let [doing, _] = self.words;
            self.tell(&format!("{doing} {}: {}{of}", self.name, HumanBytes(position)));
        }
    }

    /// It is complete.
    pub(crate) fn end(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let first = self.first.load(Ordering::Relaxed);
        let came = self.last.load(Ordering::Relaxed).saturating_sub(first);
        let seconds = self.started.elapsed().as_secs_f64();
        let (done, name) = (self.words[1], &self.name);
        self.tell(&format!("{done} {name} ({} in {seconds:.1} s)", HumanBytes(came)));
    }

    fn tell(&self, text: &str) {
        if self.report.is_json() {
            self.report.step(Event::Waiting, &self.id, &Change::new(text));
        } else if self.bar.is_none() {
            self.report.say(text);
        }
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear(); // of a failed download, too, no bar stays
        }
    }
}
