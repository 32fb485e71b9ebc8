//! Waiting until what is being deleted is gone.

use std::time::Duration;

use serde_json::Value;

use super::title;
use crate::{
    Context, Result,
    kubectl::{still_going, still_there},
    pods::Pods,
    wait::{Awaited, Seen, until},
};

/// How long the controllers may take, besides what pods are given.
const CONTROLLERS: u64 = 60;
/// What a pod is given to end that asks for nothing (Kubernetes API, `PodSpec`).
const GRACE: u64 = 30;

/// Wait until those of `objects` that are being deleted are gone, and their pods with them. One that
/// somebody made anew meanwhile is another.
///
/// # Errors
/// `timeout`, with what the first of them still has.
pub(crate) fn gone(context: &Context<'_>, objects: &[Value]) -> Result<()> {
    let mut going = still_going(objects)?;
    let Some(first) = going.first() else { return Ok(()) };
    let awaited = Awaited {
        id: "deleted".into(),
        what: format!("the end of {}, which is being deleted,", title(first)),
        limit: Duration::from_secs(CONTROLLERS + going.iter().map(grace).max().unwrap_or(0)),
        look: look(first),
    };
    until(context, &awaited, || {
        going = still_going(&going)?;
        let Some(stays) = going.first() else { return Ok(Seen::Ready) };
        Ok(Seen::NotYet(context.explained(|| reason(context, stays))))
    })
}

/// How many seconds its pods are given to end.
fn grace(object: &Value) -> u64 {
    let asked = ["/spec/template/spec", "/spec"]
        .into_iter()
        .find_map(|spec| object.pointer(spec)?.get("terminationGracePeriodSeconds")?.as_u64());
    asked.unwrap_or(GRACE)
}

fn look(object: &Value) -> String {
    let metadata = &object["metadata"];
    let namespace = metadata["namespace"].as_str().map(|name| format!("-n {name} "));
    format!(
        "kubectl {}get {} {} -o yaml",
        namespace.unwrap_or_default(),
        object["kind"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap_or_default()
    )
}

fn reason(context: &Context<'_>, object: &Value) -> String {
    let pods = Pods::of(object).map(|pods| format!("\n{}", pods.reason(context.host)));
    still_there(object) + &pods.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{grace, look};

    #[test]
    fn pods_have_the_time_to_end_that_they_ask_for() {
        let spec = json!({ "terminationGracePeriodSeconds": 90 });
        assert_eq!(
            grace(&json!({ "kind": "Deployment", "spec": { "template": { "spec": spec } } })),
            90
        );
        assert_eq!(grace(&json!({ "kind": "Pod", "spec": spec })), 90);
        assert_eq!(
            grace(&json!({ "kind": "Namespace", "spec": { "finalizers": ["kubernetes"] } })),
            30
        );
    }

    #[test]
    fn the_next_command_names_the_object() {
        let mut object =
            json!({ "kind": "Deployment", "metadata": { "name": "a", "namespace": "n" } });
        assert_eq!(look(&object), "kubectl -n n get Deployment a -o yaml");
        object = json!({ "kind": "Namespace", "metadata": { "name": "n" } });
        assert_eq!(look(&object), "kubectl get Namespace n -o yaml");
    }
}
