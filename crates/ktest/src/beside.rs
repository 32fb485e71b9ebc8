//! A phase beside itself, beside other phases, and below a pipeline.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Stdio},
    thread,
};

use crate::{
    Tree,
    fault::{Listing, difference, said},
};

/// How often two are started at the same moment.
const ROUNDS: usize = 4;
const APPLY: &[&str] = &["apply"];
const RESET: &[&str] = &["reset", "--yes"];

impl Tree {
    /// What changes this tree is alone with it as far as it must be, tried on copies:
    ///
    /// 1. beside an `apply` or a `reset` that stopped in the middle of its work others are refused
    ///    and told its pid, `plan` and `check` are not, and it ends as if nobody had been there;
    /// 2. the same beside others, of whom only their locks are there: another phase's `apply` lets
    ///    `apply` work and not `reset`, another one's `reset` and a pipeline let nobody work, or read
    ///    what it would go by, but what the pipeline starts;
    /// 3. of two that are started at the same moment, one works and the other works or is refused,
    ///    and what they leave is not torn.
    #[expect(clippy::missing_panics_doc, reason = "only tests call this")]
    pub fn is_alone_with_its_phase(&self) {
        let (before, (wanted, _)) = (self.everything(), self.undisturbed());
        let tree = self.twin();
        tree.others_give_way(APPLY, "fdatasync", &wanted); // the journal's
        tree.others_give_way(RESET, "fsync", &before);
        assert!(!tree.path("/run/k8steps").exists(), "reset leaves locks behind");
        self.twin().others_are_given_way(&wanted, &before);
        let tree = self.twin();
        for _ in 0..ROUNDS {
            tree.at_once([APPLY, APPLY]);
            tree.is_now(&wanted, "two applies");
            tree.at_once([APPLY, RESET]);
            tree.run(APPLY, 0);
            tree.is_now(&wanted, "an apply beside a reset, and one more apply");
            tree.at_once([RESET, RESET]);
            tree.is_now(&before, "two resets");
            tree.at_once([RESET, APPLY]);
            tree.run(RESET, 0);
            tree.is_now(&before, "a reset beside an apply, and one more reset");
        }
        assert!(!tree.path("/run/k8steps").exists(), "reset leaves locks behind");
    }

    /// 1: nobody else works while `first` is stopped at its first `call`, and it ends with `wanted`.
    fn others_give_way(&self, first: &[&str], call: &str, wanted: &Listing) {
        let first = Stopped::at(self, first, call);
        for second in [APPLY, RESET] {
            self.gives_way(second, first.pid);
        }
        self.can_be_looked_at(&format!("is at work (pid {})", first.pid));
        first.goes_on();
        self.is_now(wanted, "with others beside it");
    }

    /// 2
    fn others_are_given_way(&self, wanted: &Listing, before: &Listing) {
        let applies = Holder::of(self, "machine", &["--shared"]);
        self.gives_way(RESET, applies.pid());
        self.run(APPLY, 0);
        self.is_now(wanted, "beside another phase");
        drop(applies);
        for name in ["machine", "pipeline"] {
            let alone = Holder::of(self, name, &[]);
            self.gives_way(RESET, alone.pid());
            self.gives_way(APPLY, alone.pid());
            // What it reads may be another one by the time that it changes something.
            self.gives_way(&["apply", "--config", "/nowhere"], alone.pid());
            drop(alone);
        }
        self.works_below_a_pipeline(RESET);
        self.is_now(before, "below a pipeline");
        self.works_below_a_pipeline(APPLY);
        self.is_now(wanted, "below a pipeline");
    }

    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn works_below_a_pipeline(&self, args: &[&str]) {
        let mut pipeline = self.program(Path::new("flock"));
        pipeline.arg(self.lock("pipeline")).arg(&self.tool).arg("--root").arg(self.root());
        let output = pipeline.args(args).output().unwrap();
        assert!(output.status.success(), "{args:?} below a pipeline: {}", said(&output));
    }

    /// A lock file that is there.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn lock(&self, name: &str) -> std::path::PathBuf {
        let path = format!("/run/k8steps/{name}.lock");
        let file = self.path(&path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::File::options().create(true).append(true).open(&file).unwrap();
        crate::give_away(file.parent().unwrap());
        crate::give_away(&file);
        file
    }

    fn gives_way(&self, args: &[&str], pid: u32) {
        let (_, words) = self.run(args, 1);
        assert!(words.starts_with("error[already-running]: `"), "{args:?}: {words}");
        assert!(words.contains(&format!("` is at work (pid {pid})\n")), "{args:?}: {words}");
        assert!(words.contains("hint: wait for it"), "{args:?}: {words}");
    }

