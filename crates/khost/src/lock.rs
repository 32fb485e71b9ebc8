//! Who may change the machine: locks that die with their process.
//!
//! | file in `/run/k8steps` | shared by | held alone by |
//! |---|---|---|
//! | `pipeline.lock` | all that change something | a pipeline (`kprep alone`); what it starts needs it no more |
//! | `machine.lock` | all that change what is one phase's | a reset |
//! | `PHASE.lock` | | all that change what is of this phase |
//!
//! They are taken in this order, and nobody waits: whoever is refused lets go of what it has, and
//! who refused it goes on.

mod alone;
mod holder;

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

pub use self::alone::run_alone;
use crate::{Error, Host, Result, fs};

/// Where the locks are.
const LOCK_DIR: &str = "/run/k8steps";
const PIPELINE: &str = "pipeline";
const MACHINE: &str = "machine";
/// How often a lock is tried whose holder ended, or removed it, meanwhile.
const TRIES: usize = 100;

/// Held while something changes the machine.
#[derive(Debug)]
pub struct Lock(Vec<Held>);

/// One file of it.
#[derive(Debug)]
struct Held {
    path: PathBuf,
    file: File,
    share: Share,
}

/// Whether others may hold the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Others,
    Nobody,
}

impl Lock {
    /// To change what is of `phase`: beside other phases, and beside no reset and no pipeline but
    /// the one that started this process.
    ///
    /// # Errors
    /// `already-running` when another process is in the way; the error names its pid, unless that
    /// is one of another pid namespace.
    pub fn take(host: &Host, phase: &str) -> Result<Self> {
        let wanted = [(PIPELINE, Share::Others), (MACHINE, Share::Others), (phase, Share::Nobody)];
        Self::all(host, &wanted)
    }

    /// To put back what is of `phase`, which others stand on: beside nobody.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn take_machine(host: &Host, phase: &str) -> Result<Self> {
        let wanted = [(PIPELINE, Share::Others), (MACHINE, Share::Nobody), (phase, Share::Nobody)];
        Self::all(host, &wanted)
    }

    /// To do what is in nobody's way but that of another `name`.
    ///
    /// # Errors
    /// As [`Lock::take`].
    pub fn take_only(host: &Host, name: &str) -> Result<Self> {
        Self::all(host, &[(name, Share::Nobody)])
    }

    /// For a row of tools, none of which another may come between.
    fn take_pipeline(host: &Host) -> Result<Self> {
        Self::all(host, &[(PIPELINE, Share::Nobody)])
    }

    fn all(host: &Host, wanted: &[(&str, Share)]) -> Result<Self> {
        let dir = host.path(LOCK_DIR);
        let mut held = Vec::new();
        for (name, share) in wanted {
            match Held::take(&dir, name, *share) {
                Ok(one) => held.push(one),
                // This process works for the pipeline.
                Err(Busy::Holder(pid)) if *name == PIPELINE && holder::is_above(pid) => {}
                Err(busy) => return Err(busy.explained(&dir, name)),
            }
        }
        Ok(Self(held))
    }

    /// The process that holds the lock of `phase`, as the kernel has it: looked at, never touched,
    /// so that it is in nobody's way.
    pub fn holder(host: &Host, phase: &str) -> Option<u32> {
        let file = std::fs::metadata(host.path(LOCK_DIR).join(format!("{phase}.lock"))).ok()?;
        holder::of(file.dev(), file.ino())
    }

    /// What changes the machine now, in words; nothing when that is what started this process.
    pub(crate) fn at_work(host: &Host) -> Option<String> {
        let pid = Self::holder(host, PIPELINE).or_else(|| Self::holder(host, MACHINE))?;
        (!holder::is_above(pid)).then(|| holder::words(pid))
    }

    /// Give it back, and leave no file of it that nobody else holds.
    pub fn remove(self) -> Result<()> {
        for Held { path, file, share } in self.0.into_iter().rev() {
            if share == Share::Nobody || file.try_lock().is_ok() {
                fs::remove(&path)?;
            }
            if let Some(dir) = path.parent() {
                fs::remove_empty_dir(dir)?;
            }
        }
        Ok(())
    }
}

