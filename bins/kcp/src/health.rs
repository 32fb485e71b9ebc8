//! Waiting until the cluster takes pods.

use std::time::Duration;

use khost::{
    Context,
    kubectl::Kubectl,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};
use serde_json::{Value, json};

/// The node is registered and the `default` `ServiceAccount` exists: before that no pod of a user
/// is admitted. The controller manager makes it some seconds after `kubeadm init` is done.
pub(crate) fn admits_pods(node: &str) -> Wait {
    let wanted = json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Node", "metadata": { "name": node } },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": { "name": "default", "namespace": "default" },
        },
    ] });
    let awaited = Awaited {
        id: "pods-admitted".into(),
        what: format!("node {node} and the default ServiceAccount"),
        limit: Duration::from_secs(120),
        look: "journalctl -u kubelet -n 50".into(),
    };
    Wait::new(awaited, move |_: &Context<'_>| {
        Ok(match Kubectl::admin().get(&wanted.to_string()) {
            Err(error) => Seen::not_yet(error.chain()),
            Ok(found) => match lacking(&found) {
                None => Seen::Ready,
                Some(lacking) => Seen::not_yet(lacking),
            },
        })
    })
}

fn lacking(found: &[Value]) -> Option<&'static str> {
    let has = |kind: &str| found.iter().any(|object| object["kind"] == kind);
    if !has("Node") {
        Some("the kubelet has not registered the node")
    } else if !has("ServiceAccount") {
        Some("the controller manager has not made the ServiceAccount")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::lacking;

    #[test]
    fn what_is_lacking_is_told_with_who_should_have_made_it() {
        let node = json!({ "kind": "Node" });
        let account = json!({ "kind": "ServiceAccount" });
        assert!(lacking(&[]).unwrap().contains("kubelet"));
        assert!(lacking(std::slice::from_ref(&node)).unwrap().contains("controller manager"));
        assert_eq!(lacking(&[node, account]), None);
    }
}
