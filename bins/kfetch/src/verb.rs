//! The verbs of kfetch, and `--offline` on those that might ask somebody.

use std::path::PathBuf;

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, Subcommand};

/// What kfetch can do.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Write artifacts.lock for the kubernetes.version of cluster.toml, with the digests of images
    Lock {
        /// Show what would change and write nothing; exits 3 when there is something
        #[arg(long)]
        check: bool,
    },
    /// Read everything in the store again; exits 1 when something is damaged
    Verify,
    /// List what the lock names, and whether the store has it
    List,
    /// Write everything the lock names into one file for a node; the same lock, the same bytes
    Bundle {
        /// The file; - is standard output
        file: PathBuf,
    },
    /// Read a bundle into the store, and its lock where there is none
    Load {
        /// The file; - is standard input
        file: PathBuf,
    },
    /// Remove what neither the lock nor artifacts.json names; asks first
    Prune {
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// A verb, and whether it may ask somebody.
#[derive(Debug)]
pub(crate) struct Verbs {
    pub(crate) verb: Verb,
    pub(crate) offline: bool,
}

/// The verbs that have `--offline`.
const ASKING: [&str; 3] = ["plan", "apply", "lock"];

fn with_offline(command: Command) -> Command {
    let flag = Arg::new("offline")
        .long("offline")
        .action(ArgAction::SetTrue)
        .help("Open no connection, as download.offline of cluster.toml does");
    ASKING.iter().fold(command, |command, verb| {
        command.mut_subcommand(verb, |command| command.arg(flag.clone()))
    })
}

impl FromArgMatches for Verbs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let of_verb = matches.subcommand().filter(|(verb, _)| ASKING.contains(verb));
        let offline = of_verb.is_some_and(|(_, matches)| matches.get_flag("offline"));
        Ok(Self { verb: Verb::from_arg_matches(matches)?, offline })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Subcommand for Verbs {
    fn augment_subcommands(command: Command) -> Command {
        with_offline(Verb::augment_subcommands(command))
    }

    fn augment_subcommands_for_update(command: Command) -> Command {
        with_offline(Verb::augment_subcommands_for_update(command))
    }

    fn has_subcommand(name: &str) -> bool {
        Verb::has_subcommand(name)
    }
}
