//! kcni: give this node a pod network.
//!
//! Reads  `cluster.toml`, `artifacts.json`, `control-plane.json`
//! Writes `cni.json`, `/opt/cni/bin/*`, `/etc/tmpfiles.d/k8steps-flannel.conf`; flannel's objects in
//!        the cluster, and through them `/etc/cni/net.d/10-flannel.conflist`, `/run/flannel`, the
//!        interfaces cni0 and flannel.VNI

mod config;
mod endpoint;
mod first;
mod flannel;
mod layers;
mod links;
mod plugins;
mod program;
mod ready;
mod reason;
mod runtime;
mod subnet;

use khost::{Result, StepList, Tool, app::Cli, error::Exit};
use kspec::{
    Role,
    state::{Artifacts, ControlPlaneState},
};

const ABOUT: &str = "Give this node a pod network

Installs the CNI programs, runs flannel on every node of the cluster as a
DaemonSet, and waits until flannel has given this node its share of the pod
network and the node is Ready. A worker waits for what a control plane applied.

Reads cluster.toml, artifacts.json and control-plane.json; leaves cni.json.

Example: show what would be applied to the cluster, then do it

    kcni manifests
    kcni apply";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Print flannel's manifests as YAML, for `kubectl apply -f -`
    ///
    /// Reads the state files, asks no cluster and changes nothing.
    Manifests,
}

fn main() -> std::process::ExitCode {
    khost::app::main("kcni", ABOUT, run)
}

fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("kcni", &cli.common);
    match cli.verb {
        Verb::Phase(verb) => tool.run::<Verb>(&verb, ABOUT, steps),
        Verb::Manifests => {
            let manifests = flannel::render(&tool.cluster()?, &tool.state()?, &tool.state()?)?;
            tool.report.data(&manifests);
            Ok(Exit::Done)
        }
    }
}

/// The phase as a list: a pure function of its inputs.
fn steps(tool: &Tool) -> Result<StepList> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    if !node.is(Role::ControlPlane) && !node.is(Role::Worker) {
        tool.report.say(&format!("node {} is an etcd member, and runs no pods", node.name));
        return Ok(StepList::new());
    }
    let artifacts: Artifacts = tool.state()?;
    let control_plane: ControlPlaneState = tool.state()?;
    let flannel = &cluster.network.flannel;
    links::check_chosen(&tool.host, flannel)?;

    let mut steps = StepList::new();
    // First: the controller manager has begun, and makes the pod meanwhile. It waits for the
    // programs before it tells the runtime that there is a network (see the template).
    if node.is(Role::ControlPlane) {
        steps.add(flannel::applied(&cluster, &artifacts, &control_plane)?);
    }
    steps.extend(plugins::installed(&artifacts)?);
    steps.add(program::installed(&artifacts)?);
    steps.add(runtime::forgotten_at_boot());
    if cluster.is_first_control_plane(node) {
        steps.add(first::FirstShare::of(&cluster, node));
    }
    steps.add(subnet::given(&cluster.network.pod_cidr, &node.name));
    steps.add(links::OldTunnels::gone(flannel));
    steps.add(links::OldRules::gone(flannel));
    steps.add(links::BridgeMtu::of_the_share(&cluster.network.pod_cidr));
    steps.add(ready::node(&node.name));
    if node.is(Role::ControlPlane) {
        steps.add(khost::admission::pods_admitted());
    }
    steps.add(subnet::state(&cluster.network.pod_cidr, flannel::version(&artifacts)?));
    Ok(steps)
}
