//! One fault at one place: set up, met beside a good server, met alone, and got over.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Output,
};

use kspec::Sha256;
use ktest::Tree;
use tempfile::TempDir;

use super::wire::{Fault, Kind};
use crate::{
    KFETCH, Lock, STORE, bytes, download,
    server::{Answer, Server},
    tar_gz, this_arch,
};

/// What is answered wrongly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A program.
    File,
    /// What a program's address redirects to.
    Target,
    /// An archive of programs.
    Archive,
    /// What an image's tag means.
    Tag,
    /// The manifest that an image is pinned to.
    Manifest,
    /// An image's configuration.
    Config,
    /// An image's layer.
    Layer,
    /// The right to read an image.
    Token,
}

impl Place {
    pub(super) fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    fn is_image(self) -> bool {
        !matches!(self, Self::File | Self::Target | Self::Archive)
    }
}

/// Where the directories are that stand for machines: in memory if there is such a place, for
/// every run makes many small files durable.
#[derive(Debug)]
pub(super) struct Machines {
    tool: Tree,
    dir: TempDir,
}

impl Machines {
    pub(super) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let memory = if memory.is_dir() { memory.into() } else { std::env::temp_dir() };
        let (tool, dir) = (Tree::new(KFETCH), tempfile::tempdir_in(memory).unwrap());
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        Self { tool, dir }
    }

    /// A file for all to read, in directories for all to write.
    #[expect(clippy::disallowed_methods, reason = "tests stand in for the operator")]
    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let dir = path.parent().unwrap();
        fs::create_dir_all(dir).unwrap();
        fs::write(&path, text).unwrap();
        for made in dir.ancestors().take_while(|made| *made != self.dir.path()) {
            fs::set_permissions(made, Permissions::from_mode(0o777)).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A fault at a place.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) place: Place,
    pub(super) fault: Fault,
}

const LAYER: &str = "a layer that is long enough to be cut in the middle and anywhere else";

