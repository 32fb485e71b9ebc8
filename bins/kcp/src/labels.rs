//! Labels and taints of this node, as cluster.toml has them.

use khost::{Change, Context, Status, kubectl::Kubectl, steps::command::Guarded};
use kspec::{Node, Role};
use serde_json::Value;

use crate::{init, kubelet};

/// Keeps the pods of users off control planes. kubeadm sets it when it registers the node, and
/// only then: a node whose roles change later needs it set or taken away.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane:NoSchedule";

/// What is missing on the node is set; what others set stays.
pub(crate) fn wanted(node: &Node) -> Guarded {
    let (asked, set) = (node.clone(), node.clone());
    Guarded::new(
        "node-labels",
        move |context: &Context<'_>| {
            let starting = init::comes(context) || context.changes(kubelet::ID);
            let live = if starting && !Kubectl::admin().answers() {
                None // in a plan: the API server is yet to be started
            } else {
                Some(Kubectl::admin().get_json(&["node", &asked.name])?)
            };
            Ok(differs(&asked.name, &arguments(&asked, live.as_ref())))
        },
        move |_| {
            let live = Kubectl::admin().get_json(&["node", &set.name])?;
            let (labels, taints) = arguments(&set, Some(&live));
            for (verb, arguments) in [("label", labels), ("taint", taints)] {
                if !arguments.is_empty() {
                    let args = [verb, "node", &set.name, "--overwrite"];
                    Kubectl::admin().cmd(&args).args(arguments).run()?;
                }
            }
            Ok(())
        },
    )
}

fn differs(node: &str, (labels, taints): &(Vec<String>, Vec<String>)) -> Status {
    let all: Vec<_> = labels.iter().chain(taints).map(String::as_str).collect();
    if all.is_empty() {
        return Status::Done;
    }
    Status::Differs(Change::new(format!("label or taint node {node}: {}", all.join(", "))))
}

/// Labels and taints that `live` lacks or has too many, as kubectl takes them: a dash at the end
/// takes one away. Without `live`, what is to be set on a node as kubeadm registers it.
fn arguments(node: &Node, live: Option<&Value>) -> (Vec<String>, Vec<String>) {
    let present = |key: &str| live.map(|live| &live["metadata"]["labels"][key]);
    let labels = node
        .labels
        .iter()
        .filter(|(key, value)| present(key).and_then(Value::as_str) != Some(value.as_str()));
    let labels = labels.map(|(key, value)| format!("{key}={value}")).collect();

    let taints = live.and_then(|live| live["spec"]["taints"].as_array());
    let present: Vec<_> = taints.into_iter().flatten().map(written).collect();
    let lacking = |taint: &str| !present.contains(&normal(taint));
    let mut taints: Vec<_> = node.taints.iter().filter(|taint| lacking(taint)).cloned().collect();
    if live.is_some() && lacking(CONTROL_PLANE) != node.is(Role::Worker) {
        let dash = if node.is(Role::Worker) { "-" } else { "" };
        taints.push(format!("{CONTROL_PLANE}{dash}"));
    }
    (labels, taints)
}

/// A taint of the API as kubectl writes it: `key=value:Effect`, without `=` where it has no value.
fn written(taint: &Value) -> String {
    let text = |key: &str| taint[key].as_str().unwrap_or_default();
    normal(&format!("{}={}:{}", text("key"), text("value"), text("effect")))
}

/// `key=:Effect` and `key:Effect` are the same.
fn normal(taint: &str) -> String {
    taint.replace("=:", ":")
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Node, Role};
    use serde_json::{Value, json};

    use super::arguments;

    fn node() -> Node {
        Cluster::example("node1", "192.0.2.11".parse().unwrap()).nodes.remove(0)
    }

    /// Both lists as one line.
    fn line(node: &Node, live: Option<&Value>) -> String {
        let (labels, taints) = arguments(node, live);
        format!("{} | {}", labels.join(" "), taints.join(" "))
    }

    #[test]
    fn only_what_is_missing_is_set() {
        let mut node = node();
        node.labels = [("rack".to_owned(), "7".to_owned()), ("disk".into(), "ssd".into())].into();
        node.taints = vec!["gpu=yes:NoSchedule".into(), "slow:NoExecute".into()];
        let live = json!({
            "metadata": { "labels": { "disk": "ssd", "rack": "6", "other": "x" } },
            "spec": { "taints": [{ "key": "slow", "effect": "NoExecute" }] },
        });
        assert_eq!(line(&node, Some(&live)), "rack=7 | gpu=yes:NoSchedule");
        assert_eq!(line(&node, None), "disk=ssd rack=7 | gpu=yes:NoSchedule slow:NoExecute");
    }

    #[test]
    fn the_control_planes_taint_follows_the_roles() {
        let (key, effect) = super::CONTROL_PLANE.split_once(':').unwrap();
        let taint = json!({ "key": key, "effect": effect });
        let (tainted, free) = (json!({ "spec": { "taints": [taint] } }), json!({ "spec": {} }));
        let mut node = node();
        assert_eq!(line(&node, Some(&free)), " | ");
        assert_eq!(line(&node, Some(&tainted)), format!(" | {}-", super::CONTROL_PLANE));
        node.roles.retain(|role| *role != Role::Worker);
        assert_eq!(line(&node, Some(&tainted)), " | ");
        assert_eq!(line(&node, Some(&free)), format!(" | {}", super::CONTROL_PLANE));
        assert_eq!(line(&node, None), " | ");
    }
}