impl Held {
    fn take(dir: &Path, name: &str, share: Share) -> Result<Self, Busy> {
        let path = dir.join(format!("{name}.lock"));
        for _ in 0..TRIES {
            fs::make_dirs(dir, 0o755).map_err(Busy::Failed)?;
            match Self::try_take(&path, share) {
                Ok(Some(held)) => return Ok(held),
                // Removed, or its holder ended, between two looks.
                Ok(None) | Err(Busy::Unknown) => {}
                Err(busy) => return Err(busy),
            }
        }
        Err(Busy::Unknown)
    }

    /// None when the file was removed by the one who held it before: another may have made a new
    /// one already, and two would hold "the" lock.
    fn try_take(path: &Path, share: Share) -> Result<Option<Self>, Busy> {
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600) // who can open it can hold it
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path);
        let file = match opened {
            // The directory was removed since, by a reset that left it empty.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| Busy::failed(path, error))?,
        };
        Self::of(file, path, share)
    }

    /// The lock of `file`, which was at `path` when it was opened.
    fn of(file: File, path: &Path, share: Share) -> Result<Option<Self>, Busy> {
        let found = file.metadata().map_err(|error| Busy::failed(path, error))?;
        let locked = match share {
            Share::Others => file.try_lock_shared(),
            Share::Nobody => file.try_lock(),
        };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = holder::of(found.dev(), found.ino());
                return Err(pid.map_or(Busy::Unknown, Busy::Holder));
            }
            Err(TryLockError::Error(error)) => return Err(Busy::failed(path, error)),
        }
        let same = std::fs::symlink_metadata(path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()));
        Ok(same.then(|| Self { path: path.to_owned(), file, share }))
    }
}

/// Why a lock was not taken.
enum Busy {
    /// By the process with this pid.
    Holder(u32),
    Unknown,
    Failed(Error),
}

impl Busy {
    fn failed(path: &Path, error: io::Error) -> Self {
        Self::Failed(Error::io("lock", path, error))
    }