impl Case {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.place.name(), self.fault.name)
    }

    /// Everything that must hold; what did not, when it did not.
    pub(super) fn hold(&self, machines: &Machines) -> Result<(), String> {
        let (good, bad) = (self.server(false), self.server(true));
        let program = bytes(20_000);
        let lock = self.lock(&good, &program);

        let both = self.root(machines, "both", &[&bad.url(), &good.url()], &lock);
        let output = self.apply(machines, &both);
        let said = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.code() == Some(0), || format!("beside a good server: {said}"))?;
        self.complete(machines, &both, &program)?;

        let alone = self.root(machines, "alone", &[&bad.url()], &lock);
        let output = self.apply(machines, &alone);
        let said = String::from_utf8_lossy(&output.stderr);
        if self.fault.kind == Kind::Passing {
            ensure(output.status.code() == Some(0), || format!("alone, at last: {said}"))?;
            return self.complete(machines, &alone, &program);
        }
        ensure(output.status.code() == Some(1), || {
            format!("alone it ends with {:?}: {said}", output.status.code())
        })?;
        let coded = ["mirror-down", "digest-mismatch"].map(|code| format!("error[{code}]: "));
        ensure(coded.iter().any(|code| said.contains(code)), || format!("no such code: {said}"))?;
        ensure(said.contains(&bad.url()), || format!("it does not name the server: {said}"))?;
        ensure(said.contains("\nhint: "), || format!("it does not say what to do: {said}"))?;
        let record = machines.path(&format!("{alone}/var/lib/k8steps/artifacts.json"));
        ensure(!record.exists(), || "artifacts.json promises what is not there".into())?;
        verified(machines, &alone)?;

        let alone = self.root(machines, "alone", &[&good.url()], &lock);
        let output = self.apply(machines, &alone);
        let said = String::from_utf8_lossy(&output.stderr);
        ensure(output.status.code() == Some(0), || format!("afterwards: {said}"))?;
        self.complete(machines, &alone, &program)
    }

    /// A server of everything, with the fault in its place or without.
    fn server(&self, faulty: bool) -> Server {
        let server = Server::start();
        let program = bytes(20_000);
        let serve = |path: &str, place: Place, body: &[u8]| {
            let body = body.to_vec();
            let answer = if faulty && place == self.place {
                Answer::Faulty(self.fault.clone(), body)
            } else {
                Answer::Bytes(body)
            };
            server.serve(path, answer);
        };
        serve("/up/program", Place::File, &program);
        serve("/target", Place::Target, &program);
        serve("/up/archive", Place::Archive, &archive());
        if self.place == Place::Target {
            let to = Fault::new("elsewhere", |wire| {
                wire.answer("302 Found\r\nlocation: /target\r\ncontent-length: 0", b"")
            });
            server.serve("/up/program", Answer::Faulty(to, program));
        }
        if self.place.is_image() {
            let pinned = own(server.image("app:1", &[LAYER]));
            let manifest = format!("/v2/app/manifests/{pinned}");
            let config = format!(r#"{{"architecture":"{}","os":"linux"}}"#, this_arch());
            let blob = |bytes: &str| format!("/v2/app/blobs/{}", Sha256::of(bytes));
            for (path, place) in [
                ("/v2/app/manifests/1".to_owned(), Place::Tag),
                (manifest, Place::Manifest),
                (blob(&config), Place::Config),
                (blob(LAYER), Place::Layer),
            ] {
                let Some(Answer::Bytes(body)) = server.served(&path) else { panic!("{path}") };
                serve(&path, place, &body);
            }
            if self.place == Place::Token {
                server.serve("/v2/", Answer::Private(Vec::new()));
                serve("/token", Place::Token, br#"{"token":"open-sesame"}"#);
                let layer = blob(LAYER);
                server.serve(&layer, Answer::Private(LAYER.into()));
            }
        }
        server
    }

    fn lock(&self, good: &Server, program: &[u8]) -> Lock {
        match self.place {
            Place::File | Place::Target => Lock::new().file("x", "http://up/program", program),
            Place::Archive => Lock::new().archive("x", "http://up/archive", &archive(), &["bin/*"]),
            Place::Tag => Lock::new().image("x", "r.example/app:1"),
            _ => {
                let digest = own(good.image("app:1", &[LAYER]));
                Lock::new().image("x", "r.example/app:1").pinned(digest)
            }
        }
    }

    /// A machine that asks these servers, as a directory among `machines`.
    fn root(&self, machines: &Machines, name: &str, urls: &[&str], lock: &Lock) -> String {
        let root = format!("{}/{name}", self.name());
        let attempts = if self.fault.kind == Kind::Passing { 5 } else { 1 };
        let mirrors = format!("mirrors = {urls:?}\nmirrors-only = true\nattempts = {attempts}");
        let host = |url: &&str| format!("[[containerd.registry.host]]\nurl = \"{url}\"\n");
        let hosts: String = urls.iter().map(host).collect();
        let description = format!(
            "schema = 1\n{}\n[[containerd.registry]]\nprefix = \"r.example\"\n{hosts}\n[[node]]\n\
             name = \"node1\"\naddress = \"192.0.2.11\"\nroles = [\"control-plane\", \"etcd\"]\n",
            download(&mirrors).replacen("attempts = 2\n", "", 1)
        );
        machines.write(&format!("{root}/etc/k8steps/cluster.toml"), &description);
        machines.write(&format!("{root}/etc/k8steps/artifacts.lock"), &lock.0);
        machines.write(&format!("{root}/run/user"), "");
        root
    }

    fn apply(&self, machines: &Machines, root: &str) -> Output {
        let mut tool = machines.tool.bare();
        tool.arg("--root").arg(machines.path(root)).arg("apply");
        if self.fault.kind == Kind::Slow {
            tool.args(["--timeout", "2"]);
        }
        tool.output().unwrap()
    }

    /// All that the lock names is there and right.
    fn complete(&self, machines: &Machines, root: &str, program: &[u8]) -> Result<(), String> {
        verified(machines, root)?;
        let wanted = match self.place {
            Place::File | Place::Target => program.to_vec(),
            Place::Archive => archive(),
            _ => LAYER.into(),
        };
        let blob =
            machines.path(&format!("{root}{STORE}/blobs/sha256/{}", Sha256::of(wanted).hex()));
        ensure(blob.exists(), || format!("{} is not there", blob.display()))?;
        let record = machines.path(&format!("{root}/var/lib/k8steps/artifacts.json"));
        ensure(record.exists(), || "artifacts.json is not there".into())
    }
}

fn archive() -> Vec<u8> {
    tar_gz(&[("bin/one", "the one"), ("bin/two", "the other"), ("LICENSE", "as you like")])
}

fn own([amd64, arm64]: [Sha256; 2]) -> Sha256 {
    if this_arch().as_str() == "arm64" { arm64 } else { amd64 }
}

/// Whatever is in the store has the name of its digest, and whatever its index names is there.
fn verified(machines: &Machines, root: &str) -> Result<(), String> {
    let store = machines.path(&format!("{root}{STORE}"));
    for entry in fs::read_dir(store.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let (found, name) = (Sha256::of(fs::read(&path).unwrap()).hex(), path.file_name().unwrap());
        ensure(*found == *name, || format!("{} is {found}", path.display()))?;
    }
    let index = fs::read(store.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    for entry in index["manifests"].as_array().unwrap() {
        let named = entry["digest"].as_str().unwrap().trim_start_matches("sha256:");
        ensure(store.join("blobs/sha256").join(named).exists(), || format!("{named} is missing"))?;
    }
    let unpacked: Vec<_> = fs::read_dir(store.join("unpacked")).unwrap().collect();
    ensure(unpacked.len() % 2 == 0, || format!("half an archive is unpacked: {unpacked:?}"))
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
