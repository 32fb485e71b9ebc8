//! A tool at work: its flags, its machine, its inputs.

use std::{
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use clap::Subcommand;
use kspec::{Cluster, Lock, Node, ParseError, paths, state::State};

use crate::{
    Change, Context, Error, Host, Result, StepList,
    app::{Common, Verb},
    engine,
    error::Exit,
    events, fs, lock,
    report::{Event, Loudness, Report},
    steps::file::File,
};

/// What a phase tells the rest of the cluster before its part of this machine is undone.
pub struct Farewell<'a> {
    what: String,
    say: Box<dyn FnOnce() -> Result<()> + 'a>,
}

impl<'a> Farewell<'a> {
    /// `what` is an imperative for people; `say` does it.
    pub fn new(what: impl Into<String>, say: impl FnOnce() -> Result<()> + 'a) -> Self {
        Self { what: what.into(), say: Box::new(say) }
    }
}

impl std::fmt::Debug for Farewell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Farewell").field(&self.what).finish()
    }
}

/// One of the eight, started.
#[derive(Debug)]
pub struct Tool {
    name: &'static str,
    /// The machine.
    pub host: Host,
    /// Tells people what goes on.
    pub report: Report,
    common: Common,
    /// Held from [`Tool::alone`] on, to the end.
    alone: OnceLock<lock::Lock>,
}

impl Tool {
    /// The tool `name` with the flags `common`.
    pub fn new(name: &'static str, common: &Common) -> Self {
        let loudness = match (common.quiet, common.verbose) {
            (true, _) => Loudness::Quiet,
            (false, 0) => Loudness::Normal,
            (false, _) => Loudness::Verbose,
        };
        let report = Report::new(name, common.json, loudness);
        let (host, common) = (Host::new(&common.root), common.clone());
        fs::recall(&host, name);
        Self { name, host, report, common, alone: OnceLock::new() }
    }

    /// Do one of the shared verbs; `steps` makes the list for those that need it. `V` is the
    /// tool's own set of verbs, for completion and man page.
    pub fn run<V: Subcommand>(
        &self,
        verb: &Verb,
        about: &'static str,
        steps: impl FnOnce(&Self) -> Result<StepList>,
    ) -> Result<Exit> {
        match verb {
            Verb::Plan { part } => {
                self.seen(|| engine::plan(&steps(self)?.only(part)?, &self.context()))
            }
            Verb::Check => self.seen(|| engine::check(&steps(self)?, &self.context())),
            Verb::Apply { part } => {
                self.needs_root("apply")?;
                self.alone()?;
                engine::apply(self.name, &steps(self)?.only(part)?, &self.context())
            }
            Verb::Reset { yes } => self.reset(*yes, || None),
            Verb::Completion { shell } => {
                let mut script = Vec::new();
                let mut command = crate::app::command::<V>(self.name, about);
                clap_complete::generate(*shell, &mut command, self.name, &mut script);
                self.report.data(&String::from_utf8_lossy(&script));
                Ok(Exit::Done)
            }
            Verb::Man => {
                let mut page = Vec::new();
                clap_mangen::Man::new(crate::app::command::<V>(self.name, about))
                    .render(&mut page)
                    .map_err(|error| Error::host("man-failed", "cannot render").because(error))?;
                self.report.data(&String::from_utf8_lossy(&page));
                Ok(Exit::Done)
            }
        }
    }

    /// What `look` sees, and who is at work meanwhile where that may be why.
    fn seen(&self, look: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
        let seen = look();
        if !matches!(seen, Ok(Exit::Done))
            && let Some(who) = lock::Lock::at_work(&self.host)
        {
            self.report.say(&format!("note: {who}; what it has not done yet shows here"));
        }
        seen
    }

    /// Have what is this phase's alone from now on: what is looked at now is still so when it is
    /// changed. [`engine::apply`] does it otherwise.
    ///
    /// # Errors
    /// `already-running`
    pub fn alone(&self) -> Result<()> {
        if self.alone.get().is_none() {
            let _ = self.alone.set(lock::Lock::take(&self.host, self.name)?); // one thread does it
        }
        Ok(())
    }

