//! kprep: prepare the operating system of this machine to be a Kubernetes node.
//!
//! Reads  `cluster.toml`
//! Writes `facts.json`, `/etc/fstab`, `/etc/hostname`, `/etc/hosts`,
//!        `/etc/modules-load.d/k8steps.conf`, `/etc/sysctl.d/90-k8steps.conf`,
//!        `/etc/NetworkManager/conf.d/k8s.conf`, the directories that several phases share

mod accounts;
mod checks;
mod directories;
mod dns;
mod facts;
mod hosts;
mod init;
mod modules;
mod package_manager;
mod packages;
mod resolver;
mod security;
mod swap;
mod sysctls;
mod validate;

use std::ffi::OsString;

use khost::{
    Error, Result, StepList, Tool,
    app::Cli,
    error::Exit,
    steps::{file::File, hostname::Hostname},
};
use kspec::state::State as _;

const ABOUT: &str = "Prepare the operating system of this machine to be a Kubernetes node

Installs packages, makes the user `kube` and the directories Kubernetes lives
in, switches swap off, sets the host name, /etc/hosts, kernel modules and
kernel parameters. What the machine cannot give stops it before anything is
changed.

Reads cluster.toml; leaves facts.json, what the other tools go by. In a tree
(`--root`) only files are made, and facts that the tree does not tell are those
of an ordinary Debian 12 server.

Example: describe a cluster of this machine, see what is wrong, prepare it

    kprep init
    kprep validate
    kprep apply";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Write a cluster.toml for this machine, with every default and what it means
    ///
    /// It goes where `--config` says, or to /etc/k8steps/cluster.toml. An existing one is never
    /// overwritten. `--node` names the node; without it, it is called as the machine is.
    Init {
        /// Only print it; so does `--config -`
        #[arg(long)]
        stdout: bool,
    },
    /// List everything wrong with cluster.toml and with this machine; changes nothing
    ///
    /// Exits 2 when the description is wrong, 1 when the machine is. With `-v` and `--json`, what
    /// is good or could not be looked at is listed as well. Needs no root, but root sees more: who
    /// holds a port, what a firewall drops.
    Validate {
        /// Also see whether the disk is fast enough for etcd: writes for up to two seconds into a
        /// file without a name
        #[arg(long)]
        probe_disk: bool,
    },
    /// Print what facts.json would say of this machine, as JSON
    ///
    /// Without a cluster.toml, for the cluster that `kprep init` would describe.
    Facts,
    /// Put the cluster's DNS first in this machine's name lookups, once it answers
    ///
    /// Comes after `kapps apply`. A cluster DNS that does not answer, or cannot look up outside
    /// names that the machine can, is refused; one that does not serve once it is first is taken
    /// out again. Pods are not touched: they never go by the machine's own list.
    Dns(dns::Request),
    /// Run a row of tools that no other comes between, as `make up` does
    ///
    /// Meanwhile only what it starts changes this machine; others are refused, and told its pid.
    /// Ends as the program does: 0, 2, 3, or else 1.
    Alone {
        /// What to run, e.g. `kprep alone sh -c 'knode apply && kcp apply'`
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
}

fn main() -> std::process::ExitCode {
    khost::app::main("kprep", ABOUT, run)
}

fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("kprep", &cli.common);
    match cli.verb {
        Verb::Phase(verb) => tool.run::<Verb>(&verb, ABOUT, steps),
        Verb::Init { stdout } => {
            init::run(&tool, cli.common.node.as_deref(), stdout).map(|()| Exit::Done)
        }
        Verb::Validate { probe_disk } => Ok(validate::run(&tool, probe_disk)),
        Verb::Dns(request) => dns::run(&tool, request),
        Verb::Alone { command } => {
            tool.needs_root("alone")?;
            khost::lock::run_alone(&tool.host, &command)
        }
        Verb::Facts => print_facts(&tool, cli.common.node.as_deref()).map(|()| Exit::Done),
    }
}

/// The phase as a list, once the machine is found fit.
fn steps(tool: &Tool) -> Result<StepList> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    checks::passed(tool, &cluster, node)?;
    let host = &tool.host;
    let facts = facts::gather(host, &cluster, node)?;

    let mut steps = StepList::new();
    if cluster.host.manage_packages {
        package_manager::set_up(&mut steps, host, &cluster, facts.os.family);
        steps.add(packages::needed(&cluster, facts.os.family));
    }
    accounts::kube(&mut steps);
    if !facts::swap_stays(&cluster, facts.container) {
        swap::off(&mut steps, host)?;
    }
    if cluster.host.manage_hostname {
        steps.add(File::new("/etc/hostname").text(format!("{}\n", node.name)));
        steps.add(Hostname::new(&node.name));
    }
    if cluster.host.manage_hosts {
        steps.add(hosts::names(&cluster));
    }
    security::set(&mut steps, host, &cluster, facts.os.family)?;
    directories::shared(&mut steps);
    modules::loaded(&mut steps, host, &cluster, &facts)?;
    sysctls::set(&mut steps, &sysctls::wanted(host, &cluster, &facts));
    let cluster_first = resolver::cluster_first(host, &cluster);
    resolver::set(&mut steps, host, &cluster, &facts, cluster_first)?;
    steps.add(Tool::leave(&facts)?);
    Ok(steps)
}

fn print_facts(tool: &Tool, name: Option<&str>) -> Result<()> {
    let cluster = match tool.cluster() {
        Err(error) if error.code() == "input-missing" => init::this_machine(name)?,
        read => read?,
    };
    let facts = facts::gather(&tool.host, &cluster, tool.node(&cluster)?)?;
    let json = facts
        .to_json()
        .map_err(|error| Error::host("state-failed", "cannot encode").because(error))?;
    tool.report.data(&json);
    Ok(())
}
