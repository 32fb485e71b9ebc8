//! A phase that is killed, or whose disk fails, at a system call of choice.
//!
//! The fault comes from outside the tool: strace lets the Nth call of one kind fail, or kills the
//! process before the call is made (`strace(1)`, "Tampering"). It counts for each thread by
//! itself; where several threads make the same calls, whichever comes to N first is meant.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::{Command, Output},
};

use crate::Tree;

/// System calls that change a file system, or that a full or broken disk makes fail.
const CALLS: &str = "openat,write,pwrite64,writev,copy_file_range,sendfile,ftruncate,fallocate,\
    rename,renameat,renameat2,unlink,unlinkat,rmdir,mkdir,mkdirat,symlink,symlinkat,link,linkat,\
    chmod,fchmod,fchmodat,chown,fchown,fchownat,lchown,fsync,fdatasync,utimensat";
/// The process is killed before the call is made.
const KILL: &str = "KILL";
/// Errors of a disk, and an interruption.
const ERRORS: [&str; 3] = ["ENOSPC", "EIO", "EINTR"];
/// How many points of a phase are tried when not all are.
const FEW: usize = 16;
/// Names what is to be tried: `all`, or one point as it is printed.
const CHOICE: &str = "CHAOS";

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Point {
    call: String,
    /// The how manieth such call of a thread, from 1.
    nth: usize,
    fault: String,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.call, self.nth, self.fault)
    }
}

impl Point {
    /// For strace's `-e inject=`.
    fn injection(&self) -> String {
        let Self { call, nth, fault } = self;
        match fault.as_str() {
            KILL => format!("inject={call}:signal=KILL:when={nth}"),
            error => format!("inject={call}:error={error}:when={nth}"),
        }
    }
}

/// A path of a tree: mode, owner, and a digest of what is in it.
pub(crate) type Listing = BTreeMap<String, (u32, u32, u32, String)>;

impl Tree {
    /// `apply`, tried on copies of this tree, with something going wrong at each of its system
    /// calls that change the tree:
    ///
    /// 1. it is killed: no secret is readable by others in what is left, `reset` brings back the
    ///    tree as it was, and one more `apply` ends with the tree of an undisturbed one: bytes,
    ///    modes, owners, and a journal from which `reset` still brings back the tree as it was;
    /// 2. the call fails with one of [`ERRORS`]: the tool bears it, or ends with an error of its
    ///    own, and the same holds afterwards.
    ///
    /// Bytes that differ from one undisturbed `apply` to the next (keys, certificates) are not
    /// compared. Without `CHAOS` in the environment only [`FEW`] points are tried, always the
    /// same; with `CHAOS=all` all of them, with `CHAOS=POINT` that one.
    #[expect(clippy::missing_panics_doc, reason = "only tests call this")]
    #[expect(clippy::print_stderr, reason = "what was tried is part of the result")]
    pub fn survives_faults(&self, phase: &str) {
        let before = self.everything();
        let (wanted, points) = self.undisturbed();
        let choice = std::env::var(CHOICE).unwrap_or_default();
        let chosen: Vec<_> = match choice.as_str() {
            "" => some_of(&points),
            "all" => points.iter().collect(),
            one => points.iter().filter(|point| point.to_string() == one).collect(),
        };
        assert!(points.len() > FEW, "only {} system calls change the tree", points.len());
        assert!(!chosen.is_empty(), "{CHOICE}={choice} is no point of {phase}");
        let missed: Vec<_> = chosen
            .iter()
            .filter_map(|point| {
                let wrong = self.goes_wrong_at(point, &before, &wanted)?;
                Some(format!("{CHOICE}={point} cargo test -p {phase} -- faults\n{wrong}"))
            })
            .collect();
        let (tried, all) = (chosen.len(), points.len());
        eprintln!("chaos: {phase}: {tried} of {all} points tried, {} missed", missed.len());
        assert!(missed.is_empty(), "{}", missed.join("\n\n"));
    }

    /// Another tree that is the same now.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    #[expect(clippy::disallowed_methods, reason = "tests stand in for the operator")]
    pub(crate) fn twin(&self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let twin = Self { dir, tool: self.tool.clone() };
        let copied = Command::new("cp").arg("-a").args([self.root(), twin.root()]).status();
        assert!(copied.unwrap().success());
        twin
    }

