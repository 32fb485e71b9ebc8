//! What to change on a node, from what it is and what cluster.toml says of it.

use std::collections::{BTreeMap, BTreeSet};

use kspec::{Node, Role};
use serde_json::{Value, json};

/// Keeps the pods of users off control planes. kubeadm sets it when it registers the node, and
/// only then: a node whose roles change later needs it set or taken away.
const CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane:NoSchedule";
/// Keys of the labels, and the taints, that were set here. Neither holds a comma.
const LABELS: &str = "k8steps/labels";
const TAINTS: &str = "k8steps/taints";

/// A merge patch of a node.
#[derive(Debug)]
pub(super) struct Patch {
    /// None takes a label away.
    labels: BTreeMap<String, Option<String>>,
    /// All taints, where they change.
    taints: Option<Vec<Value>>,
    /// Those that change, for people; a dash at the end is for one that goes.
    taint_words: Vec<String>,
    annotations: BTreeMap<&'static str, Option<String>>,
    version: Value,
}

impl Patch {
    /// `live` is the node as the API server has it, or `{}` where it is yet to be registered as
    /// kubeadm does it.
    pub(super) fn new(node: &Node, live: &Value) -> Self {
        let (annotations, there) = (&live["metadata"]["annotations"], &live["metadata"]["labels"]);
        let before = |key: &str| -> BTreeSet<String> {
            let listed = annotations[key].as_str().unwrap_or_default().split(',');
            listed.filter(|one| !one.is_empty()).map(str::to_owned).collect()
        };

        let gone = before(LABELS).into_iter().filter(|key| !node.labels.contains_key(key));
        let gone = gone.filter(|key| !there[key].is_null()).map(|key| (key, None));
        let differ = |(key, value): &(&String, &String)| there[*key] != **value;
        let set = node.labels.iter().filter(differ);
        let set = set.map(|(key, value)| (key.clone(), Some(value.clone())));
        let labels = gone.chain(set).collect();

        let wanted: BTreeSet<_> = node.taints.iter().map(|taint| normal(taint)).collect();
        let (taints, taint_words) = taints(node, live, &wanted, &before(TAINTS));
        let keys = node.labels.keys().cloned().collect();
        let noted = [(LABELS, keys), (TAINTS, wanted)]
            .into_iter()
            .filter(|(key, now): &(_, BTreeSet<String>)| before(key) != *now);
        let listed = |now: BTreeSet<String>| now.into_iter().collect::<Vec<_>>().join(",");
        let note =
            |(key, now): (_, BTreeSet<String>)| (key, (!now.is_empty()).then(|| listed(now)));
        let annotations = noted.map(note).collect();
        let version = live["metadata"]["resourceVersion"].clone();
        Self { labels, taints, taint_words, annotations, version }
    }

    /// What it changes, as kubectl would be told; empty when nothing.
    pub(super) fn words(&self) -> Vec<String> {
        let label = |(key, value): (&String, &Option<String>)| match value {
            Some(value) => format!("{key}={value}"),
            None => format!("{key}-"),
        };
        let mut words: Vec<_> = self.labels.iter().map(label).collect();
        words.extend(self.taint_words.iter().cloned());
        if words.is_empty() && !self.annotations.is_empty() {
            words.push("remember what cluster.toml has".into());
        }
        words
    }

    /// As the API server takes it: only if the node is still as it was looked at.
    pub(super) fn json(&self) -> Value {
        let mut patch = json!({ "metadata": {
            "labels": self.labels,
            "annotations": self.annotations,
            "resourceVersion": self.version,
        } });
        if let Some(taints) = &self.taints {
            patch["spec"]["taints"] = json!(taints);
        }
        patch
    }
}

