//! Showing how far downloads are: bars on a terminal, now and then a line elsewhere.

use std::{
    io::IsTerminal as _,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{HumanBytes, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};
use khost::{
    Change,
    report::{Event, Report},
};

/// How often a line is written where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// What a bar shows: bytes, their rate, and the time left.
const BAR: &str =
    "{prefix:24!} {wide_bar} {bytes:>11}/{total_bytes:11} {bytes_per_sec:>13} {eta:>4}";

/// All downloads of one run.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    report: &'a Report,
    bars: Option<Bars>,
}

/// Bars on a terminal: one for each download, and above them one for all that have begun.
#[derive(Debug)]
struct Bars {
    place: MultiProgress,
    all: ProgressBar,
}

impl Bars {
    fn new() -> Self {
        let place = MultiProgress::new();
        let all = place.add(bar("all of it".into()));
        all.set_length(0); // grows with each that begins
        Self { place, all }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.all.finish_and_clear();
    }
}

fn bar(name: String) -> ProgressBar {
    let style = ProgressStyle::with_template(BAR);
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_prefix(name).with_style(style)
}

/// One download.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    report: &'a Report,
    words: [&'static str; 2],
    id: String,
    name: String,
    bar: Option<ProgressBar>,
    /// That of all downloads.
    all: Option<ProgressBar>,
    started: Instant,
    told: Mutex<Instant>,
    first: AtomicU64,
    last: AtomicU64,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(report: &'a Report) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bars = terminal && !report.is_json() && !report.is_quiet();
        Self { report, bars: bars.then(Bars::new) }
    }

    /// `name`, of the step `id`, is about to be fetched or otherwise moved; `words` say what is
    /// being done, and what has been.
    pub(crate) fn start(&self, id: String, name: String, words: [&'static str; 2]) -> Transfer<'a> {
        let bar = self.bars.as_ref().map(|bars| bars.place.add(bar(name.clone())));
        let all = self.bars.as_ref().map(|bars| bars.all.clone());
        let now = Instant::now();
        let (first, last) = (AtomicU64::new(u64::MAX), AtomicU64::new(0));
        let told = Mutex::new(now);
        let report = self.report;
        let transfer =
            Transfer { report, words, id, name, bar, all, started: now, told, first, last };
        transfer.tell(&format!("{} {}", transfer.words[0], transfer.name));
        transfer
    }
}

impl Transfer<'_> {
    /// There are `position` bytes now, of `total`.
    pub(crate) fn at(&self, position: u64, total: Option<u64>) {
        let first = self.first.fetch_min(position, Ordering::Relaxed).min(position);
        let before = self.last.swap(position, Ordering::Relaxed).max(first);
        if let (Some(bar), Some(all)) = (&self.bar, &self.all) {
            if let (None, Some(total)) = (bar.length(), total) {
                bar.set_length(total);
                bar.set_position(first);
                bar.reset_eta(); // what an earlier run brought says nothing of the rate
                all.inc_length(total - first.min(total));
            }
            bar.set_position(position);
            all.inc(position.saturating_sub(before));
            all.dec(before.saturating_sub(position)); // of a download that began anew
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= LINE_EVERY {
            *told = Instant::now();
            let how_far = how_far(position, total, position - first, self.started.elapsed());
            self.tell(&format!("{} {}: {how_far}", self.words[0], self.name));
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

/// How far a download is in which `came` bytes came in `time`: for people, on one line.
fn how_far(position: u64, total: Option<u64>, came: u64, time: Duration) -> String {
    let rate = came * 1000 / u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
    let (at, each) = (HumanBytes(position), HumanBytes(rate));
    match total {
        Some(total) if rate > 0 => {
            let left = Duration::from_secs(total.saturating_sub(position) / rate);
            format!("{at} of {}, {each}/s, {} left", HumanBytes(total), HumanDuration(left))
        }
        Some(total) => format!("{at} of {}, {each}/s", HumanBytes(total)),
        None => format!("{at}, {each}/s"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::how_far;

    #[test]
    fn lines_for_people() {
        let ten = Duration::from_secs(10);
        let mib = 1 << 20;
        assert_eq!(
            how_far(30 * mib, Some(90 * mib), 20 * mib, ten),
            "30.00 MiB of 90.00 MiB, 2.00 MiB/s, 30 seconds left"
        );
        assert_eq!(how_far(30 * mib, Some(90 * mib), 0, ten), "30.00 MiB of 90.00 MiB, 0 B/s");
        assert_eq!(how_far(30 * mib, None, 30 * mib, ten), "30.00 MiB, 3.00 MiB/s");
        assert_eq!(how_far(0, Some(0), 0, Duration::ZERO), "0 B of 0 B, 0 B/s");
    }
}
