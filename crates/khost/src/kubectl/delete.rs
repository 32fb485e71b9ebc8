//! Deleting objects, and waiting until they are gone.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Kubectl, unknown_kind};
use crate::{
    Error, Result,
    cmd::Output,
    steps::manifest::{list, title},
    wait::nap,
};

/// How long pods may take to end, and with them what owns them.
const LIMIT: Duration = Duration::from_secs(45);

impl Kubectl {
    /// Delete the objects of `manifest`, and wait until they and the pods they had are gone:
    /// a pod that still runs would bring back what it keeps on the node.
    pub fn delete(&self, manifest: &str) -> Result<()> {
        self.begin_deleting(manifest)?;
        all_gone(&self.staying(manifest)?)
    }

    /// Let the deletion of the objects of `manifest` begin; what owns pods stays until these are
    /// gone.
    pub(crate) fn begin_deleting(&self, manifest: &str) -> Result<()> {
        // `kubectl delete --wait` asks for each object, five in a second.
        let args = ["delete", "--filename=-", "--ignore-not-found", "--cascade=foreground"];
        let cmd = self.cmd(&args).arg("--wait=false");
        deleted(&cmd.input(manifest).accept(&[0, 1]).run()?)
    }

    /// Wait for the end of the objects of `manifest`, whose deletion has begun, on the way to taking
    /// the node apart: pods that do not end in time are forgotten. That is so where the pod network
    /// went first: the runtime cannot take their sandboxes down. What runs of them goes with the
    /// runtime.
    pub(crate) fn gone_with_stuck_pods(&self, manifest: &str) -> Result<()> {
        let stuck = self.staying(manifest)?;
        if stuck.is_empty() {
            return Ok(());
        }
        self.forget_pods_of(&stuck)?;
        all_gone(&self.staying(&list(&stuck))?)
    }

    /// Which of the objects of `manifest` are still being deleted when the limit has passed. One
    /// that somebody made anew meanwhile is another.
    fn staying(&self, manifest: &str) -> Result<Vec<Value>> {
        let started = Instant::now();
        let mut asked = manifest.to_owned();
        let mut pause = Duration::from_millis(50);
        loop {
            let going: Vec<_> = self.get(&asked)?.into_iter().filter(is_going).collect();
            if going.is_empty() || started.elapsed() > LIMIT {
                return Ok(going);
            }
            asked = list(&going);
            nap(pause);
            pause = (pause * 3 / 2).min(Duration::from_millis(500));
        }
    }

    fn forget_pods_of(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let labels = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
            let Some(labels) = labels.filter(|labels| !labels.is_empty()) else { continue };
            let pairs: Vec<_> = labels
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
                .collect();
            let selector = format!("--selector={}", pairs.join(","));
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            let namespace = format!("--namespace={namespace}");
            let args = ["delete", "pods", &namespace, &selector, "--force", "--grace-period=0"];
            self.cmd(&args).arg("--wait=false").run()?;
        }
        Ok(())
    }
}

/// Whether an object is being deleted.
pub(crate) fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// What keeps an object that is being deleted; namespaces tell what is still in them.
pub(crate) fn still_there(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let said = conditions
        .filter(|condition| condition["status"] == "True")
        .filter_map(|condition| condition["message"].as_str());
    let what = format!("{} is being deleted, and is still there", title(object));
    std::iter::once(what.as_str()).chain(said).collect::<Vec<_>>().join(": ")
}

fn all_gone(staying: &[Value]) -> Result<()> {
    if staying.is_empty() {
        return Ok(());
    }
    let why: Vec<_> = staying.iter().map(still_there).collect();
    Err(failed().because(why.join("\n")).hint("see what it waits for: `kubectl get pods -A`"))
}

/// Whether `kubectl delete` did it, or had nothing to do.
fn deleted(output: &Output) -> Result<()> {
    if output.code != 0 && !unknown_kind(&output.stderr) {
        return Err(failed().because(output.stderr.trim().to_owned()));
    }
    Ok(())
}

fn failed() -> Error {
    Error::host("kubectl-failed", "cannot delete from the cluster")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{all_gone, deleted, is_going, still_there};
    use crate::cmd::Output;

    #[test]
    fn what_is_not_there_needs_no_deleting_and_a_refusal_is_told() {
        let ended = |code, stderr: &str| {
            deleted(&Output { code, stdout: String::new(), stderr: stderr.into() })
        };
        ended(0, "").unwrap();
        ended(1, "error: no matches for kind \"Tree\" in version \"example.org/v1\"\n").unwrap();
        let error = ended(1, "Error from server (Forbidden): no\n").unwrap_err();
        assert_eq!(error.code(), "kubectl-failed");
        assert!(error.chain().contains("(Forbidden): no"), "{}", error.chain());
    }

    #[test]
    fn a_namespace_that_stays_tells_what_is_in_it() {
        let mut namespace = json!({ "kind": "Namespace", "metadata": { "name": "a" } });
        assert!(!is_going(&namespace));
        namespace["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        assert!(is_going(&namespace));
        let words = "Namespace a is being deleted, and is still there";
        assert_eq!(still_there(&namespace), words);
        namespace["status"]["conditions"] = json!([
            { "status": "False", "message": "All resources successfully discovered" },
            { "status": "True", "message": "Some resources are remaining: pods." },
        ]);
        let words = format!("{words}: Some resources are remaining: pods.");
        assert_eq!(still_there(&namespace), words);
        all_gone(&[]).unwrap();
        let error = all_gone(&[namespace]).unwrap_err();
        assert_eq!(error.chain(), format!("cannot delete from the cluster: {words}"));
    }
}
