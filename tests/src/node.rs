//! A node of the lab with the built tools in it, for one test, and gone with it.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Instant,
};

/// A node of a lab of the test's own.
#[derive(Debug)]
pub struct Node {
    lab: String,
    name: &'static str,
}

impl Node {
    /// Boot it, of the flavour (`tests/lab/lab --help`), and install the tools. Panics with what
    /// the lab says when that fails. `LAB_TAG`, a letter or two, keeps the tests of two checkouts
    /// apart.
    pub fn boot(lab: &str, flavour: &str) -> Self {
        let lab = lab.to_owned() + &std::env::var("LAB_TAG").unwrap_or_default();
        let node = Self { lab, name: "node1" };
        node.tests(&["lab", "down"]); // what an interrupted run left
        node.up(flavour);
        node
    }

    /// Another node in the lab of this one, on the same network. It is gone with the first.
    #[must_use]
    pub fn beside(&self, name: &'static str, flavour: &str) -> Self {
        let node = Self { lab: self.lab.clone(), name };
        node.up(flavour);
        node
    }

    fn up(&self, flavour: &str) {
        // The first time on a machine takes half an hour: what it says is seen while it works.
        let up = self.program(&["lab", "up", self.name, "--flavour", flavour]).status().unwrap();
        assert!(up.success(), "{} does not boot", self.name);
        let output = self.tests(&["install", self.name]);
        assert!(output.status.success(), "install:\n{}", said(&output));
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
        eprint!("{}", self.lab(&["probe", self.name]));
    }

    /// The node and all of its lab are gone, and nothing of them is left on this machine.
    pub fn down(&self) {
        self.lab(&["down"]);
        self.lab(&["leftovers"]);
    }

    /// Run `script` in the node with bash: its exit code and everything it said.
    pub fn run(&self, script: &str) -> (i32, String) {
        let output = self.tests(&["lab", "exec", self.name, "--", "bash", "-c", script]);
        (output.status.code().unwrap(), said(&output))
    }

    /// Run `script`, which must end with 0; what it said.
    pub fn must(&self, script: &str) -> String {
        let began = Instant::now();
        let (code, said) = self.run(script);
        assert_eq!(code, 0, "`{script}` in the node:\n{said}");
        let line = script.lines().next().unwrap_or_default();
        let (took, Self { lab, name }) = (began.elapsed().as_secs_f32(), self);
        eprintln!("{took:6.1} s  {lab} {name}: {line}");
        said
    }

    /// What `script` writes to its standard output, shown to nobody: it may be a secret.
    pub fn secret(&self, script: &str) -> Vec<u8> {
        let output = self.tests(&["lab", "exec", self.name, "--", "bash", "-c", script]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{script}` in {}:\n{errors}", self.name);
        output.stdout
    }

    /// Run `script` with `input` on its standard input: its exit code and everything it said.
    pub fn fed(&self, script: &str, input: &[u8]) -> (i32, String) {
        let mut command = self.program(&["lab", "exec", self.name, "--", "bash", "-c", script]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input); // it may not want to read it
        let output = child.wait_with_output().unwrap();
        (output.status.code().unwrap(), said(&output))
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
        let output = self.tests(&["lab", "copy", self.name, file, path]);
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
                "the last warnings of {}:\n{}",
                self.name,
                self.run("journalctl --no-pager -n 15 -p warning").1
            );
        }
        if self.name == "node1" {
            self.tests(&["lab", "down"]);
        }
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
