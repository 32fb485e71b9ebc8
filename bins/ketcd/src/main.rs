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
mod promote;
mod safeguard;
mod service;

use std::{path::PathBuf, process::ExitCode};

use khost::{
    Owner, Result, StepList, Tool,
    app::Cli,
    error::Exit,
    steps::{
        deferred::Deferred, directory::Directory, file::File, program::Program, unit::Unit,
        wait::Wait,
    },
};
use kspec::{
    SCHEMA,
    paths::{BIN_DIR, ETCD_DATA_DIR},
    state::{EtcdState, State as _},
};

use crate::{
    backup::Timer,
    health::Probe,
    inputs::Inputs,
    join::{Join, Place},
    launch::Launch,
    living::Living,
    members::Members,
    safeguard::Safeguard,
};

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
        Verb::Backups { from, verify } => backup::list(&tool, from.as_deref(), *verify),
    }
}

/// The phase as a list.
fn steps(tool: &Tool) -> Result<StepList> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let members = Members::of(&cluster);
    let state = EtcdState {
        schema: SCHEMA,
        version: None,
        member: None,
        endpoints: members.endpoints(),
        data_dir: ETCD_DATA_DIR.into(),
    };
    let mut steps = StepList::new();
    let Some(name) = members.name_of(node) else {
        steps.add(Tool::leave(&state)?);
        return Ok(steps);
    };
    let inputs = Inputs::read(tool)?;
    let others = Living::new(&inputs.ca, &inputs.admin, members.others(node));
    let place = Place::new(&members, node, &name, others);
    let settings = env::Settings {
        etcd: cluster.etcd.clone(),
        version: inputs.version.clone(),
        address: node.address,
        inputs: inputs.clone(),
    };
    env::render(&settings, &place.described())?; // refuses what is unfit before anything is done
    let owner = Owner::new("etcd", "etcd");
    let probe = Probe::new(&inputs, members.endpoints().len());

    for (name, program) in &inputs.programs {
        steps.add(Program::new(name, program));
    }
    steps.add(File::new(etcdctl::WRAPPER).mode(0o755).text(etcdctl::wrapper(&inputs)));
    steps.add(Directory::new(ETCD_DATA_DIR).mode(0o700).owner(owner).filled());
    steps.add(Join(place.clone()));
    steps.add(environment(settings, place.clone()));
    steps.add(File::new(service::PATH).text(service::render(inputs.facts.limits.nofile)));
    // etcd reads its own certificate again by itself, and the CA only at its start.
    let reads = [env::PATH, &format!("{BIN_DIR}/etcd"), &inputs.ca];
    let unit = Unit::new(service::NAME).reads(reads);
    steps.add(Safeguard::new(&unit, &probe, &cluster.etcd.backup));
    steps.add(Launch::new(unit, probe.clone()));
    steps.add(Wait::new(Probe::awaited(), move |context| probe.ask(context.host)));
    steps.add(promote::voting(&place));
    Timer::new(tool, &cluster.etcd.backup)?.add_to(&mut steps);
    let all = Living::new(&inputs.ca, &inputs.admin, members.endpoints());
    let state =
        EtcdState { version: Some(inputs.version.to_string()), member: Some(name), ..state };
    steps.add(left(state, all));
    Ok(steps)
}

/// `etcd.env`, once it is known with what the member starts.
fn environment(settings: env::Settings, place: Place) -> Deferred {
    Deferred::new(env::PATH, move |context| {
        let Some(start) = place.start(context.host)? else { return Ok(None) };
        let text = env::render(&settings, &start)?;
        Ok(Some(File::new(env::PATH).mode(0o640).text(text)))
    })
}

/// `etcd.json`, with those members of cluster.toml that are in the cluster and vote: a client
/// that is told of others would wait for them, or be sent away by them.
fn left(described: EtcdState, living: Living) -> Deferred {
    Deferred::new(EtcdState::PATH, move |context| {
        let mut state = described.clone();
        let host = context.host;
        if let Some(start) = env::started_with(host)? {
            state.member = Some(start.name);
        }
        if host.is_live() && state.endpoints.len() > 1 {
            let found = if living.can_ask(host) { living.members().ok() } else { None };
            let Some(found) = found else { return Ok(None) };
            state.endpoints.retain(|url| {
                found.iter().any(|member| !member.learner && member.client_urls.contains(url))
            });
        }
        Tool::leave(&state).map(Some)
    })
}