/// All taints as they should be, if they are not, and the words for those that change. A taint
/// counts with its value and effect; where only the value is another, the old one goes.
fn taints(
    node: &Node,
    live: &Value,
    wanted: &BTreeSet<String>,
    before: &BTreeSet<String>,
) -> (Option<Vec<Value>>, Vec<String>) {
    let present = live["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let registered = live.get("spec").is_some();
    let slot = |taint: &str| {
        let (key, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
        format!("{}:{effect}", key.split('=').next().unwrap_or(key))
    };
    let slots: BTreeSet<_> = wanted.iter().map(|taint| slot(taint)).collect();
    let goes = |taint: &str| {
        !wanted.contains(taint)
            && (before.contains(taint)
                || slots.contains(&slot(taint))
                || (taint == CONTROL_PLANE && node.is(Role::Worker)))
    };
    let (gone, mut kept): (Vec<_>, Vec<_>) =
        present.into_iter().partition(|taint| goes(&written(taint)));
    let mut words: Vec<_> = gone.iter().map(|taint| format!("{}-", written(taint))).collect();
    let mut missing: Vec<_> = wanted.iter().map(String::as_str).collect();
    if registered && !node.is(Role::Worker) {
        missing.push(CONTROL_PLANE);
    }
    for taint in missing {
        if !kept.iter().any(|one| written(one) == taint) {
            words.push(taint.into());
            kept.push(parsed(taint));
        }
    }
    ((!words.is_empty()).then_some(kept), words)
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

fn parsed(taint: &str) -> Value {
    let (rest, effect) = taint.rsplit_once(':').unwrap_or((taint, ""));
    match rest.split_once('=') {
        Some((key, value)) => json!({ "key": key, "value": value, "effect": effect }),
        None => json!({ "key": rest, "effect": effect }),
    }
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Node, Role};
    use serde_json::{Value, json};

    use super::{CONTROL_PLANE, Patch, parsed};

    fn node() -> Node {
        Cluster::example("node1", "192.0.2.11".parse().unwrap()).nodes.remove(0)
    }

    fn words(node: &Node, live: &Value) -> String {
        Patch::new(node, live).words().join(" ")
    }

    /// The node after the patch, as far as a merge patch goes.
    fn patched(node: &Node, live: &Value) -> Value {
        let patch = Patch::new(node, live).json();
        let mut after = live.clone();
        for map in ["labels", "annotations"] {
            let entries = patch["metadata"][map].as_object().unwrap();
            for (key, value) in entries {
                after["metadata"][map][key] = value.clone();
            }
        }
        if let Some(taints) = patch.pointer("/spec/taints") {
            after["spec"]["taints"] = taints.clone();
        }
        after
    }

    #[test]
    fn what_is_missing_is_set_and_what_others_set_stays() {
        let mut node = node();
        node.labels = [("rack".to_owned(), "7".to_owned()), ("disk".into(), "ssd".into())].into();
        node.taints = vec!["gpu=yes:NoSchedule".into(), "slow=:NoExecute".into()];
        let live = json!({
            "metadata": {
                "labels": { "disk": "ssd", "rack": "6", "other": "x" },
                "resourceVersion": "42",
            },
            "spec": { "taints": [
                { "key": "slow", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z" },
                { "key": "theirs", "effect": "NoSchedule" },
            ] },
        });
        assert_eq!(words(&node, &live), "rack=7 gpu=yes:NoSchedule");
        let patch = Patch::new(&node, &live).json();
        assert_eq!(patch["metadata"]["resourceVersion"], "42");
        let after = patched(&node, &live);
        assert_eq!(after["metadata"]["labels"]["other"], "x");
        assert_eq!(after["spec"]["taints"].as_array().unwrap().len(), 3);
        assert_eq!(after["spec"]["taints"][0]["timeAdded"], "2026-01-01T00:00:00Z");
        assert_eq!(words(&node, &after), "", "a second run does nothing");
        let fresh = words(&node, &json!({}));
        assert_eq!(fresh, "disk=ssd rack=7 gpu=yes:NoSchedule slow:NoExecute");
    }

    #[test]
    fn what_was_set_and_is_taken_out_of_the_file_goes() {
        let mut node = node();
        node.labels = [("rack".to_owned(), "7".to_owned()), ("disk".into(), "ssd".into())].into();
        node.taints = vec!["gpu=yes:NoSchedule".into()];
        let bare = json!({ "metadata": { "labels": { "other": "x" } }, "spec": {} });
        let live = patched(&node, &bare);
        node.labels.remove("disk");
        node.taints.clear();
        assert_eq!(words(&node, &live), "disk- gpu=yes:NoSchedule-");
        let live = patched(&node, &live);
        assert_eq!(live["metadata"]["labels"]["disk"], Value::Null);
        assert_eq!(live["spec"]["taints"], json!([]));
        node.labels.clear();
        let live = patched(&node, &live);
        assert_eq!(live["metadata"]["annotations"]["k8steps/labels"], Value::Null);
        assert_eq!(words(&node, &live), "");
        assert_eq!(live["metadata"]["labels"]["other"], "x");
    }

    #[test]
    fn a_taint_with_another_value_takes_its_place() {
        let mut node = node();
        node.taints = vec!["gpu=no:NoSchedule".into()];
        let live = json!({ "metadata": {}, "spec": { "taints": [parsed("gpu=yes:NoSchedule")] } });
        assert_eq!(words(&node, &live), "gpu=yes:NoSchedule- gpu=no:NoSchedule");
    }

    #[test]
    fn the_control_planes_taint_follows_the_roles() {
        let (tainted, free) =
            (json!({ "spec": { "taints": [parsed(CONTROL_PLANE)] } }), json!({ "spec": {} }));
        let mut node = node();
        assert_eq!(words(&node, &free), "");
        assert_eq!(words(&node, &tainted), format!("{CONTROL_PLANE}-"));
        node.roles.retain(|role| *role != Role::Worker);
        assert_eq!(words(&node, &tainted), "");
        assert_eq!(words(&node, &free), CONTROL_PLANE);
        assert_eq!(words(&node, &json!({})), "");
    }
}
