//! Is the disk fast enough for etcd, which syncs every write before it answers?

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use kspec::{Role, paths::ETCD_DATA_DIR};
use nix::fcntl::{OFlag, posix_fallocate};

use super::{Found, Outcome, Subject};

/// etcd's own recommendation ("Hardware recommendations", and its FAQ on slow disks): records of
/// about this size, each followed by fdatasync(2), 99 of 100 within this time.
const RECORD: usize = 2300;
const LONGEST: Duration = Duration::from_millis(10);
/// It ends with whichever comes first: 22 MiB, as in fio's recipe, or this long.
const RECORDS: usize = 10_000;
const LIMIT: Duration = Duration::from_millis(1500);

/// Writes only when it was asked to; into a file without a name, so that nothing is left whatever
/// happens.
pub(super) fn fast_enough(subject: &Subject<'_>) -> Found {
    if !subject.node.is(Role::Etcd) {
        return Outcome::passed("no etcd will write here").only();
    }
    let what = "whether the disk is fast enough for etcd";
    if !subject.probe_disk {
        return Outcome::skipped(what)
            .seen("it can only be told by writing")
            .remedy("`kprep validate --probe-disk` writes for up to two seconds")
            .only();
    }
    let dir = nearest(&subject.host.path(ETCD_DATA_DIR));
    let measured = nameless(&dir).and_then(|mut file| syncs(&mut file));
    match measured {
        Ok(mut times) => judge(&mut times, &dir).only(),
        Err(error) => Outcome::skipped(what)
            .seen(format!("`{}`: {error}", dir.display()))
            .remedy(match error.kind() {
                io::ErrorKind::PermissionDenied => "run as root",
                _ => {
                    "measure it with `fio --rw=write --ioengine=sync --fdatasync=1 --size=22m \
                      --bs=2300 --name=etcd --directory=DIR`"
                }
            })
            .only(),
    }
}

/// `path`, or what is nearest above it and exists: etcd's data will lie on the same file system.
pub(super) fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/")).to_owned()
}

/// A file that never has a name (open(2), `O_TMPFILE`). Its blocks are taken at once, as etcd
/// takes those of its log, so that a sync writes the record and not the file's size.
fn nameless(dir: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .mode(0o600)
        .custom_flags((OFlag::O_TMPFILE | OFlag::O_CLOEXEC).bits())
        .open(dir)?;
    let size = i64::try_from(RECORD * RECORDS).unwrap_or(i64::MAX);
    posix_fallocate(&file, 0, size)?;
    Ok(file)
}

/// How long each sync took.
fn syncs(file: &mut File) -> io::Result<Vec<Duration>> {
    let record = [b'k'; RECORD];
    let (started, mut times) = (Instant::now(), Vec::new());
    while times.len() < RECORDS && started.elapsed() < LIMIT {
        file.write_all(&record)?;
        let synced = Instant::now();
        file.sync_data()?;
        times.push(synced.elapsed());
    }
    Ok(times)
}

fn judge(times: &mut [Duration], dir: &Path) -> Outcome {
    times.sort_unstable();
    // The smallest time that 99 of 100 do not exceed.
    let rank = (times.len() * 99).div_ceil(100).saturating_sub(1);
    let p99 = times.get(rank).copied().unwrap_or_default();
    let median = times.get(times.len() / 2).copied().unwrap_or_default();
    let seen = format!(
        "{} records of {RECORD} bytes synced in `{}`: p99 {:.1} ms, median {:.1} ms",
        times.len(),
        dir.display(),
        p99.as_secs_f64() * 1000.0,
        median.as_secs_f64() * 1000.0,
    );
    if p99 < LONGEST {
        return Outcome::passed("the disk is fast enough for etcd").seen(seen);
    }
    Outcome::problem("the disk is too slow for etcd: of 100 syncs, 99 should take less than 10 ms")
        .seen(seen)
        .remedy("give etcd a disk of its own, best an SSD, mounted at /var/lib/etcd")
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{
        super::{Verdict, sample::Sample},
        judge,
    };

    #[test]
    fn ninety_nine_of_a_hundred_count() {
        let times = |slow: usize| {
            let mut times = vec![Duration::from_millis(1); 100 - slow];
            times.extend(vec![Duration::from_millis(30); slow]);
            judge(&mut times, Path::new("/d"))
        };
        assert_eq!(times(1).verdict, Verdict::Passed, "one of a hundred may be slow");
        let outcome = times(2);
        assert_eq!(outcome.verdict, Verdict::Problem);
        assert_eq!(
            outcome.evidence,
            "100 records of 2300 bytes synced in `/d`: p99 30.0 ms, median 1.0 ms"
        );
    }

    #[test]
    fn it_is_asked_for_and_leaves_nothing() {
        let mut sample = Sample::new(&[("/var/lib/x", "")]);
        insta::assert_snapshot!(sample.says("disk-slow"), @"
        skipped[disk-slow]: whether the disk is fast enough for etcd
            seen: it can only be told by writing
            hint: `kprep validate --probe-disk` writes for up to two seconds
        ");
        sample.probe_disk = true;
        let said = sample.says("disk-slow");
        assert!(said.contains("records of 2300 bytes synced in"), "{said}");
        let left = khost::fs::names(&sample.path("/var/lib")).unwrap();
        assert_eq!(left, ["x"]);
        let said = sample.worker().says("disk-slow");
        assert!(said.starts_with("good[disk-slow]: no etcd"), "{said}");
    }
}
