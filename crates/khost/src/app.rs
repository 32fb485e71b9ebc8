//! What every `main` does: parse, start logs, run, report.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, CommandFactory, FromArgMatches, Subcommand};
use tracing_subscriber::{
    Layer as _,
    filter::{LevelFilter, Targets},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use crate::{Result, error::Exit, events, report::talk};

/// Flags that all eight tools share.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Cluster description
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "K8STEPS_CONFIG",
        help_heading = "Shared options"
    )]
    pub config: Option<PathBuf>,
    /// Which [[node]] of the description this machine is; without it, told by name or address
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "K8STEPS_NODE",
        help_heading = "Shared options"
    )]
    pub node: Option<String>,
    /// Act on the tree DIR instead of on this machine; only files are made there
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        default_value = "/",
        hide_default_value = true,
        help_heading = "Shared options"
    )]
    pub root: PathBuf,
    /// One JSON event a line on standard output
    #[arg(long, global = true, help_heading = "Shared options")]
    pub json: bool,
    /// Also add every event to the end of FILE, and each program that is run
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "K8STEPS_EVENTS",
        help_heading = "Shared options"
    )]
    pub events: Option<PathBuf>,
    /// Say more; twice, also the programs that are run
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Shared options")]
    pub verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Shared options")]
    pub quiet: bool,
    /// Longest time to wait for any one thing
    #[arg(long, global = true, value_name = "SECONDS", help_heading = "Shared options")]
    pub timeout: Option<u64>,
}

/// The verbs that all eight tools share.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Show what apply would change; exits 3 when there is something
    Plan {
        /// All of it, or up to where
        #[command(flatten)]
        part: Part,
    },
    /// Make it so; a second run changes nothing
    Apply {
        /// All of it, or up to where
        #[command(flatten)]
        part: Part,
    },
    /// Is it still so, and does it work? Exits 3 when it drifted, 1 when it does not work
    Check,
    /// Put back exactly what apply changed
    Reset {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Print a shell completion script
    #[command(hide = true)]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the man page
    #[command(hide = true)]
    Man,
}

/// How much of a phase.
#[derive(Debug, Clone, Default, Args)]
pub struct Part {
    /// Go no further than this milestone; what is left is done by a later apply
    ///
    /// For who has other work to do beside it, as `make up` has. The tool's page lists its
    /// milestones.
    #[arg(long, value_name = "MILESTONE")]
    pub until: Option<String>,
}

/// Shown at the end of every tool's `--help`.
pub const EXIT_CODES: &str = "Exit codes: 0 done, 1 the host or cluster failed, 2 bad input or usage, 3 differs\n\
    Files:      /etc/k8steps/cluster.toml, /var/lib/k8steps; see docs/contract.md";

/// The verb of the tool that runs a pipeline.
const ALONE: &str = "alone";

/// A tool's whole command line: its flags are [`Common`], its verbs `V`.
#[derive(Debug, clap::Parser)]
#[command(max_term_width = 80)]
pub struct Cli<V: Subcommand> {
    /// Shared flags.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: V,
}

/// Parse the arguments of the tool called `name`, run `run`, print any error with its causes and
/// hint, and return the exit code.
pub fn main<V: Subcommand + std::fmt::Debug>(
    name: &'static str,
    about: &'static str,
    run: impl FnOnce(Cli<V>) -> Result<Exit>,
) -> ExitCode {
    let command = command::<V>(name, about);
    let matches = command.get_matches();
    let cli = match Cli::<V>::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    start_log(cli.common.verbose);
    let json = cli.common.json;
    // What it runs tells of itself; this process only waits.
    let waits = matches.subcommand_name() == Some(ALONE);
    let events = cli.common.events.as_deref().filter(|_| !waits);
    let opened = events.map_or(Ok(()), |path| events::open(name, path));
    events::started();
    let exit = opened.and_then(|()| run(cli)).unwrap_or_else(|error| {
        print_error(name, &error, json);
        error.exit()
    });
    events::ended(exit.code());
    tracing::debug!(peak_memory = peak_memory(), "done");
    exit.into()
}

/// The most memory this process ever held, as the kernel tells it (proc(5), `VmHWM`).
fn peak_memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    peak.unwrap_or("unknown").trim().to_owned()
}

/// The command line of a tool, for parsing, completion and man pages.
pub fn command<V: Subcommand>(name: &'static str, about: &'static str) -> clap::Command {
    Cli::<V>::command()
        .name(name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(about.lines().next().unwrap_or_default())
        .long_about(about)
        .after_help(EXIT_CODES)
}

fn start_log(verbose: u8) {
    let level = match verbose {
        0 | 1 => LevelFilter::WARN,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let wanted = std::env::var("K8STEPS_LOG").ok().and_then(|wanted| wanted.parse().ok());
    let own = Targets::new().with_default(LevelFilter::WARN);
    let own = own.with_target("khost", level).with_target(program(), level);
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr) // stdout is for data
        .with_ansi(io::stderr().is_terminal())
        .without_time() // journald and CI stamp lines themselves
        .with_target(false)
        .log_internal_errors(false) // a log that cannot be written stops nothing
        .with_filter(wanted.unwrap_or(own));
    tracing_subscriber::registry().with(layer).init();
}

fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn print_error(phase: &str, error: &crate::Error, json: bool) {
    let event = serde_json::json!({
        "schema": kspec::SCHEMA, "at": events::now(), "phase": phase, "event": "error",
        "code": error.code(), "what": error.chain(), "hint": error.next(),
    });
    events::keep(&event);
    if json {
        let _ = writeln!(io::stdout(), "{event}"); // a closed pipe is the reader's choice
    }
    let mut lines = vec![format!("error[{}]: {error}", error.code())];
    let mut cause = std::error::Error::source(error);
    while let Some(source) = cause {
        lines.push(format!("  caused by: {}", source.to_string().replace('\n', "\n    ")));
        cause = source.source();
    }
    lines.extend(error.next().map(|hint| format!("hint: {hint}")));
    talk(&(lines.join("\n") + "\n"));
}
