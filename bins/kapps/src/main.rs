//! kapps: what runs on top of the cluster.
//!
//! Reads  `cluster.toml`, `artifacts.json`, `control-plane.json`, `cni.json`
//!        and the operator's own manifests
//! Writes `apps.json`, `/usr/local/bin/helm` and its completion, `kapps-approve.{service,timer}`; the add-ons' objects and the
//!        operator's own in the cluster

mod addon;
mod available;
mod cluster_roles;
mod coredns;
mod dns_autoscaler;
mod helm;
mod image;
mod metrics_server;
mod network;
mod node_feature_discovery;
mod own;
mod serving;

use std::collections::BTreeMap;

use khost::{
    Error, Result, StepList, Tool,
    app::Cli,
    error::Exit,
    lookup,
    static_pod::{Component, StaticPod},
    steps::{manifest::title, pruned::Pruned, withdrawn::Withdrawn},
};
use kspec::{
    Cluster, Role,
    state::{App, Apps, Artifacts, Cni, ControlPlaneState},
};

use crate::{addon::Addon, own::OwnManifests};

const ABOUT: &str = "Install what runs on top of the cluster

CoreDNS, dns-autoscaler, metrics-server, Node Feature Discovery and helm, each
switched on or off in [addons] of cluster.toml, and the roles and priority class
that they and the nodes rely on; then your own manifests, those of
addons.manifests-dir. What is switched off or taken out is deleted. Waits until
all of it works.

Reads cluster.toml, artifacts.json, control-plane.json and cni.json; leaves
apps.json.

Example: show what would be applied to the cluster for CoreDNS, then do it all

    kapps manifests coredns
    kapps apply";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Print the manifests as YAML, for `kubectl apply -f -`
    ///
    /// Reads the state files, asks no cluster and changes nothing.
    Manifests {
        /// Only those of this add-on, e.g. coredns
        name: Option<String>,
    },
    /// Approve the certificates that kubelets ask for, as its timer does
    ///
    /// Only those of the nodes of cluster.toml, for no more than their names and
    /// addresses there. The others are told and stay pending.
    Approve,
}

/// Also the field manager of the add-ons' objects.
const NAME: &str = "kapps";

fn main() -> std::process::ExitCode {
    khost::app::main(NAME, ABOUT, run)
}

fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new(NAME, &cli.common);
    match cli.verb {
        Verb::Phase(verb) => tool.run::<Verb>(&verb, ABOUT, steps),
        Verb::Manifests { name } => {
            tool.report.data(&manifests(&tool, name.as_deref())?);
            Ok(Exit::Done)
        }
        Verb::Approve => {
            tool.needs_root("approve")?;
            let answer = serving::approve(&tool.cluster()?)?;
            for node in &answer.approved {
                tool.report.say(&format!("approved the certificate of kubelet on {node}"));
            }
            for why in &answer.refused {
                tool.report.say(&format!("not approved: {why}"));
            }
            Ok(Exit::Done)
        }
    }
}

