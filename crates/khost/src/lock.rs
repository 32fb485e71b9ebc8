//! One apply or reset of a phase at a time: a lock that dies with its process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{ErrorKind, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{fcntl::OFlag, sys::stat};

use crate::{Error, Host, Result, fs};

/// Where the locks are.
const LOCK_DIR: &str = "/run/k8steps";
/// How often a lock is tried whose holder ended, or removed it, meanwhile.
const TRIES: usize = 100;

/// Held while a phase changes the machine.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Take the lock of `phase`.
    ///
    /// # Errors
    /// `already-running` when another process holds it; the error names its pid, unless that is
    /// one of another pid namespace.
    pub fn take(host: &Host, phase: &str) -> Result<Self> {
        let dir = host.path(LOCK_DIR);
        let path = dir.join(format!("{phase}.lock"));
        let mut holder = None;
        for _ in 0..TRIES {
            fs::make_dirs(&dir, 0o755)?;
            match Self::try_take(&path) {
                Ok(Some(lock)) => return Ok(lock),
                // Removed, or its holder ended, between two looks.
                Ok(None) | Err(Busy::Unknown) => {}
                Err(Busy::Holder(pid)) => {
                    holder = Some(pid);
                    break;
                }
                Err(Busy::Failed(error)) => return Err(Error::io("lock", &path, error)),
            }
        }
        let (pid, look) = match holder {
            Some(pid) => (format!("pid {pid}"), format!("ps -fp {pid}")),
            None => ("its pid is not known here".into(), format!("fuser -v {}", path.display())),
        };
        Err(Error::host("already-running", format!("another `{phase}` is at work ({pid})"))
            .hint(format!("wait for it, or look at it with `{look}`")))
    }

    /// None when the file was removed by the one who held it before: another may have made a new
    /// one already, and two would hold "the" lock.
    fn try_take(path: &Path) -> std::result::Result<Option<Self>, Busy> {
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path);
        let file = match opened {
            // The directory was removed since, by a reset that left it empty.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(Busy::Failed)?,
        };
        Self::of(file, path)
    }

    /// The lock of `file`, which was at `path` when it was opened.
    fn of(file: File, path: &Path) -> std::result::Result<Option<Self>, Busy> {
        let found = file.metadata().map_err(Busy::Failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(holder(found.dev(), found.ino()).map_or(Busy::Unknown, Busy::Holder));
            }
            Err(TryLockError::Error(error)) => return Err(Busy::Failed(error)),
        }
        let same = std::fs::symlink_metadata(path)
            .is_ok_and(|now| (now.dev(), now.ino()) == (found.dev(), found.ino()));
        Ok(same.then(|| Self { path: path.to_owned(), _file: file }))
    }

    /// The process that holds the lock of `phase`, as the kernel has it: looked at, never touched,
    /// so that it is in nobody's way.
    pub fn holder(host: &Host, phase: &str) -> Option<u32> {
        let file = std::fs::metadata(host.path(LOCK_DIR).join(format!("{phase}.lock"))).ok()?;
        holder(file.dev(), file.ino())
    }

    /// Remove the lock file as well: nothing of the phase is left.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove(&self.path)?;
        if let Some(dir) = self.path.parent() {
            fs::remove_empty_dir(dir)?;
        }
        Ok(())
    }
}

/// Why a lock was not taken.
enum Busy {
    /// By the process with this pid.
    Holder(u32),
    Unknown,
    Failed(std::io::Error),
}

/// The pid of the process that holds the lock on the file `inode` of the file system `device`, as
/// the kernel has it (`proc_locks(5)`); none when nobody does, or one of another pid namespace.
fn holder(device: u64, inode: u64) -> Option<u32> {
    for _ in 0..TRIES {
        let table = locks().ok()?;
        if let Some(pid) = holder_in(&table.text, device, inode) {
            return Some(pid);
        }
        if table.whole {
            break;
        }
    }
    None
}

/// What the kernel said of its locks.
struct Locks {
    text: String,
    /// Told in one piece: between two reads, a lock that is given back moves those behind it, and
    /// one of them is left out.
    whole: bool,
}

/// The table of locks, in as few reads as the kernel allows: it tells a page at a time.
fn locks() -> std::io::Result<Locks> {
    let mut file = File::open("/proc/locks")?;
    let (mut text, mut reads) = (Vec::new(), 0);
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        text.extend_from_slice(&piece[..length]);
        reads += 1;
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    Ok(Locks { text, whole: reads <= 1 })
}

