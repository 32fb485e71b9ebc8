//! Deleting what a phase made in the cluster, on the way to taking the node apart.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::resume_unwind,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::place;
use crate::{
    Host, Result, api::Api, fs, kubectl::Kubectl, original::Restored, steps::containers, wait::nap,
};

/// What owns pods, and what they answer for: while an API is registered and nobody answers, no
/// namespace can be deleted.
const FIRST: [&str; 3] = ["Deployment", "DaemonSet", "APIService"];
/// How long the garbage collector may take to tell pods that they have to end.
const TOLD: Duration = Duration::from_secs(5);

/// Delete `objects`, the last made first, and wait until they and their pods are gone. Pods of those
/// that are `stateless` are given no time to end, and their namespaces, which have nothing of ours
/// in them any more, are not waited for. Without a cluster they are gone already.
pub(crate) fn delete(host: &Host, objects: &[Value], stateless: &[Value]) -> Result<Restored> {
    let admin = host.path(kspec::paths::ADMIN_CONF);
    let kubectl = Kubectl::admin();
    if !fs::exists(&admin) || !Api::admin().answers() {
        return Ok(Restored::Left("no API server answers: its objects go with it".into()));
    }
    if control_planes()? > 1 {
        return Ok(Restored::Left("they serve the other control planes, which go on".into()));
    }
    let owners = owners(stateless);
    if !owners.is_empty() {
        kubectl.begin_deleting(owners.iter().copied())?;
    }
    thread::scope(|scope| {
        let ended = scope.spawn(|| end_at_once(host, &owners));
        kubectl.begin_deleting(objects.iter().rev())?;
        ended.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    let awaited = awaited(objects, stateless);
    if !awaited.is_empty() {
        kubectl.gone_with_stuck_pods(&awaited)?;
    }
    Ok(Restored::Done)
}

/// Those of `objects` whose end is waited for. The controller does not look at a namespace until
/// five seconds after its deletion (its `namespaceDeletionGracePeriod`).
fn awaited(objects: &[Value], stateless: &[Value]) -> Vec<Value> {
    let is_namespace = |object: &&Value| object["kind"] == "Namespace";
    let own: BTreeSet<_> = stateless.iter().filter(is_namespace).map(place).collect();
    objects.iter().filter(|object| !own.contains(&place(object))).cloned().collect()
}

/// How many nodes could go on without this one.
fn control_planes() -> Result<usize> {
    let labelled = ("labelSelector", "node-role.kubernetes.io/control-plane");
    Ok(Api::admin().list("/api/v1/nodes", &[labelled])?.len())
}

/// Those of `objects` that are deleted first, the last made first.
fn owners(objects: &[Value]) -> Vec<&Value> {
    let is_first = |object: &&Value| FIRST.iter().any(|kind| object["kind"] == *kind);
    objects.iter().rev().filter(is_first).collect()
}

/// Kill what runs here of the pods of `owners`, which are being deleted, once the kubelet is told to
/// end it: `CoreDNS` answers on for five seconds, for clients that have not heard yet that it goes.
/// The kubelet would not: it hears of a shorter time only when the longer is over (Kubernetes issue
/// 83916).
fn end_at_once(host: &Host, owners: &[&Value]) -> Result<()> {
    let mut spaces: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
    for owner in owners {
        if let Some(namespace) = owner["metadata"]["namespace"].as_str() {
            spaces.entry(namespace).or_default().push(owner);
        }
    }
    for (namespace, owners) in spaces {
        let started = Instant::now();
        loop {
            let mut found = Vec::new();
            for kind in ["deployments", "daemonsets", "replicasets"] {
                let path = format!("/apis/apps/v1/namespaces/{namespace}/{kind}");
                found.extend(Api::admin().list(&path, &[])?);
            }
            let path = format!("/api/v1/namespaces/{namespace}/pods");
            found.extend(Api::admin().list(&path, &[])?);
            let pods = Ending::of(&owners, &found);
            // One that was not told would be started again.
            if pods.not_told == 0 || started.elapsed() > TOLD {
                containers::kill_pods(host, &pods.told)?;
                break;
            }
            nap(Duration::from_millis(50));
        }
    }
    Ok(())
}

/// Pods whose owners are being deleted.
#[derive(Debug, PartialEq, Eq)]
struct Ending<'a> {
    /// The UIDs of those that were told to end, and have not.
    told: Vec<&'a str>,
    /// How many have not been told.
    not_told: usize,
}

impl<'a> Ending<'a> {
    /// Those among `found` that are of `owners`, or of `ReplicaSets` of theirs.
    fn of(owners: &[&Value], found: &'a [Value]) -> Self {
        let owners: BTreeSet<_> = owners.iter().map(|owner| place(owner)).collect();
        let of_kind = |kind: &'static str| found.iter().filter(move |found| found["kind"] == kind);
        let mut uids: BTreeSet<_> =
            found.iter().filter(|found| owners.contains(&place(found))).filter_map(uid).collect();
        let replicas: Vec<_> =
            of_kind("ReplicaSet").filter(|found| is_of(found, &uids)).filter_map(uid).collect();
        uids.extend(replicas);

        let mut ending = Self { told: Vec::new(), not_told: 0 };
        for pod in of_kind("Pod").filter(|pod| is_of(pod, &uids)) {
            let phase = &pod["status"]["phase"];
            if pod["metadata"]["deletionTimestamp"].is_null() {
                ending.not_told += 1;
            } else if phase != "Succeeded" && phase != "Failed" {
                ending.told.extend(uid(pod));
            }
        }
        ending
    }
}

fn uid(object: &Value) -> Option<&str> {
    object["metadata"]["uid"].as_str()
}

/// Whether its controller is one of `uids`.
fn is_of(object: &Value, uids: &BTreeSet<&str>) -> bool {
    let references = object["metadata"]["ownerReferences"].as_array();
    references.into_iter().flatten().any(|owner| {
        owner["controller"] == true && owner["uid"].as_str().is_some_and(|uid| uids.contains(uid))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Ending, awaited, owners};

    #[test]
    fn namespaces_of_the_operator_are_waited_for() {
        let namespace = |name: &str| json!({ "kind": "Namespace", "metadata": { "name": name } });
        let service = json!({ "kind": "Service", "metadata": { "name": "a", "namespace": "a" } });
        let stateless = [namespace("a"), service.clone()];
        let own = [namespace("b")];
        let all = [&stateless[..], &own].concat();
        assert_eq!(awaited(&all, &stateless), [service, own[0].clone()]);
        assert!(owners(&all).is_empty());
    }

    fn object(kind: &str, name: &str, owner: &str) -> Value {
        let group = if kind == "Pod" { "v1" } else { "apps/v1" };
        json!({
            "apiVersion": group, "kind": kind,
            "metadata": {
                "name": name, "namespace": "n", "uid": format!("{kind}-{name}"),
                "ownerReferences": [{ "controller": true, "uid": owner }],
            },
        })
    }

    fn pod(name: &str, owner: &str, is_told: bool, phase: &str) -> Value {
        let mut pod = object("Pod", name, owner);
        pod["status"]["phase"] = phase.into();
        if is_told {
            pod["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z".into();
        }
        pod
    }

    #[test]
    fn pods_of_ours_that_were_told_to_end_are_ended_and_no_others() {
        let owner = |kind: &str, name: &str| {
            let metadata = json!({ "name": name, "namespace": "n" });
            json!({ "apiVersion": "apps/v1", "kind": kind, "metadata": metadata })
        };
        let owners = [&owner("Deployment", "d"), &owner("DaemonSet", "s")];
        let mut found = vec![
            object("Deployment", "d", ""),
            object("Deployment", "others", ""),
            object("DaemonSet", "s", ""),
            object("ReplicaSet", "d-1", "Deployment-d"),
            object("ReplicaSet", "others-1", "Deployment-others"),
            pod("running", "ReplicaSet-d-1", true, "Running"),
            pod("starting", "DaemonSet-s", true, "Pending"),
            pod("ended", "ReplicaSet-d-1", true, "Succeeded"),
            pod("failed", "ReplicaSet-d-1", true, "Failed"),
            pod("of-others", "ReplicaSet-others-1", true, "Running"),
            pod("alone", "", true, "Running"),
        ];
        let told = vec!["Pod-running", "Pod-starting"];
        assert_eq!(Ending::of(&owners, &found), Ending { told: told.clone(), not_told: 0 });

        found.push(pod("not-told", "DaemonSet-s", false, "Running"));
        found.push(pod("not-told-of-others", "ReplicaSet-others-1", false, "Running"));
        assert_eq!(Ending::of(&owners, &found), Ending { told, not_told: 1 });

        // Who owned them is gone: nothing tells whose they are.
        let none = Ending { told: Vec::new(), not_told: 0 };
        assert_eq!(Ending::of(&[&owner("Deployment", "gone")], &found), none);
    }
}
