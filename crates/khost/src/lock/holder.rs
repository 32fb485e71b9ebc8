//! Who holds a lock, as the kernel has it (`proc_locks(5)`).

use std::{fs::File, io::Read as _, os::unix::fs::MetadataExt as _, path::Path};

use nix::sys::stat;

/// How often the table is read again that was not told in one piece.
const TRIES: usize = 100;

/// The pid of a process that holds the lock on the file `inode` of the file system `device`; none
/// when nobody does, or one of another pid namespace.
pub(super) fn of(device: u64, inode: u64) -> Option<u32> {
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

/// As [`of`], in a table of locks.
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

/// Whether this process is `pid`, or was started by it, or by one that it started.
pub(super) fn is_above(pid: u32) -> bool {
    let mut at = std::process::id();
    while at != pid {
        match parent(at) {
            Some(parent) if parent > 0 => at = parent,
            _ => return false,
        }
    }
    true
}

/// The process that `pid` is a child of (`proc_pid_stat(5)`).
fn parent(pid: u32) -> Option<u32> {
    let text = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    parent_in(&String::from_utf8_lossy(&text))
}

/// As [`parent`], in the text of the file: the name in it may have any bytes.
fn parent_in(text: &str) -> Option<u32> {
    text.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// "`kcp apply` is at work (pid 4711)"
pub(super) fn words(pid: u32) -> String {
    format!("{} is at work (pid {pid})", command(pid))
}

/// What `pid` runs, as a person would type it.
fn command(pid: u32) -> String {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&line).into_owned();
    let mut words = line.split_terminator('\0').map(str::to_owned);
    let Some(program) = words.next() else { return "another program".into() };
    let name = Path::new(&program).file_name().map(|name| name.to_string_lossy().into_owned());
    let line: Vec<_> = name.into_iter().chain(words).collect();
    format!("`{}`", line.join(" "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{flock, holder_in, is_above, parent_in};

    #[test]
    fn who_started_this_process_is_above_it_and_who_is_started_by_it_is_not() {
        let own = std::process::id();
        assert!(is_above(own) && is_above(std::os::unix::process::parent_id()));
        #[expect(clippy::disallowed_methods, reason = "another process, in a test")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let above = is_above(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!above);
        assert_eq!(parent_in("7 (a) R 1 (b) c) S 6 7 7 0"), Some(6));
        assert_eq!(parent_in("7 (a"), None);
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
            prop_assert_eq!(holder_in(&table, device, inode), Some(pid));
            let others = format!("{}{}", line(0, inode), line(pid, inode / 2));
            prop_assert_eq!(holder_in(&others, device, inode), None);
        }
    }
}
