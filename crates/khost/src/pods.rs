//! Why pods do not run, in words: what the API server knows of them, and what they said last.

mod meaning;

use std::{path::PathBuf, time::SystemTime};

use serde_json::Value;

pub use meaning::{Meaning, explained};

use crate::{Host, api::Api, fs, kubectl::Kubectl};

/// Where kubelet keeps what containers say: `NAMESPACE_POD_UID/CONTAINER/RESTARTS.log`.
const LOG_DIR: &str = "/var/log/pods";
const LINES: usize = 3;

/// Some pods.
#[derive(Debug, Clone)]
pub struct Pods {
    /// Their namespace.
    pub namespace: String,
    /// Their labels, as `kubectl --selector` takes them.
    pub selector: String,
    /// Only those on this node.
    pub node: Option<String>,
}

impl Pods {
    /// Those that `object` runs: of a namespace all that are in it, of anything else those it selects
    /// (`spec.selector.matchLabels`). None where it has no pods of its own.
    pub fn of(object: &Value) -> Option<Self> {
        let metadata = &object["metadata"];
        let selects = object.pointer("/spec/selector/matchLabels").and_then(Value::as_object);
        let (namespace, selector) = if object["kind"] == "Namespace" {
            (metadata["name"].as_str()?, String::new())
        } else {
            let labels = selects.filter(|labels| !labels.is_empty())?;
            let pairs = labels
                .iter()
                .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()));
            let namespace = metadata["namespace"].as_str().unwrap_or("default");
            (namespace, pairs.collect::<Vec<_>>().join(","))
        };
        Some(Self { namespace: namespace.into(), selector, node: None })
    }

    /// What keeps them from being ready: phase, state of the containers, last warning, last words.
    /// Always says something; what cannot be found out is said as well.
    pub fn reason(&self, host: &Host) -> String {
        let pods = match self.get() {
            Ok(pods) => pods,
            Err(error) => return error.chain(),
        };
        let Some(pod) = pods.iter().find(|pod| !is_ready(pod)).or(pods.first()) else {
            return match self.creation_failed() {
                Some(event) => format!("it has no pod yet, last event: {event}"),
                None => "it has no pod yet".into(),
            };
        };
        let mut words = vec![state(pod)];
        words.extend(self.last_warning(pod));
        words.extend(last_words(host, pod));
        words.join("\n")
    }

    /// All of them, as the API server has them.
    pub fn get(&self) -> crate::Result<Vec<Value>> {
        let on = self.node.as_ref().map(|node| format!("spec.nodeName={node}"));
        let mut selectors = vec![("labelSelector", self.selector.as_str())];
        selectors.extend(on.as_deref().map(|on| ("fieldSelector", on)));
        Api::here().list(&format!("/api/v1/namespaces/{}/pods", self.namespace), &selectors)
    }

    fn last_warning(&self, pod: &Value) -> Option<String> {
        let name = text(pod, "/metadata/name");
        let event = self.last_event(&format!("involvedObject.name={name},type=Warning"))?;
        Some(format!("last event: {}: {}", text(&event, "/reason"), text(&event, "/message")))
    }

    /// Why no pod is made: what the namespace's controllers failed at last, as they do where a
    /// quota, an account that is missing or an admission stands in the way.
    fn creation_failed(&self) -> Option<String> {
        let event = self.last_event("reason=FailedCreate,type=Warning")?;
        let of = |pointer| text(&event, pointer);
        let (kind, name) = (of("/involvedObject/kind"), of("/involvedObject/name"));
        Some(format!("{kind} {name}: {}", of("/message")))
    }

    fn last_event(&self, fields: &str) -> Option<Value> {
        let path = format!("/api/v1/namespaces/{}/events", self.namespace);
        let found = Api::here().list(&path, &[("fieldSelector", fields)]).ok()?;
        found.into_iter().max_by_key(|event| text(event, "/metadata/creationTimestamp").to_owned())
    }
}