    /// What an undisturbed `apply` ends with, and where it can be disturbed. Digests of what is
    /// not the same twice are left out.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    pub(crate) fn undisturbed(&self) -> (Listing, Vec<Point>) {
        let (once, twice) = (self.twin(), self.twin());
        let log = once.dir.path().join("calls");
        fs::File::create(&log).unwrap();
        crate::give_away(&log);
        let log = log.to_str().unwrap();
        let traced = once.witnessed(&["-y", "-e", &format!("trace={CALLS}"), "-o", log]);
        assert!(traced.status.success(), "{}", said(&traced));
        twice.run(&["apply"], 0);
        let mut wanted = once.everything();
        for (path, other) in twice.everything() {
            let found = wanted.get_mut(&path);
            let found = found.unwrap_or_else(|| panic!("{path} is there only sometimes"));
            // The journal is judged by what reset makes of it.
            if found.3 != other.3 || path.starts_with("var/lib/k8steps/journal/") {
                found.3.clear();
            }
        }
        let root = once.root().display().to_string();
        (wanted, points(&fs::read_to_string(log).unwrap(), &root))
    }

    /// `apply` on this tree under strace with `options`.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn witnessed(&self, options: &[&str]) -> Output {
        let mut command = self.program(Path::new("strace"));
        command.args(["-f", "-qq", "-e", "signal=none"]).args(options);
        command.arg(&self.tool).arg("--root").arg(self.root()).arg("apply");
        command.output().unwrap()
    }

    /// What is wrong after a fault at `point`; none when nothing is.
    fn goes_wrong_at(&self, point: &Point, before: &Listing, wanted: &Listing) -> Option<String> {
        let tree = self.twin();
        let injection = point.injection();
        let trace = format!("trace={}", point.call);
        let output = tree.witnessed(&["-o", "/dev/null", "-e", &trace, "-e", &injection]);
        let words = said(&output);
        if words.contains("panicked") {
            return Some(format!("it panics:\n{words}"));
        }
        if point.fault != KILL && !output.status.success() && !words.contains("error[") {
            return Some(format!("it ends without an error of its own:\n{words}"));
        }
        let left = tree.everything();
        if let Some(path) = tree.open_secret(&left, wanted) {
            return Some(format!("{path} is a secret that others can read"));
        }
        let taken_back = tree.twin();
        let goes = |tree: &Self, args: &[&str], wanted: &Listing| {
            let output = tree.tool().args(args).output();
            if !output.as_ref().is_ok_and(|output| output.status.success()) {
                return Some(format!("{args:?} fails: {output:?}"));
            }
            let lines = difference(wanted, &tree.everything())?;
            Some(format!("{args:?} ends with another tree:\n{lines}"))
        };
        let reset = ["reset", "--yes"];
        goes(&taken_back, &reset, before)
            .map(|wrong| format!("at once, {wrong}"))
            .or_else(|| goes(&tree, &["apply"], wanted))
            .or_else(|| Some(format!("then {}", goes(&tree, &reset, before)?)))
    }

    /// Every path but the locks.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    pub(crate) fn everything(&self) -> Listing {
        let mut found = Listing::new();
        let mut todo = vec![self.root()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(self.root()).unwrap().display().to_string();
                if name.starts_with("run/k8steps") {
                    continue;
                }
                let metadata = fs::symlink_metadata(&path).unwrap();
                let content = if metadata.is_dir() {
                    todo.push(path.clone());
                    "directory".into()
                } else if metadata.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else {
                    kspec::Sha256::of(fs::read(&path).unwrap()).short()
                };
                found.insert(name, (metadata.mode(), metadata.uid(), metadata.gid(), content));
            }
        }
        found
    }

    /// A private key that is open to more than it will be in the end: a file that is not there
    /// then, to more than its owner.
    fn open_secret(&self, left: &Listing, wanted: &Listing) -> Option<String> {
        let open = |(path, (mode, ..)): &(&String, &(u32, u32, u32, String))| {
            let meant = wanted.get(*path).map_or(0o600, |(mode, ..)| mode & 0o777);
            let bytes = || fs::read(self.root().join(Path::new(path))).unwrap_or_default();
            mode & 0o077 & !meant != 0
                && bytes().windows(15).any(|window| window == b"PRIVATE KEY----")
        };
        left.iter().find(open).map(|(path, _)| path.clone())
    }
}

