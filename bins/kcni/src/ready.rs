//! Whether the node takes pods.

use std::time::Duration;

use khost::{
    api::Api,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};
use serde_json::Value;

/// The node's Ready condition is true.
pub(crate) fn node(name: &str) -> Wait {
    let name = name.to_owned();
    let awaited = Awaited {
        id: "node-ready".into(),
        what: format!("node {name}"),
        limit: Duration::from_secs(60),
        look: format!("kubectl describe node {name}"),
    };
    Wait::new(awaited, move |_| {
        Ok(match Api::here().at(&format!("/api/v1/nodes/{name}")) {
            Ok(Some(node)) => seen(&node),
            Ok(None) => Seen::not_yet("the kubelet has not registered it"),
            Err(error) => Seen::not_yet(error.chain()),
        })
    })
}

fn seen(node: &Value) -> Seen {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    match ready {
        Some(ready) if ready["status"] == "True" => Seen::Ready,
        Some(ready) => {
            Seen::not_yet(ready["message"].as_str().unwrap_or("kubelet does not say why"))
        }
        None => Seen::not_yet("kubelet has not reported yet"),
    }
}

#[cfg(test)]
mod tests {
    use khost::wait::Seen;
    use serde_json::json;

    use super::seen;

    #[test]
    fn the_condition_says_why() {
        let node = |status: &str| {
            json!({ "status": { "conditions": [
                { "type": "MemoryPressure", "status": "False" },
                { "type": "Ready", "status": status, "message": "cni plugin not initialized" },
            ] } })
        };
        assert_eq!(seen(&node("True")), Seen::Ready);
        assert_eq!(seen(&node("False")), Seen::not_yet("cni plugin not initialized"));
        assert_eq!(seen(&json!({})), Seen::not_yet("kubelet has not reported yet"));
    }
}
