//! Labels and taints of this node, as cluster.toml has them.
//!
//! Those that were set here are remembered in an annotation of the node itself, so that one that
//! is taken out of the file is taken off the node, and what others set stays. All of it is one
//! patch, which the API server takes whole or not at all.

mod patch;

use std::collections::BTreeMap;

use khost::{
    Change, Context, Error, Result, Status,
    api::Api,
    kubectl::Kubectl,
    static_pod::{Component, StaticPod},
    steps::command::Guarded,
    wait::nap,
};
use kspec::{Cluster, Node, Role};
use serde_json::{Value, json};

use crate::{inputs::Inputs, kubelet};
use patch::Patch;

/// The node may change between reading and writing it, by its kubelet for one.
const ATTEMPTS: u32 = 5;

/// The node has what cluster.toml says, and no longer what it said.
pub(crate) fn wanted(inputs: &Inputs) -> Guarded {
    let (asked, set) = (inputs.node.clone(), inputs.node.clone());
    let api_server = StaticPod::new(Component::ApiServer, &inputs.cluster);
    Guarded::new(
        "node-labels",
        move |context: &Context<'_>| {
            if context.report.is_verbose() && asked.labels.is_empty() && asked.taints.is_empty() {
                context
                    .report
                    .say(&format!("cluster.toml has no labels and no taints for {}", asked.name));
            }
            let live = if kubelet::starts(context) && !api_server.is_healthy(context.host)? {
                json!({}) // in a plan: kubeadm is yet to register it
            } else {
                live(&asked)?
            };
            Ok(differs(&asked.name, &Patch::new(&asked, &live)))
        },
        move |_| apply(&set),
    )
}

/// The same of every worker that is in the cluster: a kubelet may not label or taint its node.
pub(crate) fn of_workers(cluster: &Cluster) -> Guarded {
    let workers = cluster.with_role(Role::Worker).filter(|node| !node.is(Role::ControlPlane));
    let workers: Vec<_> = workers.cloned().collect();
    let set = workers.clone();
    let api_server = StaticPod::new(Component::ApiServer, cluster);
    Guarded::new(
        "worker-labels",
        move |context: &Context<'_>| {
            if workers.is_empty()
                || kubelet::starts(context) && !api_server.is_healthy(context.host)?
            {
                return Ok(Status::Done);
            }
            let differing = differing(&workers)?;
            let words = differing.iter().map(|(node, words)| format!("{}: {words}", node.name));
            let words: Vec<_> = words.collect();
            Ok(if words.is_empty() {
                Status::Done
            } else {
                Status::Differs(Change::new(format!("label or taint node {}", words.join("; "))))
            })
        },
        move |_| differing(&set)?.iter().try_for_each(|(node, _)| apply(node)),
    )
}

/// Those of `workers` that are in the cluster and differ, and in what.
fn differing(workers: &[Node]) -> Result<Vec<(&Node, String)>> {
    let found = Api::admin().list("/api/v1/nodes", &[])?;
    let live: BTreeMap<_, _> =
        found.iter().map(|live| (live["metadata"]["name"].as_str(), live)).collect();
    let known = workers.iter().filter_map(|node| Some((node, *live.get(&Some(&*node.name))?)));
    let words = known.map(|(node, live)| (node, Patch::new(node, live).words().join(", ")));
    Ok(words.filter(|(_, words)| !words.is_empty()).collect())
}

fn differs(node: &str, patch: &Patch) -> Status {
    let changes = patch.words();
    if changes.is_empty() {
        return Status::Done;
    }
    Status::Differs(Change::new(format!("label or taint node {node}: {}", changes.join(", "))))
}

fn live(node: &Node) -> Result<Value> {
    let found = Api::admin().at(&format!("/api/v1/nodes/{}", node.name))?;
    Ok(found.unwrap_or_default()) // of one that is not there nothing can be taken off
}

fn apply(node: &Node) -> Result<()> {
    let args = ["patch", "node", &node.name, "--type=merge", "--patch-file=/dev/stdin"];
    let mut last = String::new();
    for _ in 0..ATTEMPTS {
        let patch = Patch::new(node, &live(node)?).json();
        let output = Kubectl::admin().cmd(&args).input(patch.to_string()).accept(&[0, 1]).run()?;
        last = output.stderr;
        match output.code {
            0 => return Ok(()),
            _ if last.contains("(Conflict)") || last.contains("has been modified") => {
                nap(std::time::Duration::from_millis(100));
            }
            _ => break,
        }
    }
    Err(Error::host("node-not-labelled", format!("cannot label or taint node {}", node.name))
        .because(last.trim().to_owned())
        .hint("correct `labels` and `taints` of the node in cluster.toml, then `kcp apply`"))
}