/// What was traced, as points: for each call that names something below `root`, the how manieth
/// of its kind in its thread it is. Each can be where the process is killed, and each can fail.
fn points(log: &str, root: &str) -> Vec<Point> {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut found = BTreeSet::new();
    let mut calls = Vec::new();
    for line in log.lines() {
        let Some((thread, rest)) = line.split_once(char::is_whitespace) else { continue };
        let Some((call, arguments)) = rest.trim_start().split_once('(') else { continue };
        if call.contains(' ') {
            continue; // `<... write resumed>`: counted when it began
        }
        let nth = counts.entry((thread, call)).or_default();
        *nth += 1;
        let changes = call != "openat"
            || ["O_CREAT", "O_WRONLY", "O_RDWR"].iter().any(|flag| arguments.contains(flag));
        let lock = arguments.contains("/run/k8steps") || arguments.contains(".lock\"");
        // The tools name what they hold open by `/proc/self/fd` (crates/khost/src/fs/place.rs).
        let below = arguments.contains(root) || arguments.contains("\"/proc/self/fd/");
        if below && changes && !lock && found.insert((call, *nth)) {
            calls.push((call, *nth));
        }
    }
    // Threads write to each other as well: an error meant for a file would hit that.
    let threads: BTreeSet<_> = counts.keys().map(|(thread, _)| thread).collect();
    let mut points = Vec::new();
    for (call, nth) in calls {
        for fault in [KILL].into_iter().chain(ERRORS) {
            if threads.len() > 1 && call == "write" && fault != KILL {
                continue;
            }
            points.push(Point { call: call.into(), nth, fault: fault.into() });
        }
    }
    points
}

/// A few points, spread over all of them.
fn some_of(points: &[Point]) -> Vec<&Point> {
    let step = (points.len() / FEW).max(1) | 1; // odd: a kill and each of the errors in turn
    points.iter().step_by(step).collect()
}

/// Lines that tell how `found` is not `wanted`; a digest that was left out is not compared.
pub(crate) fn difference(wanted: &Listing, found: &Listing) -> Option<String> {
    let mut lines = Vec::new();
    for (path, one) in wanted {
        match found.get(path) {
            None => lines.push(format!("- {path} {one:?}")),
            Some(other) => {
                let same = (one.0, one.1, one.2) == (other.0, other.1, other.2)
                    && (one.3.is_empty() || one.3 == other.3);
                if !same {
                    lines.push(format!("- {path} {one:?}\n+ {path} {other:?}"));
                }
            }
        }
    }
    lines.extend(
        found
            .iter()
            .filter(|(path, _)| !wanted.contains_key(*path))
            .map(|(path, other)| format!("+ {path} {other:?}")),
    );
    (!lines.is_empty()).then(|| lines.join("\n"))
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::{points, some_of};

    #[test]
    fn points_are_counted_in_each_thread_and_taken_only_below_the_root() {
        let log = r#"7 openat(AT_FDCWD</>, "/lib/libc.so", O_RDONLY) = 3</lib/libc.so>
7 openat(AT_FDCWD</>, "/t/root/a", O_WRONLY|O_CREAT, 0600) = 4</t/root/a>
7 write(2</dev/null>, "x", 1) = 1
8 write(4</t/root/a>, "x", 1 <unfinished ...>
7 write(4</t/root/a>, "x", 1) = 1
8 <... write resumed>) = 1
7 fsync(4</t/root/a>) = 0
7 unlink("/t/root/run/k8steps/x.lock") = 0
"#;
        let found: Vec<_> = points(log, "/t/root").iter().map(ToString::to_string).collect();
        let calls: Vec<_> = found.iter().filter_map(|point| point.strip_suffix(":KILL")).collect();
        assert_eq!(calls, ["openat:2", "write:1", "write:2", "fsync:1"]);
        assert!(!found.contains(&"write:1:EIO".into()), "the threads' own writes would fail");
        let faults = ["openat:2:KILL", "openat:2:ENOSPC", "openat:2:EIO", "openat:2:EINTR"];
        assert_eq!(found[..4], faults);
    }

    #[test]
    fn some_are_kills_and_some_are_errors() {
        let log: String = (0..200).map(|_| "7 write(4</t/root/a>, \"x\", 1) = 1\n").collect();
        let points = points(&log, "/t/root");
        let some = some_of(&points);
        let kills = some.iter().filter(|point| point.fault == "KILL").count();
        assert!(some.len() >= 16 && kills >= 4 && kills <= some.len() / 2, "{some:?}");
    }
}
