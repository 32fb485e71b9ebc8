//! Deleting objects, and waiting until they are gone.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::Kubectl;
use crate::{
    Error, Result,
    api::Api,
    cmd::Output,
    pods::Pods,
    steps::manifest::{list, title},
    wait::nap,
};

/// How long pods may take to end, and with them what owns them.
const LIMIT: Duration = Duration::from_secs(45);

impl Kubectl {
    /// Let the deletion of `objects` begin; what owns pods stays until these are gone.
    pub(crate) fn begin_deleting<'a>(
        &self,
        objects: impl IntoIterator<Item = &'a Value>,
    ) -> Result<()> {
        // `kubectl delete --wait` asks for each object, five in a second.
        let args = ["delete", "--filename=-", "--ignore-not-found", "--cascade=foreground"];
        let cmd = self.cmd(&args).arg("--wait=false");
        deleted(&cmd.input(list(objects)).accept(&[0, 1]).run()?)
    }

    /// Wait for the end of `objects`, whose deletion has begun, on the way to taking
    /// the node apart: pods that do not end in time are forgotten. That is so where the pod network
    /// went first: the runtime cannot take their sandboxes down. What runs of them goes with the
    /// runtime.
    pub(crate) fn gone_with_stuck_pods(&self, objects: &[Value]) -> Result<()> {
        let stuck = staying(objects)?;
        if stuck.is_empty() {
            return Ok(());
        }
        self.forget_pods_of(&stuck)?;
        all_gone(&staying(&stuck)?)
    }

    fn forget_pods_of(&self, objects: &[Value]) -> Result<()> {
        for object in objects {
            let Some(pods) = Pods::of(object) else { continue };
            let which = match pods.selector.as_str() {
                "" => "--all".into(),
                selector => format!("--selector={selector}"),
            };
            let namespace = format!("--namespace={}", pods.namespace);
            let args = ["delete", "pods", &namespace, &which, "--force", "--grace-period=0"];
            self.cmd(&args).arg("--wait=false").run()?;
        }
        Ok(())
    }
}

/// Which of the `objects` are still being deleted when the limit has passed. One
/// that somebody made anew meanwhile is another.
fn staying(objects: &[Value]) -> Result<Vec<Value>> {
    let started = Instant::now();
    let mut going = still_going(objects)?;
    let mut pause = Duration::from_millis(50);
    loop {
        if going.is_empty() || started.elapsed() > LIMIT {
            return Ok(going);
        }
        nap(pause);
        pause = (pause * 3 / 2).min(Duration::from_millis(500));
        going = still_going(&going)?;
    }
}

/// Those of `objects` that are being deleted, as they are now.
pub(crate) fn still_going(objects: &[Value]) -> Result<Vec<Value>> {
    let mut found = Api::admin().get(objects)?;
    found.retain(is_going);
    Ok(found)
}

/// Whether an object is being deleted.
pub(crate) fn is_going(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

/// What keeps an object that is being deleted; namespaces tell what is still in them.
pub(crate) fn still_there(object: &Value) -> String {
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let said = conditions
        .filter(|condition| object["kind"] == "Namespace" && condition["status"] == "True")
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

/// A custom resource whose definition is not there (yet, or any more) is gone.
fn unknown_kind(stderr: &str) -> bool {
    stderr.lines().all(|line| {
        line.trim().is_empty()
            || line.contains("no matches for kind")
            || line.contains("ensure CRDs are installed first")
            || line.contains("NotFound")
    })
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
