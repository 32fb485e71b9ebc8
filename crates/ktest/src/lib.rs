//! What the tests of all tools share: a tree to work on, the tool run in it as an ordinary user
//! (even when the tests themselves run as root), and samples of what the phases leave.

mod beside;
mod expect;
mod fault;
mod growth;
mod life;
mod order;
mod samples;
mod slip;

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use assert_cmd::Command as AssertCommand;
use tempfile::TempDir;

pub use samples::{artifacts, certificate, control_plane, etcd, facts, image, node, pki};
pub use slip::slip_of_the_hand;

/// `nobody` on every distribution these tools support.
const NOBODY: u32 = 65534;

/// A directory that stands for a machine, with a copy of the tool beside it that any user may run.
#[derive(Debug)]
pub struct Tree {
    dir: TempDir,
    tool: PathBuf,
}

impl Tree {
    /// A tree for the program at `tool`: pass `env!("CARGO_BIN_EXE_…")`. All that is in it is
    /// `/run`, which every machine has; the tools' locks come and go there.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn new(tool: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join(Path::new(tool).file_name().unwrap());
        place(Path::new(tool), &copy);
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let tree = Self { dir, tool: copy };
        fs::create_dir_all(tree.path("/run")).unwrap();
        give_away(&tree.root());
        give_away(&tree.path("/run"));
        tree
    }

    /// A tree with a `cluster.toml` of one node, `node1` at 192.0.2.11, and `extra` below it.
    pub fn with_cluster(tool: &str, extra: &str) -> Self {
        let tree = Self::new(tool);
        let cluster = format!(
            "schema = 1\n{extra}\n[[node]]\nname = \"node1\"\naddress = \"192.0.2.11\"\n\
             roles = [\"control-plane\", \"etcd\", \"worker\"]\n"
        );
        tree.write("/etc/k8steps/cluster.toml", &cluster);
        tree
    }

    /// The directory that stands for `/`.
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    /// Where the host's absolute `path` lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Put `text` at `path`, as the ordinary user.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    #[expect(clippy::disallowed_methods, reason = "tests stand in for the operator")]
    pub fn write(&self, path: &str, text: &str) {
        let real = self.path(path);
        fs::create_dir_all(real.parent().unwrap()).unwrap();
        fs::write(&real, text).unwrap();
        for made in real.ancestors().take_while(|made| *made != self.dir.path()) {
            give_away(made);
        }
    }

    /// Put a state file in its place.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn leave<T: kspec::state::State>(&self, state: &T) {
        self.write(T::PATH, &state.to_json().unwrap());
    }

    /// The text at `path`.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// The tool, about to be run on this tree as an ordinary user.
    pub fn tool(&self) -> AssertCommand {
        let mut command = self.bare();
        command.arg("--root").arg(self.root());
        command
    }

    /// The tool, about to be run as an ordinary user without any arguments.
    pub fn bare(&self) -> AssertCommand {
        AssertCommand::from_std(self.program(&self.tool))
    }

    /// The tool, about to be run on this tree; for tests that choose its standard streams.
    pub fn tool_with_streams(&self) -> Command {
        let mut command = self.program(&self.tool);
        command.arg("--root").arg(self.root());
        command
    }

    /// A program, about to be run as an ordinary user in an environment without our variables.
    #[expect(clippy::disallowed_methods, reason = "the tool under test")]
    fn program(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.dir.path()).env("NO_COLOR", "1").env("HOME", self.dir.path());
        for name in ["CONFIG", "EVENTS", "LOG", "NODE"] {
            command.env_remove(format!("K8STEPS_{name}"));
        }
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    /// Every path in the tree with its mode and content, sorted: two equal listings are two equal
    /// trees. The lock files and journal of `khost` are left out.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn listing(&self) -> String {
        let mut found = Vec::new();
        let mut todo = vec![self.root()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                let name = path.strip_prefix(self.root()).unwrap().display().to_string();
                if name.starts_with("run/k8steps") || name.starts_with("var/lib/k8steps/journal") {
                    continue;
                }
                let content = if metadata.is_file() {
                    kspec::Sha256::of(fs::read(&path).unwrap()).short()
                } else if metadata.is_symlink() {
                    fs::read_link(&path).unwrap().display().to_string()
                } else {
                    todo.push(path.clone());
                    String::new()
                };
                found.push(format!("{name} {:o} {content}", metadata.permissions().mode()));
            }
        }
        found.sort();
        found.join("\n")
    }
}

/// Copy a program by another process: were it open for writing in this one, a test that starts a
/// program in another thread could inherit it, and "text file busy" would be the answer here.
#[expect(clippy::unwrap_used, reason = "only tests call this")]
#[expect(clippy::disallowed_methods, reason = "tests stand in for the operator")]
fn place(from: &Path, to: &Path) {
    assert!(Command::new("cp").args([from, to]).status().unwrap().success());
}

#[expect(clippy::unwrap_used, reason = "only tests call this")]
fn give_away(path: &Path) {
    if is_root() {
        std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Whether this process is root, as `/proc/self` shows it.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
