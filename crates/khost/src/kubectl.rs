//! What kubectl does to the cluster; what is only read is asked for without it (`crate::api`).

mod delete;

use std::time::Duration;

use serde_json::Value;

use crate::{Cmd, Error, Result, api::Api};

pub(crate) use delete::{is_going, still_going, still_there};

/// kubectl with a kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: String,
    kubeconfig: String,
}

impl Kubectl {
    /// kubectl where kcp put it, as the administrator of this cluster.
    pub fn admin() -> Self {
        Self {
            program: format!("{}/kubectl", kspec::paths::BIN_DIR),
            kubeconfig: kspec::paths::ADMIN_CONF.into(),
        }
    }

    /// As this node's kubelet, which may read its own node, and the pods on it.
    pub fn kubelet() -> Self {
        Self { kubeconfig: kspec::paths::KUBELET_CONF.into(), ..Self::admin() }
    }

    /// As the administrator on a control plane, as the kubelet on a worker.
    pub fn here() -> Self {
        if Api::is_admin() { Self::admin() } else { Self::kubelet() }
    }

    /// `kubectl ARGS`, to be run. It keeps no cache: what it would keep below the user's home is no
    /// file of ours.
    pub fn cmd(&self, args: &[&str]) -> Cmd {
        Cmd::new(&self.program)
            .arg(format!("--kubeconfig={}", self.kubeconfig))
            .arg("--cache-dir=/dev/null")
            .arg("--request-timeout=10s")
            .args(args)
            .limit(Duration::from_secs(60))
    }

    /// What the objects of `manifest` would be after [`Kubectl::apply`], in the same order. The
    /// server checks everything and changes nothing; keys that it does not know are refused.
    ///
    /// # Errors
    /// `kubectl-failed`, with what the server said, a line or more for each object it refuses.
    pub fn reviewed(&self, manager: &str, manifest: &str) -> Result<Vec<Value>> {
        let manager = format!("--field-manager={manager}");
        let args = ["apply", "--server-side", "--force-conflicts", "--filename=-", &manager];
        let dry = ["--dry-run=server", "--validate=strict", "--output=json"];
        let output = self.cmd(&args).args(dry).input(manifest).accept(&[0, 1]).run()?;
        if output.code != 0 {
            return Err(Error::host("kubectl-failed", "the API server refuses a manifest")
                .because(output.stderr.trim().to_owned()));
        }
        objects(&output.stdout)
    }

    /// Server-side apply, with `manager` as the owner of the fields. A key that the server does not
    /// know is left out by it: a look afterwards shows that, or [`Kubectl::reviewed`] before.
    /// To have it refused here, kubectl would first read the descriptions of all kinds of objects,
    /// which takes ten times as much of the processor as all else about it.
    pub fn apply(&self, manager: &str, manifest: &str) -> Result<()> {
        let manager = format!("--field-manager={manager}");
        let args = ["apply", "--server-side", "--force-conflicts", "--filename=-", &manager];
        self.cmd(&args).arg("--validate=ignore").input(manifest).run().map(drop)
    }
}

/// kubectl prints nothing, one object, or a List of them.
///
/// # Errors
/// `kubectl-failed` when `json` is something else.
fn objects(json: &str) -> Result<Vec<Value>> {
    if json.trim().is_empty() {
        return Ok(Vec::new());
    }
    let value = parse(json)?;
    Ok(match value.get("items").and_then(Value::as_array) {
        Some(items) if value.get("kind").is_some_and(|kind| kind == "List") => items.clone(),
        _ => vec![value],
    })
}

fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json)
        .map_err(|error| Error::host("kubectl-failed", "kubectl printed no JSON").because(error))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::objects;

    #[test]
    fn one_object_and_a_list_of_them_are_objects_and_all_else_is_an_error() {
        assert_eq!(objects(" \n").unwrap(), [json!(null); 0]);
        let pod = json!({ "kind": "Pod" });
        assert_eq!(objects(&pod.to_string()).unwrap(), std::slice::from_ref(&pod));
        let list = json!({ "kind": "List", "items": [pod, { "kind": "Node" }] });
        assert_eq!(objects(&list.to_string()).unwrap(), [pod, json!({ "kind": "Node" })]);
        let error = objects("Unable to connect to the server").unwrap_err();
        assert_eq!(error.code(), "kubectl-failed");
        assert!(error.chain().starts_with("kubectl printed no JSON"), "{}", error.chain());
    }
}