    /// Undo what `apply` changed, once it is confirmed; `yes` is the answer where nobody can be
    /// asked. A `farewell` is said to the rest of the cluster first, while this machine still can.
    ///
    /// # Errors
    /// `already-running` and those of the farewell, before anything is undone; and of
    /// [`engine::reset`].
    pub fn reset<'a>(
        &self,
        yes: bool,
        farewell: impl FnOnce() -> Option<Farewell<'a>>,
    ) -> Result<Exit> {
        self.needs_root("reset")?;
        let lock = lock::Lock::take_machine(&self.host, self.name)?;
        let farewell = farewell();
        let mut undo: Vec<_> = farewell.iter().map(|farewell| farewell.what.clone()).collect();
        undo.extend(engine::undo_list(&self.host, self.name)?);
        self.confirm("reset", "undo", &undo, yes)?;
        if let Some(Farewell { what, say }) = farewell {
            let (id, change) = ("farewell", Change::new(what));
            self.report.step(Event::Changing, id, &change);
            say()?;
            self.report.step(Event::Changed, id, &change);
        }
        engine::reset_alone(lock, self.name, &self.host, &self.report)
    }

    /// What steps may look at.
    pub fn context(&self) -> Context<'_> {
        let limit = self.common.timeout.map(Duration::from_secs);
        let mut context = Context::new(&self.host, &self.report, limit);
        context.lock = self.alone.get();
        context
    }

    /// Refuse to go on as an ordinary user, except in a tree.
    pub fn needs_root(&self, verb: &str) -> Result<()> {
        if self.host.is_live() && !Host::is_root() {
            return Err(Error::input(
                "not-root",
                format!("`{} {verb}` must run as root", self.name),
            )
            .hint(format!(
                "run `sudo {0} {verb}`, or try it on a tree: `{0} {verb} --root DIR`",
                self.name
            )));
        }
        Ok(())
    }

    /// Show what `verb` is about to do and ask whether to; `doing` is the word for it. `yes` is
    /// the answer where nobody can be asked.
    pub fn confirm(&self, verb: &str, doing: &str, lines: &[String], yes: bool) -> Result<()> {
        if yes || lines.is_empty() {
            return Ok(());
        }
        for line in lines {
            self.report.say(line);
        }
        let what = format!("{verb} was not confirmed, nothing was changed");
        let refused =
            Error::input("not-confirmed", what).hint(format!("run `{} {verb} --yes`", self.name));
        if !std::io::stdin().is_terminal() {
            return Err(refused);
        }
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "{}: {doing} these {}? [y/N] ", self.name, lines.len());
        let mut answer = String::new();
        let _ = std::io::stdin().read_line(&mut answer); // no answer is a no
        if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(refused) }
    }

    /// Where the cluster description is read from.
    pub fn config_path(&self) -> PathBuf {
        self.common.config.clone().unwrap_or_else(|| self.host.path(paths::CLUSTER_TOML))
    }

    /// The cluster description, read and found sound.
    pub fn cluster(&self) -> Result<Cluster> {
        let path = self.config_path();
        let cluster = read_input(&path, "kprep init", Cluster::parse)?;
        let problems = cluster.problems();
        let Some(first) = problems.first() else { return Ok(cluster) };
        let list: Vec<_> = problems
            .iter()
            .map(|problem| format!("{}: {} ({})", problem.key, problem.message, problem.code))
            .collect();
        Err(Error::input(first.code, format!("`{}` describes no cluster", path.display()))
            .because(list.join("\n"))
            .hint(format!("{}: {}", first.key, first.remedy)))
    }

    /// The lock beside the cluster description.
    pub fn lock(&self) -> Result<Lock> {
        read_input(&self.lock_path(), "kfetch lock", Lock::parse)
    }

    /// Where the lock is.
    pub fn lock_path(&self) -> PathBuf {
        self.config_path().with_file_name("artifacts.lock")
    }

    /// Which node of `cluster` this machine is: the one that `--node` names, or that has this
    /// host name, or an address of this machine, or the only one of a tree.
    pub fn node<'a>(&self, cluster: &'a Cluster) -> Result<&'a Node> {
        if let Some(name) = &self.common.node {
            return named_node(cluster, name);
        }
        if let ([only], false) = (cluster.nodes.as_slice(), self.host.is_live()) {
            return Ok(only);
        }
        let hostname = crate::steps::hostname::current()?;
        let addresses = crate::steps::network::addresses()?;
        cluster
            .node(&hostname)
            .or_else(|| cluster.nodes.iter().find(|node| addresses.contains(&node.address)))
            .ok_or_else(|| {
                let own: Vec<_> = addresses.iter().map(ToString::to_string).collect();
                Error::input(
                    "node-not-here",
                    format!("no [[node]] is this machine (`{hostname}`, {})", own.join(", ")),
                )
                .hint(format!(
                    "correct a name or address in `{}`, or say which it is with `--node NAME`",
                    self.config_path().display()
                ))
            })
    }

    /// What another phase left.
    ///
    /// # Errors
    /// `input-missing` and `input-invalid`.
    pub fn state<T: State>(&self) -> Result<T> {
        Self::state_on(&self.host)
    }

    /// The same, for a step.
    ///
    /// # Errors
    /// `input-missing` and `input-invalid`.
    pub fn state_on<T: State>(host: &Host) -> Result<T> {
        let path = host.path(T::PATH);
        events::read(T::PATH, T::MADE_BY);
        let text = fs::read_text(&path)?.ok_or_else(|| missing(&path, T::MADE_BY))?;
        let damaged = |cause: String| {
            Error::input("input-invalid", format!("`{}` is not valid", path.display()))
                .because(cause)
                .hint(format!("run `{}` to make it anew", T::MADE_BY))
        };
        let state: T = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if state.schema() != kspec::SCHEMA {
            return Err(damaged(format!("schema {} is not supported", state.schema())));
        }
        Ok(state)
    }

    /// The step that leaves `state` for the other phases. It comes last in a list.
    pub fn leave<T: State>(state: &T) -> Result<File> {
        let json = state
            .to_json()
            .map_err(|error| Error::host("state-failed", "cannot encode").because(error))?;
        Ok(File::new(T::PATH).mode(0o644).text(json))
    }
}