/// As [`holder`], in a table of locks.
fn holder_in(table: &str, device: u64, inode: u64) -> Option<u32> {
    let id = format!("{:02x}:{:02x}:{inode}", stat::major(device), stat::minor(device));
    let same_number = format!(":{inode}");
    let mut held = table.lines().filter_map(flock);
    // Some file systems (btrfs, overlayfs) show another device there than stat does.
    let held = held.find(|(pid, file)| {
        *file == id || file.ends_with(&same_number) && has_open(*pid, device, inode)
    });
    held.map(|(pid, _)| pid)
}

/// Whether the process `pid` has the file open.
fn has_open(pid: u32, device: u64, inode: u64) -> bool {
    let Ok(open) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    open.flatten().any(|entry| {
        std::fs::metadata(entry.path())
            .is_ok_and(|file| (file.dev(), file.ino()) == (device, inode))
    })
}

/// Pid and file of a line like `1: FLOCK  ADVISORY  WRITE 4711 00:18:964 0 EOF`; none for other
/// kinds of locks, for one who waits (`1: -> FLOCK ...`), and for pids that mean nothing here.
fn flock(line: &str) -> Option<(u32, &str)> {
    let mut words = line.split_whitespace().skip(1);
    if words.next() != Some("FLOCK") {
        return None;
    }
    let pid = words.nth(2)?.parse().ok().filter(|pid| *pid > 0)?;
    Some((pid, words.next()?))
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeSet,
        fs,
        process::Command,
        sync::{
            Mutex,
            atomic::{AtomicUsize, Ordering},
        },
        thread,
    };

    use proptest::prelude::*;

    use super::{Busy, Lock, flock};
    use crate::Host;

    #[test]
    fn never_do_two_hold_it_though_it_is_removed_all_the_time() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        fs::create_dir_all(root.path().join("run")).unwrap();
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
    fn a_file_that_was_removed_since_it_was_opened_is_no_lock() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        fs::create_dir_all(root.path().join("run")).unwrap();
        let lock = Lock::take(&host, "test").unwrap();
        let path = lock.path.clone();
        let opened = || fs::File::options().write(true).open(&path).unwrap();
        let early = opened();
        lock.remove().unwrap();
        assert!(matches!(Lock::of(early, &path), Ok(None)), "nobody else could see it held");
        let _other = Lock::take(&host, "test").unwrap();
        let late = Lock::of(opened(), &path);
        assert!(matches!(late, Err(Busy::Holder(pid)) if pid == std::process::id()));
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
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        fs::create_dir_all(root.path().join("run")).unwrap();
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
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        fs::create_dir_all(root.path().join("run")).unwrap();
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

    #[test]
    fn only_who_holds_one_is_a_holder() {
        let held = "1: FLOCK  ADVISORY  WRITE 4711 00:18:964 0 EOF";
        assert_eq!(flock(held), Some((4711, "00:18:964")));
        assert_eq!(flock("1: -> FLOCK  ADVISORY  WRITE 4712 00:18:964 0 EOF"), None);
        assert_eq!(flock("2: POSIX  ADVISORY  WRITE 4711 00:18:964 0 EOF"), None);
        assert_eq!(flock("3: FLOCK  ADVISORY  WRITE 0 00:18:964 0 EOF"), None);
    }

    proptest! {
        #[test]
        fn only_who_holds_the_very_file_is_its_holder(
            noise in "1: (-> )?FLOCK( [A-Z0-9:é-]{0,4}){0,5}\\PC*",
            pid in 1_u32..,
            device in 0_u64..4096,
            inode in 1_u64..,
        ) {
            flock(&noise);
            let id = |inode| format!("00:{device:02x}:{inode}");
            let line = |pid, inode| format!("1: FLOCK  ADVISORY  WRITE {pid} {} 0 EOF\n", id(inode));
            let device = nix::sys::stat::makedev(0, device);
            let table = format!("{noise}\n{}{}", line(pid, inode), line(pid, inode / 2));
            prop_assert_eq!(super::holder_in(&table, device, inode), Some(pid));
            let others = format!("{}{}", line(0, inode), line(pid, inode / 2));
            prop_assert_eq!(super::holder_in(&others, device, inode), None);
        }
    }
}