/// The phase as a list: a pure function of its inputs.
fn steps(tool: &Tool) -> Result<StepList> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    if !node.is(Role::ControlPlane) {
        let name = &node.name;
        tool.report.say(&format!("node {name} is a worker: add-ons come from a control plane"));
        return Ok(StepList::new());
    }
    let artifacts: Artifacts = tool.state()?;
    let control_plane: ControlPlaneState = tool.state()?;
    if !tool.host.is_live() {
        let _network: Cni = tool.state()?; // a tree is not waited in
    }
    let addons = enabled(&cluster, &artifacts, &control_plane)?;
    let mut apps: BTreeMap<String, App> =
        addons.iter().map(|addon| (addon.name.to_owned(), addon.app())).collect();

    let own = own::read(&tool.host, &cluster.addons.manifests_dir, &addons)?;
    let objects: Vec<_> = own.iter().map(|document| document.object.clone()).collect();
    if !own.is_empty() {
        let version = cluster.addons.manifests_dir.display().to_string();
        let objects = objects.iter().map(title).collect();
        apps.insert("manifests".into(), App { version, objects });
    }

    let mut steps = StepList::new();
    // Pods start together once there is a network, and each takes time from the others: the three
    // of Node Feature Discovery, which nobody waits for, come when names are looked up.
    let (later, first): (Vec<_>, Vec<_>) =
        addons.iter().partition(|addon| addon.name == node_feature_discovery::NAME);
    let (dns, all): (Vec<_>, Vec<_>) =
        available::waits(&addons).into_iter().partition(|(name, _)| *name == coredns::NAME);
    // Who makes the pods, and the network's before these, needs the processor first.
    steps.add(StaticPod::new(Component::ControllerManager, &cluster).listening());
    steps.extend(first.into_iter().map(Addon::manifest));
    steps.add(network::there());
    // Asked for only now: the controller manager, which signs, need not be waited for any more.
    steps.extend(serving::signed(&cluster));
    steps.extend(dns.into_iter().map(|(_, wait)| wait));
    if cluster.addons.coredns.enabled {
        steps.add(lookup::answered(control_plane.cluster_dns, &cluster.kubernetes.dns_domain));
    }
    steps.extend(later.into_iter().map(Addon::manifest));
    if !own.is_empty() {
        steps.add(khost::admission::pods_admitted()); // pods may be among them
        steps.add(OwnManifests::new(own)); // after the add-ons, whose definitions they may use
    }
    let wanted = addons.iter().flat_map(|addon| addon.objects.clone()).chain(objects);
    steps.add(Pruned::to(NAME, &[NAME, own::MANAGER], wanted));
    if !cluster.addons.node_feature_discovery.enabled {
        steps.add(Withdrawn::new(NAME, node_feature_discovery::FEATURES_DIR));
    }
    steps.extend(all.into_iter().map(|(_, wait)| wait));
    // What no pod waits for comes last.
    serving::add_timer(&mut steps, &cluster);
    if cluster.addons.helm.enabled {
        let (program, app) = helm::program(&artifacts)?;
        steps.add(program);
        steps.add(helm::completion());
        apps.insert("helm".into(), app);
    } else {
        steps.extend([helm::COMPLETION, helm::PROGRAM].map(|path| Withdrawn::new(NAME, path)));
    }
    steps.add(Tool::leave(&Apps { schema: kspec::SCHEMA, apps })?);
    Ok(steps)
}

/// The add-ons with objects in the cluster that are switched on, in the order they are applied.
fn enabled(
    cluster: &Cluster,
    artifacts: &Artifacts,
    control_plane: &ControlPlaneState,
) -> Result<Vec<Addon>> {
    let wanted = &cluster.addons;
    let mut addons = vec![cluster_roles::addon(control_plane)?];
    if wanted.coredns.enabled {
        addons.push(coredns::addon(cluster, artifacts, control_plane)?);
    }
    if wanted.coredns.enabled && wanted.dns_autoscaler.enabled {
        addons.push(dns_autoscaler::addon(cluster, artifacts)?);
    }
    if wanted.node_feature_discovery.enabled {
        addons.push(node_feature_discovery::addon(cluster, artifacts)?);
    }
    // Last, and so the first that reset deletes: while its API is registered and does not answer,
    // no namespace can be deleted.
    if wanted.metrics_server.enabled {
        addons.push(metrics_server::addon(cluster, artifacts)?);
    }
    Ok(addons)
}

fn manifests(tool: &Tool, name: Option<&str>) -> Result<String> {
    let addons = enabled(&tool.cluster()?, &tool.state()?, &tool.state()?)?;
    let names: Vec<_> = addons.iter().map(|addon| addon.name).collect();
    let chosen: Vec<_> = addons
        .iter()
        .filter(|addon| name.is_none_or(|name| name == addon.name))
        .map(|addon| addon.yaml.as_str())
        .collect();
    if let (Some(name), true) = (name, chosen.is_empty()) {
        return Err(Error::input("addon-unknown", format!("there are no manifests of `{name}`"))
            .because("it is switched off in [addons], or has no objects in the cluster")
            .hint(format!("choose one of: {}", names.join(", "))));
    }
    Ok(chosen.join("---\n"))
}