    /// As an error about the lock `name` in `dir`.
    fn explained(self, dir: &Path, name: &str) -> Error {
        let (who, look) = match self {
            Self::Failed(error) => return error,
            Self::Holder(pid) => (holder::words(pid), format!("ps -fp {pid}")),
            Self::Unknown => (
                "another program is at work (its pid is not known here)".to_owned(),
                format!("fuser -v {}", dir.join(format!("{name}.lock")).display()),
            ),
        };
        let hint = format!("wait for it, or look at it with `{look}`");
        Error::host("already-running", who).hint(hint)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        os::unix::fs::PermissionsExt as _,
        process::Command,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use super::{Busy, Held, Lock, Share};
    use crate::Host;

    /// A tree in which locks can be taken.
    fn machine() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("run")).unwrap();
        let host = Host::new(root.path());
        (root, host)
    }

    #[test]
    fn never_do_two_hold_it_though_it_is_removed_all_the_time() {
        let (_root, host) = machine();
        let (holders, turns) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let codes = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        match Lock::take(&host, "test") {
                            Ok(lock) => {
                                let others = holders.fetch_add(1, Ordering::SeqCst);
                                assert_eq!(others, 0, "two hold the lock");
                                thread::yield_now();
                                holders.fetch_sub(1, Ordering::SeqCst);
                                turns.fetch_add(1, Ordering::SeqCst);
                                lock.remove().unwrap();
                            }
                            Err(error) => drop(codes.lock().unwrap().insert(error.code())),
                        }
                    }
                });
            }
        });
        assert!(turns.into_inner() > 1, "nobody ever held it");
        let codes = codes.into_inner().unwrap();
        assert!(codes.iter().all(|code| *code == "already-running"), "{codes:?}");
    }

    #[test]
    fn phases_go_side_by_side_and_a_reset_alone() {
        let (_root, host) = machine();
        let (applies, resets) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let codes = Mutex::new(BTreeSet::new());
        let turns = AtomicUsize::new(0);
        let apply = |phase: &str| {
            let lock = Lock::take(&host, phase)?;
            applies.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            assert_eq!(resets.load(Ordering::SeqCst), 0, "an apply beside a reset");
            applies.fetch_sub(1, Ordering::SeqCst);
            drop(lock);
            crate::Result::Ok(())
        };
        let reset = |phase: &str| {
            let lock = Lock::take_machine(&host, phase)?;
            let others = resets.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            assert_eq!(others + applies.load(Ordering::SeqCst), 0, "a reset beside another run");
            resets.fetch_sub(1, Ordering::SeqCst);
            lock.remove()
        };
        thread::scope(|scope| {
            for phase in ["one", "two"] {
                for work in [&apply as &(dyn Fn(&str) -> crate::Result<()> + Sync), &reset] {
                    let (codes, turns) = (&codes, &turns);
                    scope.spawn(move || {
                        for _ in 0..200 {
                            match work(phase) {
                                Ok(()) => drop(turns.fetch_add(1, Ordering::SeqCst)),
                                Err(error) => drop(codes.lock().unwrap().insert(error.code())),
                            }
                        }
                    });
                }
            }
        });
        assert!(turns.into_inner() > 1, "nobody ever held it");
        let codes = codes.into_inner().unwrap();
        assert!(codes.iter().all(|code| *code == "already-running"), "{codes:?}");
    }

    #[test]
    fn it_is_for_nobody_else_and_programs_do_not_inherit_it() {
        let (root, host) = machine();
        let _lock = Lock::take(&host, "test").unwrap();
        let open = crate::Cmd::new("ls").args(["-l", "/proc/self/fd"]).run().unwrap().stdout;
        assert!(!open.contains(".lock"), "{open}");
        for name in ["pipeline", "machine", "test"] {
            let file = root.path().join(format!("run/k8steps/{name}.lock"));
            assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_file_that_was_removed_since_it_was_opened_is_no_lock() {
        let (root, host) = machine();
        let lock = Lock::take(&host, "test").unwrap();
        let path = root.path().join("run/k8steps/test.lock");
        let opened = || fs::File::options().write(true).open(&path).unwrap();
        let early = opened();
        lock.remove().unwrap();
        assert!(
            matches!(Held::of(early, &path, Share::Nobody), Ok(None)),
            "nobody else could see it held"
        );
        let _other = Lock::take(&host, "test").unwrap();
        let late = Held::of(opened(), &path, Share::Nobody);
        assert!(matches!(late, Err(Busy::Holder(pid)) if pid == std::process::id()));
    }

    #[test]
    fn what_others_share_is_not_removed() {
        let (_root, host) = machine();
        let _one = Lock::take(&host, "one").unwrap();
        Lock::take(&host, "two").unwrap().remove().unwrap();
        let error = Lock::take_machine(&host, "two").unwrap_err();
        assert_eq!(error.code(), "already-running");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another process, in a test")]
    fn the_holder_is_named_whatever_the_file_says() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let file = root.path().join("run/k8steps/test.lock");
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, "1\n").unwrap();
        let mut other = Command::new("flock")
            .arg("--no-fork")
            .arg(&file)
            .args(["sleep", "60"])
            .spawn()
            .unwrap();
        let error = loop {
            match Lock::take(&host, "test") {
                Ok(lock) => drop(lock),
                Err(error) => break error,
            }
            thread::yield_now();
        };
        let said = error.to_string();
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(error.code(), "already-running");
        assert!(said.contains(&format!("(pid {})", other.id())), "{said}");
    }

    #[test]
    fn who_holds_it_is_seen_and_not_disturbed() {
        let (_root, host) = machine();
        assert_eq!(Lock::holder(&host, "test"), None, "nobody ever took it");
        let lock = Lock::take(&host, "test").unwrap();
        assert_eq!(Lock::holder(&host, "test"), Some(std::process::id()));
        drop(lock);
        // A program of another test, just forked, has it until its exec.
        let given_back = || {
            thread::yield_now();
            Lock::holder(&host, "test").is_none()
        };
        assert!((0..10_000).any(|_| given_back()), "it was given back");
    }

    #[test]
    fn who_holds_it_is_seen_though_others_come_and_go() {
        let (_root, host) = machine();
        let done = AtomicUsize::new(0);
        // More than the kernel tells in one read.
        let _many: Vec<_> = (0..100).map(|n| Lock::take(&host, &format!("many-{n}"))).collect();
        let _lock = Lock::take(&host, "test").unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                while done.load(Ordering::SeqCst) == 0 {
                    // Refused when a program of another test, just forked, holds it until its exec.
                    drop(Lock::take(&host, "other"));
                }
            });
            let unseen = (0..2000).filter(|_| Lock::holder(&host, "test").is_none()).count();
            done.store(1, Ordering::SeqCst);
            assert_eq!(unseen, 0, "of 2000 looks");
        });
    }
}