    /// `plan` and `check` say what they see, and who is at work where something differs.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn can_be_looked_at(&self, note: &str) {
        for verb in ["plan", "check"] {
            let output = self.tool().arg(verb).output().unwrap();
            let words = said(&output);
            match output.status.code() {
                Some(0) => {}
                Some(3) => assert!(words.contains(note), "{verb}: {words}"),
                _ => panic!("{verb}: {words}"),
            }
        }
    }

    /// Start both at the same moment: at least one ends well, and the other one too, or it is
    /// refused because of the first.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn at_once(&self, runs: [&[&str]; 2]) {
        let started = runs.map(|args| {
            let mut command = self.tool_with_streams();
            command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().unwrap()
        });
        let pids = [started[1].id(), started[0].id()];
        let ended = started.map(|run| run.wait_with_output().unwrap());
        let ok = ended.iter().filter(|output| output.status.success()).count();
        assert!(ok > 0, "{runs:?}: nobody works: {}\n{}", said(&ended[0]), said(&ended[1]));
        for (output, other) in ended.iter().zip(pids).filter(|(output, _)| !output.status.success())
        {
            let (code, words) = (output.status.code(), said(output));
            // Whoever ends this moment has no command line any more.
            let refused = words.starts_with("error[already-running]: ")
                && words.contains(&format!("is at work (pid {other})\n"));
            assert!(code == Some(1) && refused, "{runs:?}: {code:?}: {words}");
        }
    }

    fn is_now(&self, wanted: &Listing, when: &str) {
        if let Some(lines) = difference(wanted, &self.everything()) {
            panic!("{when}, it is another tree:\n{lines}");
        }
    }
}

/// A run of the tool that stopped in the middle of its work.
struct Stopped<'a> {
    tree: &'a Tree,
    strace: Child,
    pid: u32,
}

impl<'a> Stopped<'a> {
    /// The tool with `args`, stopped where it makes its first `call`.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn at(tree: &'a Tree, args: &[&str], call: &str) -> Self {
        let log = tree.dir.path().join("stopped");
        fs::File::create(&log).unwrap();
        crate::give_away(&log);
        let mut command = tree.program(Path::new("strace"));
        command.args(["-f", "-o"]).arg(&log).args(["-e", &format!("trace={call}")]);
        command.args(["-e", &format!("inject={call}:signal=STOP:when=1")]);
        command.arg(&tree.tool).arg("--root").arg(tree.root()).args(args);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut strace = command.spawn().unwrap();
        loop {
            let text = fs::read_to_string(&log).unwrap();
            let stop = text.lines().find(|line| line.ends_with("--- stopped by SIGSTOP ---"));
            if let Some(thread) = stop.and_then(|line| line.split_whitespace().next()) {
                return Self { tree, strace, pid: process(thread) };
            }
            assert!(strace.try_wait().unwrap().is_none(), "{args:?} makes no {call}:\n{text}");
            thread::yield_now();
        }
    }

    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn goes_on(mut self) {
        self.tell("CONT");
        assert!(self.strace.wait().unwrap().success(), "it did not end well");
    }

    fn tell(&self, signal: &str) {
        let mut kill = self.tree.program(Path::new("kill"));
        let _ = kill.args(["-s", signal, &self.pid.to_string()]).stderr(Stdio::null()).status();
    }
}

impl Drop for Stopped<'_> {
    /// After a panic: nothing that is stopped for good stays.
    fn drop(&mut self) {
        if matches!(self.strace.try_wait(), Ok(None)) {
            self.tell("KILL");
            let _ = self.strace.wait();
        }
    }
}

/// The process that `thread` is of.
#[expect(clippy::unwrap_used, reason = "only tests call this")]
fn process(thread: &str) -> u32 {
    let status = fs::read_to_string(format!("/proc/{thread}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:")).unwrap();
    line.trim().parse().unwrap()
}

/// Another program that holds a lock of a tree.
struct Holder(Child);

impl Holder {
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn of(tree: &Tree, name: &str, options: &[&str]) -> Self {
        let mut flock = tree.program(Path::new("flock"));
        flock.arg("--no-fork").args(options).arg(tree.lock(name));
        flock.args(["sh", "-c", "echo held; read line"]); // until standard input is closed
        flock.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = flock.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "held\n");
        Self(child)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