/// The node of `cluster` called `name`.
///
/// # Errors
/// `node-unknown`, with the names there are.
pub fn named_node<'a>(cluster: &'a Cluster, name: &str) -> Result<&'a Node> {
    cluster.node(name).ok_or_else(|| {
        let names: Vec<_> = cluster.nodes.iter().map(|node| node.name.as_str()).collect();
        Error::input("node-unknown", format!("there is no node `{name}`"))
            .hint(format!("choose one of: {}", names.join(", ")))
    })
}

fn missing(path: &Path, made_by: &str) -> Error {
    Error::input("input-missing", format!("`{}` does not exist", path.display()))
        .hint(format!("run `{made_by}`, which makes it"))
}

/// A file the operator wrote, parsed; `made_by` is the command that makes it when it is missing.
fn read_input<T>(
    path: &Path,
    made_by: &str,
    parse: impl FnOnce(&str) -> Result<T, ParseError>,
) -> Result<T> {
    let text = fs::read_text(path)?.ok_or_else(|| missing(path, made_by))?;
    parse(&text).map_err(|error| {
        let hint = match &error {
            ParseError::Toml { did_you_mean: Some(known), .. } => {
                format!("did you mean `{known}`?")
            }
            _ => format!("correct `{}` and run again", path.display()),
        };
        let invalid = format!("`{}` is not valid", path.display());
        Error::input("input-invalid", invalid).because(error).hint(hint)
    })
}

#[cfg(test)]
mod tests {
    use kspec::state::{
        Apps, Artifacts, Cni, ControlPlaneState, EtcdState, Facts, NodeState, PkiState, State,
    };

    use super::Tool;
    use crate::Host;

    /// What `bytes` are on `host` as the state of a phase: that, or nothing valid.
    #[expect(clippy::disallowed_methods, reason = "another phase's hand, in a test")]
    fn left<T: State>(host: &Host, bytes: &[u8]) {
        let path = host.path(T::PATH);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        match Tool::state_on::<T>(host) {
            Ok(state) => {
                let json = state.to_json().unwrap();
                assert_eq!(serde_json::from_str::<T>(&json).unwrap().to_json().unwrap(), json);
            }
            Err(error) => assert_eq!(error.code(), "input-invalid"),
        }
    }

    #[test]
    fn fuzz_state() {
        let artifacts = r#"{"schema":1,"arch":"amd64","files":{},"images":{}}"#;
        let seeds = [
            serde_json::to_string(&ktest::facts()),
            serde_json::to_string(&ktest::pki()),
            serde_json::to_string(&ktest::etcd()),
            serde_json::to_string(&ktest::node()),
            serde_json::to_string(&ktest::control_plane()),
            Ok(artifacts.to_owned()),
        ];
        let root = tempfile::tempdir_in(fuzz::memory()).unwrap();
        fuzz::target(seeds.map(Result::unwrap), move |bytes| {
            let host = &Host::new(root.path());
            left::<Facts>(host, bytes);
            left::<Artifacts>(host, bytes);
            left::<PkiState>(host, bytes);
            left::<EtcdState>(host, bytes);
            left::<NodeState>(host, bytes);
            left::<ControlPlaneState>(host, bytes);
            left::<Cni>(host, bytes);
            left::<Apps>(host, bytes);
        });
    }
}
