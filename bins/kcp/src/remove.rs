//! Taking a node out of the cluster: its pods move, then the cluster forgets it.

use std::time::Duration;

use khost::{
    Cmd, Error, Farewell, Result, Tool,
    api::Api,
    error::Exit,
    fs,
    kubectl::Kubectl,
    static_pod::{Component, StaticPod},
};
use kspec::paths::{ADMIN_CONF, KUBELET_CONF};

/// Seconds that pods are given to move elsewhere.
const DRAIN: u64 = 60;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The node's name in the cluster
    #[arg(value_name = "NODE")]
    name: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// `kcp remove NODE`, on a control plane.
///
/// # Errors
/// `no-admin-kubeconfig`, `remove-itself`, `node-not-there`, and kubectl's.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    tool.needs_root("remove")?;
    let name = &request.name;
    if !tool.host.is_live() || !fs::exists(&tool.host.path(ADMIN_CONF)) {
        return Err(Error::input("no-admin-kubeconfig", "only a control plane can remove a node")
            .because(format!("`{ADMIN_CONF}` is not here"))
            .hint(format!("run `kcp remove {name}` on a control plane")));
    }
    let cluster = tool.cluster()?;
    if tool.node(&cluster)?.name == *name {
        return Err(Error::input("remove-itself", format!("this is node `{name}`"))
            .hint("run `kcp reset`, which takes it out of the cluster first"));
    }
    if !names()?.contains(name) {
        return Err(Error::input("node-not-there", format!("the cluster has no node `{name}`"))
            .hint(format!("choose one of: {}", names()?.join(", "))));
    }
    let lines = [format!("move the pods of node {name} away"), format!("delete node {name}")];
    tool.confirm("remove", "do", &lines, request.yes)?;
    drain_and_delete(tool, name)?;
    tool.report.summary(&format!("node {name} is no longer part of the cluster"));
    Ok(Exit::Done)
}

/// What `reset` does first on a node that is one of several.
pub(crate) fn farewell(tool: &Tool) -> Option<Farewell<'_>> {
    let host = &tool.host;
    if !host.is_live() {
        return None;
    }
    let cluster = tool.cluster().ok()?;
    let name = tool.node(&cluster).ok()?.name.clone();
    if fs::exists(&host.path(ADMIN_CONF)) {
        let names = names().unwrap_or_default();
        let others = names.iter().any(|other| *other != name);
        if !others {
            return None; // it ends with its only node, or does not answer and is not asked for long
        }
        let listed = names.contains(&name);
        let what = if listed {
            format!("take node {name} out of the cluster: move its pods, delete it")
        } else {
            "take this API server out of the cluster".into() // `kcp remove` deleted the node
        };
        return Some(Farewell::new(what, move || {
            if listed {
                drain_and_delete(tool, &name)?;
            }
            let api_server = StaticPod::new(Component::ApiServer, &cluster);
            if let Err(error) = end_for_good(tool, &api_server) {
                let why = error.chain();
                tool.report.say(&format!("warning: the API server did not end by itself: {why}"));
            }
            Ok(())
        }));
    }
    if !fs::exists(&host.path(KUBELET_CONF)) {
        return None;
    }
    Api::kubelet().at(&format!("/api/v1/nodes/{name}")).ok()??;
    let what = format!("leave the cluster, which still lists node {name}");
    Some(Farewell::new(what, move || {
        tool.report.say(&format!(
            "warning: a worker may not delete a node; run `kcp remove {name}` on a control plane"
        ));
        Ok(())
    }))
}

/// Nobody in the cluster asks this API server any more. The kubelet would start it again.
fn end_for_good(tool: &Tool, api_server: &StaticPod) -> Result<()> {
    Cmd::new("systemctl").args(["stop", "kubelet.service"]).run()?;
    api_server.end(&tool.context())
}

/// Pods that do not move in time are no reason to stop: the node goes in any case.
fn drain_and_delete(tool: &Tool, name: &str) -> Result<()> {
    let timeout = format!("--timeout={DRAIN}s");
    let args =
        ["drain", name, "--ignore-daemonsets", "--delete-emptydir-data", "--force", &timeout];
    // Not within the ten seconds that one request of a `kubectl` here may take.
    let drained = Kubectl::admin()
        .cmd(&args)
        .arg("--request-timeout=0")
        .limit(Duration::from_secs(DRAIN + 15))
        .run();
    if let Err(error) = drained {
        tool.report.say(&format!("warning: not all pods of {name} moved away: {}", error.chain()));
    }
    Kubectl::admin().cmd(&["delete", "node", name, "--ignore-not-found", "--wait=false"]).run()?;
    Ok(())
}

fn names() -> Result<Vec<String>> {
    let nodes = Api::admin().list("/api/v1/nodes", &[])?;
    let names = nodes.iter().filter_map(|node| node["metadata"]["name"].as_str());
    Ok(names.map(str::to_owned).collect())
}
