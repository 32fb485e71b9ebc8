//! The engine's promises on a tree: plan says what apply does, a second apply does nothing, reset
//! brings everything back, and one process works at a time.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests may fail and meddle")]

use std::{cell::Cell, fs, path::Path, rc::Rc};

use khost::{
    Context, Host, Step, StepList, engine,
    error::Exit,
    report::{Loudness, Report},
    steps::{command::Guarded, directory::Directory, file::File, link::Link},
};

/// A phase that makes, changes and links.
fn steps() -> StepList {
    let mut steps = StepList::new();
    steps.add(Directory::new("/etc/app").mode(0o750));
    steps.add(File::new("/etc/app/new").mode(0o600).secret("key"));
    steps.add(File::new("/etc/old").text("changed\n"));
    steps.add(Link::new("/etc/link", "/etc/app"));
    steps.add(Directory::new("/var/lib/app").filled());
    steps
}

struct Machine {
    root: tempfile::TempDir,
    host: Host,
    report: Report,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/old"), "original\n").unwrap();
        let host = Host::new(root.path());
        Self { root, host, report: Report::new("test", false, Loudness::Quiet) }
    }

    fn context(&self) -> Context<'_> {
        Context::new(&self.host, &self.report, None)
    }

    /// Every path with its content, without what the engine keeps for itself.
    fn listing(&self) -> Vec<String> {
        fn walk(dir: &Path, found: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let kind = fs::symlink_metadata(&path).unwrap();
                let text =
                    if kind.is_file() { fs::read_to_string(&path).unwrap() } else { String::new() };
                found.push(format!("{} {text}", path.display()));
                if kind.is_dir() {
                    walk(&path, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.root.path(), &mut found);
        found.retain(|line| !line.contains("/run") && !line.contains("/journal"));
        found.sort();
        found
    }
}

#[test]
fn plan_apply_again_and_back() {
    let machine = Machine::new();
    let before = machine.listing();

    assert_eq!(engine::plan(&steps(), &machine.context()).unwrap(), Exit::Differs);
    assert_eq!(machine.listing(), before, "a plan writes nothing");

    assert_eq!(engine::apply("test", &steps(), &machine.context()).unwrap(), Exit::Done);
    let after = machine.listing();
    assert_ne!(after, before);
    assert_eq!(engine::check(&steps(), &machine.context()).unwrap(), Exit::Done);
    assert_eq!(engine::plan(&steps(), &machine.context()).unwrap(), Exit::Done);

    let context = machine.context();
    assert_eq!(engine::apply("test", &steps(), &context).unwrap(), Exit::Done);
    assert!(!steps_changed(&context), "a second apply changes nothing");
    assert_eq!(machine.listing(), after);

    assert_eq!(engine::reset("test", &machine.host, &machine.report).unwrap(), Exit::Done);
    assert_eq!(
        machine.listing().iter().filter(|line| !line.contains("/var")).collect::<Vec<_>>(),
        before.iter().collect::<Vec<_>>()
    );
}

fn steps_changed(context: &Context<'_>) -> bool {
    ["directory:/etc/app", "file:/etc/app/new", "file:/etc/old", "link:/etc/link"]
        .iter()
        .any(|id| context.changes(id))
}

#[test]
fn drift_is_found_and_mended() {
    let machine = Machine::new();
    engine::apply("test", &steps(), &machine.context()).unwrap();
    fs::write(machine.root.path().join("etc/old"), "meddled\n").unwrap();
    assert_eq!(engine::check(&steps(), &machine.context()).unwrap(), Exit::Differs);
    engine::apply("test", &steps(), &machine.context()).unwrap();
    engine::reset("test", &machine.host, &machine.report).unwrap();
    let old = fs::read_to_string(machine.root.path().join("etc/old")).unwrap();
    assert_eq!(old, "original\n", "the first original counts, not the one before the last apply");
}

#[test]
fn a_filled_directory_goes_with_its_content_and_others_stay() {
    let machine = Machine::new();
    engine::apply("test", &steps(), &machine.context()).unwrap();
    let root = machine.root.path();
    fs::write(root.join("var/lib/app/data"), "grown").unwrap();
    fs::write(root.join("etc/app/theirs"), "not ours").unwrap();
    engine::reset("test", &machine.host, &machine.report).unwrap();
    assert!(!root.join("var/lib/app").exists());
    assert!(root.join("etc/app/theirs").exists(), "what we did not make is left");
}

#[test]
fn the_holder_of_the_lock_is_named() {
    let machine = Machine::new();
    let holder = Holder { inner: std::cell::RefCell::new(None) };
    let mut list = StepList::new();
    list.add(holder);
    engine::apply("test", &list, &machine.context()).unwrap();
}

#[test]
fn who_reads_a_file_is_told_when_all_is_back() {
    let machine = Machine::new();
    let (old, seen) = (machine.root.path().join("etc/old"), machine.root.path().join("seen"));
    let tell = ["cp", old.to_str().unwrap(), seen.to_str().unwrap()].map(Into::into).into();
    let mut steps = StepList::new();
    // Recorded after the file it reads, so that walking backwards alone would tell too early.
    steps.add(File::new("/etc/old").text("changed\n"));
    let done = Rc::new(Cell::new(false));
    let asked = Rc::clone(&done);
    let status = move |_: &Context<'_>| {
        let todo = khost::Status::Differs(khost::Change::new("tell"));
        Ok(if asked.get() { khost::Status::Done } else { todo })
    };
    let tell = Guarded::new("tell", status, move |_| {
        done.set(true);
        Ok(())
    })
    .touching([khost::Thing::Notice(tell)])
    .in_tree();
    steps.add(tell);
    engine::apply("test", &steps, &machine.context()).unwrap();
    assert!(!seen.exists(), "apply tells by the step itself");
    engine::reset("test", &machine.host, &machine.report).unwrap();
    assert_eq!(fs::read_to_string(seen).unwrap(), "original\n");
}

/// A step that, while its phase holds the lock, tries to start the phase once more.
struct Holder {
    inner: std::cell::RefCell<Option<()>>,
}

impl Step for Holder {
    fn id(&self) -> String {
        "holder".into()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, _: &Context<'_>) -> khost::Result<khost::Status> {
        Ok(match *self.inner.borrow() {
            Some(()) => khost::Status::Done,
            None => khost::Status::Differs(khost::Change::new("hold")),
        })
    }

    fn touches(&self, _: &Context<'_>) -> khost::Result<Vec<khost::Thing>> {
        Ok(Vec::new())
    }

    fn apply(&self, context: &Context<'_>) -> khost::Result<()> {
        let error = engine::apply("test", &StepList::new(), context).unwrap_err();
        assert_eq!(error.code(), "already-running");
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        *self.inner.borrow_mut() = Some(());
        Ok(())
    }
}
