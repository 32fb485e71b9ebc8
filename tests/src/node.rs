//! A node of the lab with the built tools in it, for one test, and gone with it.

use std::{
    path::Path,
    process::{Command, Output},
    time::Instant,
};

/// `node1` of a lab of the test's own.
#[derive(Debug)]
pub struct Node {
    lab: String,
}

impl Node {
    /// Boot it, of the flavour (`tests/lab/lab --help`), and install the tools. Panics with what
    /// the lab says when that fails. `LAB_TAG`, a letter or two, keeps the tests of two checkouts
    /// apart.
    pub fn boot(lab: &str, flavour: &str) -> Self {
        let node = Self { lab: lab.to_owned() + &std::env::var("LAB_TAG").unwrap_or_default() };
        node.tests(&["lab", "down"]); // what an interrupted run left
        // The first time on a machine takes half an hour: what it says is seen while it works.
        let up = node.program(&["lab", "up", "node1", "--flavour", flavour]).status().unwrap();
        assert!(up.success(), "the node does not boot");
        let output = node.tests(&["install", "node1"]);
        assert!(output.status.success(), "install:\n{}", said(&output));
        node
    }

    /// A program of `tests/`, to its end.
    fn tests(&self, args: &[&str]) -> Output {
        self.program(args).output().unwrap()
    }

    fn program(&self, args: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("lab").join(args[0]));
        command.args(&args[1..]).env("LAB", &self.lab);
        command
    }

    /// A command of `tests/lab/lab`, which must end with 0; what it said.
    pub fn lab(&self, args: &[&str]) -> String {
        let began = Instant::now();
        let output = self.tests(&[&["lab"], args].concat());
        assert!(output.status.success(), "lab {args:?}:\n{}", said(&output));
        eprintln!("{:6.1} s  {}: lab {}", began.elapsed().as_secs_f32(), self.lab, args.join(" "));
        said(&output)
    }

    /// Prove with real pods that the cluster works, and show what was looked at.
    pub fn probe(&self) {
        eprint!("{}", self.lab(&["probe", "node1"]));
    }

    /// The node and all of its lab are gone, and nothing of them is left on this machine.
    pub fn down(&self) {
        self.lab(&["down"]);
        self.lab(&["leftovers"]);
    }

    /// Run `script` in the node with bash: its exit code and everything it said.
    pub fn run(&self, script: &str) -> (i32, String) {
        let output = self.tests(&["lab", "exec", "node1", "--", "bash", "-c", script]);
        (output.status.code().unwrap(), said(&output))
    }

    /// Run `script`, which must end with 0; what it said.
    pub fn must(&self, script: &str) -> String {
        let began = Instant::now();
        let (code, said) = self.run(script);
        assert_eq!(code, 0, "`{script}` in the node:\n{said}");
        let line = script.lines().next().unwrap_or_default();
        eprintln!("{:6.1} s  {}: {line}", began.elapsed().as_secs_f32(), self.lab);
        said
    }

    /// Run `script`, which must end with `code` and say `text`.
    pub fn ends(&self, script: &str, code: i32, text: &str) -> String {
        let (found, said) = self.run(script);
        assert_eq!(found, code, "`{script}` in the node:\n{said}");
        assert!(said.contains(text), "`{script}` does not say `{text}`:\n{said}");
        said
    }

    /// Copy a file of this machine to `path` in the node.
    pub fn copy(&self, file: &str, path: &str) {
        let output = self.tests(&["lab", "copy", "node1", file, path]);
        assert!(output.status.success(), "copy {file}:\n{}", said(&output));
    }

    /// Put `toml` right below the first line of cluster.toml, above what stands there already.
    pub fn describe(&self, toml: &str) {
        let config = "/etc/k8steps/cluster.toml";
        self.must(&format!("sed -i '/^schema/r /dev/stdin' {config} <<'END'\n{toml}\nEND"));
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the node's last warnings:\n{}",
                self.run("journalctl --no-pager -n 15 -p warning").1
            );
        }
        self.tests(&["lab", "down"]);
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