/// Whether the pod serves.
pub fn is_ready(pod: &Value) -> bool {
    conditions(pod)
        .iter()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// `pod NAME is PHASE`, and what is to be said of its scheduling and its containers.
fn state(pod: &Value) -> String {
    let (name, phase) = (text(pod, "/metadata/name"), text(pod, "/status/phase"));
    let mut parts = vec![format!("pod {name} is {phase}")];
    // The time is that of the request and what it was given together (Kubernetes API, ObjectMeta).
    let end = pod.pointer("/metadata/deletionTimestamp").and_then(Value::as_str);
    parts.extend(end.map(|end| format!("told to end by {end}")));
    let unscheduled = conditions(pod)
        .iter()
        .filter(|condition| condition["type"] == "PodScheduled" && condition["status"] == "False");
    parts.extend(
        unscheduled.map(|condition| format!("not scheduled: {}", text(condition, "/message"))),
    );
    for container in containers(pod).filter(|container| !is_done(container)) {
        let name = text(container, "/name");
        parts.push(match state_of(container) {
            None => format!("container {name} runs and is not ready"),
            Some((kind, about)) => {
                let reason = text(about, "/reason");
                let code = about["exitCode"].as_i64().map(|code| format!(" with code {code}"));
                format!("container {name} {kind}: {reason}{}", code.unwrap_or_default())
            }
        });
        let message = state_of(container).map_or("", |(_, about)| text(about, "/message"));
        if !message.is_empty() {
            parts.push(message.to_owned());
        }
        match container["restartCount"].as_u64() {
            None | Some(0) => {}
            Some(count) => parts.push(format!("restarted {count} times")),
        }
    }
    parts.join(", ")
}

/// What a container that does not run waits for, or how it ended.
fn state_of(container: &Value) -> Option<(&'static str, &Value)> {
    let about = |kind: &str| container["state"].get(kind);
    about("waiting")
        .map(|about| ("waits", about))
        .or(about("terminated").map(|about| ("ended", about)))
}

/// Ready, or an init container that did its work.
fn is_done(container: &Value) -> bool {
    container["ready"] == true || container.pointer("/state/terminated/exitCode") == Some(&0.into())
}

/// The last lines of the first container that is not ready, as kubelet keeps them; for a pod on
/// another node, as the API server gets them.
fn last_words(host: &Host, pod: &Value) -> Option<String> {
    let container = text(containers(pod).find(|container| !is_done(container))?, "/name");
    let name = text(pod, "/metadata/name");
    let namespace = text(pod, "/metadata/namespace");
    let dir = format!("{LOG_DIR}/{namespace}_{name}_{}/{container}", text(pod, "/metadata/uid"));
    let said = if let Some(log) = newest(&host.path(dir)) {
        fs::read_text(&log).ok()??.lines().map(message).collect::<Vec<_>>().join("\n")
    } else {
        let (namespace, tail) = (format!("--namespace={namespace}"), format!("--tail={LINES}"));
        let args = ["logs", name, "--container", container, &namespace, &tail];
        Kubectl::here().cmd(&args).run().ok()?.stdout
    };
    let lines: Vec<_> = said.trim_end().lines().collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    (!last.is_empty()).then(|| format!("{container} said last:\n{last}"))
}

fn newest(dir: &std::path::Path) -> Option<PathBuf> {
    let mut logs: Vec<(SystemTime, PathBuf)> = Vec::new();
    let paths = fs::names(dir).ok()?.into_iter().map(|name| dir.join(name));
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == "log")) {
        let written = std::fs::metadata(&path).and_then(|file| file.modified());
        logs.extend(written.ok().map(|at| (at, path)));
    }
    logs.into_iter().max().map(|(_, path)| path)
}

/// The message of a CRI log line: `TIME STREAM TAG MESSAGE`.
fn message(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or(line)
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["/status/initContainerStatuses", "/status/containerStatuses"]
        .into_iter()
        .filter_map(|pointer| pod.pointer(pointer)?.as_array())
        .flatten()
}

fn conditions(object: &Value) -> &[Value] {
    object.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Pods, is_ready, last_words, state};
    use crate::Host;

    #[test]
    fn scheduling_and_containers_are_told() {
        let pod = json!({
            "metadata": { "name": "coredns-1" },
            "status": {
                "phase": "Pending",
                "conditions": [{
                    "type": "PodScheduled", "status": "False",
                    "message": "0/1 nodes are available: 1 node(s) had untolerated taint",
                }],
            },
        });
        assert_eq!(
            state(&pod),
            "pod coredns-1 is Pending, not scheduled: 0/1 nodes are available: \
             1 node(s) had untolerated taint"
        );
        let pod = json!({
            "metadata": { "name": "flannel-1" },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "False" }],
                "initContainerStatuses": [{
                    "name": "cni", "ready": false, "state": { "terminated": { "exitCode": 0 } },
                }],
                "containerStatuses": [{
                    "name": "flannel", "ready": false, "restartCount": 2,
                    "state": { "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s" } },
                }],
            },
        });
        assert!(!is_ready(&pod));
        assert_eq!(
            state(&pod),
            "pod flannel-1 is Running, container flannel waits: CrashLoopBackOff, \
             back-off 20s, restarted 2 times"
        );
    }

    #[test]
    fn a_pod_that_ends_says_by_when() {
        let pod = json!({
            "metadata": { "name": "p", "deletionTimestamp": "2026-01-02T03:04:05Z" },
            "status": { "phase": "Running" },
        });
        assert_eq!(state(&pod), "pod p is Running, told to end by 2026-01-02T03:04:05Z");
    }

    #[test]
    fn whose_pods_they_are() {
        let of = |object| Pods::of(&object).map(|pods| (pods.namespace, pods.selector));
        let labels = json!({ "selector": { "matchLabels": { "a": "1", "b": "2" } } });
        let set = json!({ "kind": "DaemonSet", "metadata": { "namespace": "n" }, "spec": labels });
        assert_eq!(of(set), Some(("n".into(), "a=1,b=2".into())));
        let space = json!({ "kind": "Namespace", "metadata": { "name": "n" } });
        assert_eq!(of(space), Some(("n".into(), String::new())));
        // A Service selects pods that are not its own; nothing selects all pods there are.
        let service = json!({ "kind": "Service", "spec": { "selector": { "a": "1" } } });
        assert_eq!(of(service), None);
        let all = json!({ "kind": "Deployment", "spec": { "selector": { "matchLabels": {} } } });
        assert_eq!(of(all), None);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "kubelet's hand, in a test")]
    fn the_last_words_are_the_newest_logs_last_lines() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let pod = json!({
            "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "status": { "containerStatuses": [{ "name": "c", "ready": false }] },
        });
        let dir = host.path("/var/log/pods/n_p_u/c");
        std::fs::create_dir_all(&dir).unwrap();
        let lines: Vec<_> =
            (0..5).map(|n| format!("2026-01-02T03:04:05Z stderr F l {n}\n")).collect();
        std::fs::write(dir.join("0.log"), lines.concat()).unwrap();
        assert_eq!(last_words(&host, &pod).unwrap(), "c said last:\nl 2\nl 3\nl 4");
    }
}
