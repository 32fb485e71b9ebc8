//! The clock: certificates are valid from a moment on, and etcd's members compare theirs.

use std::time::{Duration, SystemTime};

use khost::{Cmd, fs};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Found, Outcome, Subject};

/// What certificates are backdated by, kpki's as kubeadm's: a clock that is further behind calls
/// them not yet valid.
const SLACK: Duration = Duration::from_secs(5 * 60);

/// Files of the machine that were written at a time it has certainly passed. systemd keeps the
/// last time it knew (systemd-timesyncd.service(8), "clock").
const WRITTEN: [&str; 5] = [
    "/etc/os-release",
    "/usr/lib/clock-epoch",
    "/var/lib/systemd/timesync/clock",
    "/var/lib/dpkg/status",
    "/var/lib/rpm/rpmdb.sqlite",
];
/// Exists once timesyncd has heard a time server since boot.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// timedatectl has to wait for a service that starts when it is asked.
const LIMIT: Duration = Duration::from_secs(5);

pub(super) fn not_behind(subject: &Subject<'_>) -> Found {
    let on_host = WRITTEN.iter().map(|path| (subject.host.path(path), (*path).to_owned()));
    let config = (subject.config.clone(), subject.config.display().to_string());
    let mut newest = (SystemTime::UNIX_EPOCH, String::new());
    for (path, shown) in on_host.chain([config]) {
        // What cannot be read tells nothing.
        let Ok(Some(found)) = fs::look(&path) else { continue };
        if let Ok(written) = found.modified() {
            newest = newest.max((written, shown));
        }
    }
    behind(SystemTime::now(), newest.0, &newest.1).only()
}

fn behind(now: SystemTime, newest: SystemTime, file: &str) -> Outcome {
    let shown = format!("it is {}; `{file}` was written at {}", date(now), date(newest));
    if newest <= now + SLACK {
        return Outcome::passed("the clock is not behind the files of this machine").seen(shown);
    }
    Outcome::problem("the clock is behind: certificates would not be valid yet")
        .seen(shown)
        .remedy("set the clock: start chrony or systemd-timesyncd, or `date --set`")
}

fn date(at: SystemTime) -> String {
    OffsetDateTime::from(at).format(&Rfc3339).map_or_else(
        |_| "an impossible time".into(),
        |text| text.split('.').next().unwrap_or_default().trim_end_matches('Z').to_owned() + "Z",
    )
}

pub(super) fn synchronised(subject: &Subject<'_>) -> Found {
    if fs::exists(&subject.host.path(SYNCHRONISED)) {
        let passed = Outcome::passed("a time server keeps the clock");
        return passed.seen(format!("`{SYNCHRONISED}` exists")).only();
    }
    let asked = Cmd::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]);
    match asked.limit(LIMIT).run() {
        Ok(output) => kept(&output.stdout).only(),
        Err(error) => Outcome::skipped("whether a time server keeps the clock")
            .seen(error.chain())
            .remedy("look with `timedatectl` or `chronyc tracking`")
            .only(),
    }
}

fn kept(answer: &str) -> Outcome {
    match answer.trim() {
        "yes" => Outcome::passed("a time server keeps the clock"),
        answer => Outcome::warning("no time server keeps the clock")
            .seen(format!("NTPSynchronized={answer}"))
            .remedy(
                "start chrony, or `timedatectl set-ntp true`; in a container, look at the \
                     machine that runs it",
            ),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{
        super::{Verdict, sample::Sample},
        behind, kept,
    };

    #[test]
    fn a_clock_of_the_past() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let outcome = behind(at(0), at(1_700_000_000), "/etc/os-release");
        assert_eq!(outcome.verdict, Verdict::Problem);
        assert_eq!(
            outcome.evidence,
            "it is 1970-01-01T00:00:00Z; `/etc/os-release` was written at 2023-11-14T22:13:20Z"
        );
        assert_eq!(behind(at(1000), at(1299), "f").verdict, Verdict::Passed);
        assert_eq!(behind(at(1000), at(1301), "f").verdict, Verdict::Problem);
    }

    #[test]
    fn a_file_of_the_future_gives_it_away() {
        let sample = Sample::new(&[("/etc/os-release", "")]);
        assert!(sample.says("clock-behind").starts_with("good[clock-behind]"));
        let future = SystemTime::now() + Duration::from_secs(3600);
        let file = std::fs::File::options().write(true).open(sample.path("/etc/os-release"));
        file.unwrap().set_modified(future).unwrap();
        let said = sample.says("clock-behind");
        assert!(said.starts_with("problem[clock-behind]: the clock is behind"), "{said}");
    }

    #[test]
    fn who_keeps_it() {
        assert_eq!(kept("yes\n").verdict, Verdict::Passed);
        let outcome = kept("no\n");
        assert_eq!((outcome.verdict, &*outcome.evidence), (Verdict::Warning, "NTPSynchronized=no"));
        let sample = Sample::new(&[("/run/systemd/timesync/synchronized", "")]);
        assert!(sample.says("clock-not-synchronised").contains("a time server keeps the clock"));
    }
}
