//! kfetch as its user meets it: on a tree, as an ordinary user, with servers on this machine.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod archives;
mod beside;
mod bundle;
mod distribution;
mod faults;
mod files;
mod hostile;
mod hosts;
mod images;
mod inputs;
mod lock;
mod offline;
mod progress;
mod prune;
mod refused_bundles;
mod registry;
mod server;

use std::{collections::BTreeSet, fmt::Write as _};

use kspec::{Arch, Sha256};
use ktest::Tree;
use serde_json::Value;

use crate::server::Server;

const KFETCH: &str = env!("CARGO_BIN_EXE_kfetch");
const STORE: &str = "/var/lib/k8steps/store";
const RECORD: &str = "/var/lib/k8steps/artifacts.json";

/// A tree whose `artifacts.lock` is `lock`, with `extra` in its cluster description.
fn tree(extra: &str, lock: &str) -> Tree {
    let tree = Tree::with_cluster(KFETCH, extra);
    tree.write("/run/user", ""); // every machine has /run, and the lock in it comes and goes
    tree.write("/etc/k8steps/artifacts.lock", lock);
    tree
}

/// A lock file, put together.
#[derive(Debug, Clone)]
struct Lock(String);

impl Lock {
    fn new() -> Self {
        Self("schema = 1\n".into())
    }

    fn file(self, name: &str, url: &str, bytes: &[u8]) -> Self {
        self.archive(name, url, bytes, &[])
    }

    /// An archive of which `members` are taken.
    fn archive(mut self, name: &str, url: &str, bytes: &[u8], members: &[&str]) -> Self {
        let (arch, digest) = (this_arch(), Sha256::of(bytes).hex());
        let version = if name.starts_with("kube") { "1.33.3" } else { "1.2.3" };
        let _ = write!(
            self.0,
            "[[file]]\nname = \"{name}\"\nversion = \"{version}\"\narch = \"{arch}\"\nurl = \"{url}\"\n\
             sha256 = \"{digest}\"\n"
        );
        if !members.is_empty() {
            let _ = writeln!(self.0, "format = \"tar.gz\"\nmembers = {members:?}");
        }
        self
    }

    fn image(mut self, name: &str, reference: &str) -> Self {
        let _ = write!(self.0, "[[image]]\nname = \"{name}\"\nref = \"{reference}\"\n");
        self
    }

    /// Pin the last image.
    fn pinned(mut self, digest: Sha256) -> Self {
        let _ = writeln!(self.0, "digest = {{ {} = \"{digest}\" }}", this_arch());
        self
    }
}

fn this_arch() -> Arch {
    Arch::from_machine(std::env::consts::ARCH).unwrap()
}

/// `[download]` with `settings`, and quick to give up.
fn download(settings: &str) -> String {
    format!("[download]\nattempts = 2\n{settings}\n")
}

/// The registry `r.example`, served by `server`.
fn served_by(server: &Server) -> String {
    download("mirrors-only = true")
        + &format!(
            "[[containerd.registry]]\nprefix = \"r.example\"\n\
             [[containerd.registry.host]]\nurl = \"{}\"\n",
            server.url()
        )
}

/// A `.tar.gz` of these members. Names are written as they are, be they dangerous.
fn tar_gz(members: &[(&str, &str)]) -> Vec<u8> {
    let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(packer);
    for (name, text) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(text.len() as u64);
        header.set_mode(0o600);
        header.set_cksum();
        archive.append(&header, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

/// Some bytes that are not all the same.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect()
}

/// Run `args`, which must end with `code`; standard output and error.
fn run(tree: &Tree, args: &[&str], code: i32) -> (String, String) {
    let output = tree.tool().args(args).assert().code(code).get_output().clone();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The steps that `args` reports with `event`.
fn steps(tree: &Tree, args: &[&str], event: &str, code: i32) -> BTreeSet<String> {
    let (stdout, _) = run(tree, args, code);
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_that_kind = events.filter(|found| found["event"] == event);
    of_that_kind.map(|found| found["step"].as_str().unwrap().to_owned()).collect()
}

/// The real path of a blob.
fn blob(tree: &Tree, bytes: &[u8]) -> std::path::PathBuf {
    tree.path(&format!("{STORE}/blobs/sha256/{}", Sha256::of(bytes).hex()))
}

/// The real path of what is kept of a blob that is not complete.
fn partial(tree: &Tree, bytes: &[u8]) -> std::path::PathBuf {
    tree.path(&format!("{STORE}/partial/{}", Sha256::of(bytes).hex()))
}
