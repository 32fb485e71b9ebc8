//! ketcd: run the etcd member of this node.
//!
//! Reads  `cluster.toml`, `facts.json`, `artifacts.json`, `pki.json`
//! Writes `etcd.json`, `/etc/etcd.env`, `/etc/systemd/system/etcd.service`, `/var/lib/etcd`,
//!        `/usr/local/bin/{etcd,etcdctl,etcdutl,etcdctl.sh}`, `/var/backups/etcd`,
//!        `/etc/systemd/system/ketcd-backup.{service,timer}`

mod backup;
mod env;
mod etcdctl;
mod health;
mod inputs;
mod join;
mod launch;
mod leave;
mod living;
mod members;
mod phase;
mod promote;
mod restore;
mod safeguard;
mod service;
mod upgrade;

use std::{path::PathBuf, process::ExitCode};

use khost::{Result, StepList, Tool, app::Cli, error::Exit};

use crate::phase::Phase;

const ABOUT: &str = "Run the etcd member of this node

Installs etcd, etcdctl and etcdutl, keeps /etc/etcd.env and etcd.service, and waits until the \
member is healthy; when it is not, says why. etcd runs as the user etcd, its data is in \
/var/lib/etcd. It is restarted only when its program, its settings or its CA changed since its \
last start, and a snapshot is saved before. A node without the role etcd only learns where the \
members are.

  ketcd plan           what would change
  ketcd check          is it still so, and is the member healthy?
  ketcd member list    who is in the cluster
  ketcd backup         save what it holds, now
  ketcd restore FILE   begin anew with what was saved
  etcdctl.sh ...       anything else, with the right certificates";

/// What ketcd can do.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Ask who is in the etcd cluster
    #[command(subcommand)]
    Member(MemberVerb),
    /// Save a snapshot of what etcd holds, and print its path
    ///
    /// It is found whole before it gets its name, which tells time and revision. In [etcd.backup]
    /// dir only the newest are kept, as many as [etcd.backup] keep says.
    Backup {
        /// Save it there instead, where nothing is ever removed
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
    /// List the snapshots there are, the oldest first
    Backups {
        /// List those in DIR instead of [etcd.backup] dir
        #[arg(long, value_name = "DIR")]
        from: Option<PathBuf>,
        /// Read each through: is it what etcd wrote, and what is in it?
        #[arg(long)]
        verify: bool,
    },
    /// Begin anew with what a snapshot holds; killed anywhere, the same command again goes on
    ///
    /// The snapshot is read through before anything is touched. Then etcd stops, its data is
    /// replaced in one instant, etcd starts, and so do the control plane's pods of this node. The
    /// revision is raised by 1000000000, so that no client takes the past for the present. With
    /// several members, run it on each of them with the same file.
    Restore {
        /// A file of `ketcd backup`, or of `etcdctl snapshot save`
        file: PathBuf,
        /// Move a member's data that is there aside; nothing is deleted
        #[arg(long)]
        force: bool,
    },
}

/// What can be done about members.
#[derive(Debug, clap::Subcommand)]
enum MemberVerb {
    /// List the members: a table, or etcdctl's own JSON with --json
    List,
}

fn main() -> ExitCode {
    khost::app::main("ketcd", ABOUT, run)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that khost::app::main calls")]
fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("ketcd", &cli.common);
    match &cli.verb {
        Verb::Phase(khost::app::Verb::Reset { yes }) => tool.reset(*yes, || leave::farewell(&tool)),
        Verb::Phase(verb) => tool.run::<Verb>(verb, ABOUT, steps),
        Verb::Member(MemberVerb::List) => etcdctl::list_members(&tool),
        Verb::Backup { to } => backup::run(&tool, to.as_deref()),
        Verb::Restore { file, force } => restore::run(&tool, file, *force),
        Verb::Backups { from, verify } => backup::list(&tool, from.as_deref(), *verify),
    }
}

/// The phase as a list.
fn steps(tool: &Tool) -> Result<StepList> {
    let mut steps = StepList::new();
    let Some(phase) = Phase::new(tool)? else {
        steps.add(Tool::leave(&Phase::elsewhere(&tool.cluster()?))?);
        steps.milestone(phase::CONFIGURED);
        return Ok(steps);
    };
    restore::refuse_unfinished(&tool.host)?;
    phase.refuse_leap(&tool.host)?;
    phase.keep(&mut steps);
    phase.install(&mut steps);
    phase.join(&mut steps);
    phase.unit_file(&mut steps);
    let begins_alone = phase.begins_alone(&tool.host);
    if begins_alone {
        phase.tell(&mut steps);
    }
    phase.safeguard(&mut steps);
    phase.start_or_go_back(&mut steps);
    phase.finish(&mut steps, tool)?;
    if !begins_alone {
        phase.tell(&mut steps);
    }
    Ok(steps)
}
