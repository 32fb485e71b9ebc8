//! What the steps and the engine refuse, and in which words: each by its code.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may fail and meddle")]

use std::{fs, path::Path};

use khost::{
    Change, Cmd, Context, Error, Host, Owner, Status, StepList, engine,
    report::{Loudness, Report},
    steps::{command::Guarded, directory::Directory, file::File, lines::Lines},
};

struct Machine {
    root: tempfile::TempDir,
    host: Host,
    report: Report,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let host = Host::new(root.path());
        Self { root, host, report: Report::new("test", false, Loudness::Quiet) }
    }

    fn path(&self, path: &str) -> std::path::PathBuf {
        self.root.path().join(path)
    }

    fn apply(&self, step: impl khost::Step + 'static) -> Result<(), Error> {
        let mut steps = StepList::new();
        steps.add(step);
        engine::apply("test", &steps, &Context::new(&self.host, &self.report, None)).map(drop)
    }

    fn reset(&self) -> Result<(), Error> {
        engine::reset("test", &self.host, &self.report).map(drop)
    }
}

#[track_caller]
fn is<T: std::fmt::Debug>(outcome: Result<T, Error>, code: &str, says: &str, hint: &str) {
    let error = outcome.unwrap_err();
    assert_eq!(error.code(), code, "{}", error.chain());
    assert!(error.chain().contains(says), "{}", error.chain());
    assert!(error.next().unwrap_or_default().contains(hint), "{:?}", error.next());
}

#[test]
fn something_else_is_in_the_way() {
    let machine = Machine::new();
    fs::write(machine.path("etc/file"), "x").unwrap();
    let refused = machine.apply(Directory::new("/etc/file"));
    is(refused, "not-a-directory", "`/etc/file` is in the way", "move `/etc/file` away");
    assert_eq!(fs::read_to_string(machine.path("etc/file")).unwrap(), "x");

    fs::create_dir(machine.path("etc/dir")).unwrap();
    let refused = machine.apply(File::new("/etc/dir").text("y"));
    is(refused, "not-a-file", "`/etc/dir` is not a file", "move it away");

    std::os::unix::fs::symlink("file", machine.path("etc/link")).unwrap();
    let refused = machine.apply(Lines::block("/etc/link", "a line\n"));
    is(refused, "not-a-file", "`/etc/link` is not a plain file", "ls -ld /etc/link");
    assert_eq!(fs::read_to_string(machine.path("etc/file")).unwrap(), "x");
}

#[test]
fn what_does_not_last() {
    let differs = |_: &Context<'_>| Ok(Status::Differs(Change::new("turn the wheel")));
    let wheel = Guarded::new("wheel", differs, |_| Ok(())).in_tree();
    let says = "`turn the wheel` was done and did not last";
    is(Machine::new().apply(wheel), "not-converged", says, "another program manages");
}

#[test]
fn a_journal_that_cannot_be_read() {
    let machine = Machine::new();
    machine.apply(File::new("/etc/new").text("new")).unwrap();
    let log = machine.path("var/lib/k8steps/journal/test/log");
    let whole = fs::read_to_string(&log).unwrap();
    fs::write(&log, whole.replacen('{', "", 1)).unwrap();
    for refused in [machine.reset(), machine.apply(File::new("/etc/other").text("other"))] {
        is(refused, "journal-damaged", "line 1 of `", "restore the file from a backup");
    }
    assert!(machine.path("etc/new").exists() && !machine.path("etc/other").exists());
    fs::write(&log, whole).unwrap();
    machine.reset().unwrap();
    assert!(!machine.path("etc/new").exists());
}

#[test]
fn an_original_that_is_lost_does_not_keep_the_others() {
    let machine = Machine::new();
    fs::write(machine.path("etc/old"), "original").unwrap();
    machine.apply(File::new("/etc/old").text("changed")).unwrap();
    machine.apply(File::new("/etc/new").text("new")).unwrap();
    let blobs = machine.path("var/lib/k8steps/journal/test/blobs");
    let blob = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap().path();
    let aside = machine.path("aside");
    fs::rename(&blob, &aside).unwrap();
    is(machine.reset(), "reset-incomplete", "not everything could be put back", "run `test reset`");
    assert!(!machine.path("etc/new").exists(), "one that is lost holds the others up");
    fs::rename(aside, blob).unwrap();
    machine.reset().unwrap();
    assert_eq!(fs::read_to_string(machine.path("etc/old")).unwrap(), "original");
}

#[test]
fn what_is_mounted_is_not_removed() {
    // Nothing in there can be removed, by whomever.
    let refused = khost::fs::remove_tree(Path::new("/proc"));
    is(refused, "still-mounted", "is mounted inside `/proc`", "run `umount ");
}

#[test]
fn nobody_of_that_name() {
    let owner = Owner::new("nobody-of-k8steps", "nobody-of-k8steps");
    let refused = Host::new("/").ids(&owner);
    is(refused, "owner-unknown", "there is no user and group `nobody-of-k8steps", "kprep apply");
    assert_eq!(Host::new("/nowhere").ids(&owner).unwrap(), None, "in a tree nobody is asked");
}

#[test]
fn a_program_that_does_not_read() {
    let refused = Cmd::new("true").input("x".repeat(1 << 20)).run();
    is(refused, "program-input", "`true` did not take its input", "");
}

#[test]
fn certificates_that_are_none() {
    let trust = |ca: Option<&str>, identity: Option<&str>| khost::http::Trust {
        ca: ca.map(Into::into),
        identity: identity.map(Into::into),
    };
    for bad in [trust(None, Some("no PEM")), trust(Some("-----BEGIN CERTIFICATE-----\n"), None)] {
        is(khost::http::client(&bad), "tls-setup", "cannot use the certificates", "");
    }
}
