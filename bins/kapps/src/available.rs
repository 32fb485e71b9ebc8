//! Whether the add-ons work, and why not.

use std::{cell::RefCell, rc::Rc, time::Duration};

use khost::{
    Host,
    api::Api,
    pods::{self, Meaning, Pods},
    steps::{manifest::title, wait::Wait},
    wait::{Awaited, Seen},
};
use serde_json::Value;

use crate::addon::Addon;

/// One wait for each add-on that runs something. They share what they see: where all of them
/// work, one question to the API server tells.
pub(crate) fn waits(addons: &[Addon]) -> Vec<(&'static str, Wait)> {
    let running: Vec<_> = addons.iter().map(|addon| (addon.name, runs(addon))).collect();
    let all = running.iter().flat_map(|(_, objects)| objects.clone()).collect();
    let seen = Rc::new(Cluster { all, last: RefCell::default() });
    running
        .into_iter()
        .filter(|(_, objects)| !objects.is_empty())
        .map(|(name, objects)| (name, wait(name, objects, Rc::clone(&seen))))
        .collect()
}

/// The objects whose status says whether the add-on works.
fn runs(addon: &Addon) -> Vec<Value> {
    let kinds = ["Deployment", "DaemonSet", "APIService"];
    let runs = |object: &&Value| kinds.iter().any(|kind| object["kind"] == *kind);
    addon.objects.iter().filter(runs).cloned().collect()
}

fn wait(name: &str, wanted: Vec<Value>, cluster: Rc<Cluster>) -> Wait {
    let namespace = wanted[0]["metadata"]["namespace"].as_str().unwrap_or_default();
    let awaited = Awaited {
        id: format!("{name}-available"),
        what: name.to_owned(),
        limit: Duration::from_secs(180),
        look: format!("kubectl -n {namespace} describe pods"),
    };
    Wait::new(awaited, move |context| {
        let Some((object, lacking)) = cluster.first_lacking(&wanted) else {
            return Ok(Seen::Ready);
        };
        let reason = context.explained(|| reason(context.host, object));
        Ok(Seen::NotYet(format!("{}: {lacking}{reason}", title(object))))
    })
}

/// What all add-ons run, as the cluster had it when it was last asked.
struct Cluster {
    all: Vec<Value>,
    last: RefCell<Vec<Value>>,
}

impl Cluster {
    /// The first of `wanted` that does not work, and what it lacks. What was seen working stays
    /// believed; for anything else the cluster is asked anew.
    fn first_lacking<'a>(&self, wanted: &'a [Value]) -> Option<(&'a Value, String)> {
        first_lacking(wanted, &self.last.borrow())?; // none: all of it was seen working
        match Api::admin().get(&self.all) {
            Ok(found) => *self.last.borrow_mut() = found,
            Err(error) => return wanted.first().map(|object| (object, error.chain())),
        }
        first_lacking(wanted, &self.last.borrow())
    }
}

fn first_lacking<'a>(wanted: &'a [Value], found: &[Value]) -> Option<(&'a Value, String)> {
    wanted.iter().find_map(|wanted| {
        let same =
            |found: &&Value| found["kind"] == wanted["kind"] && title(found) == title(wanted);
        match found.iter().find(same) {
            None => Some((wanted, "it does not exist".to_owned())),
            Some(found) => lacking(found).map(|lacking| (wanted, lacking)),
        }
    })
}

/// What an object of the cluster lacks to work; none when it works.
fn lacking(object: &Value) -> Option<String> {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64);
    let status = |field: &str| number(&format!("/status/{field}")).unwrap_or_default();
    if object["kind"] == "APIService" {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let available = conditions.into_iter().flatten().find(|is| is["type"] == "Available");
        return match available {
            Some(is) if is["status"] == "True" => None,
            Some(is) => Some(is["message"].as_str().unwrap_or("it is not available").to_owned()),
            None => Some("the API server has not looked at it yet".into()),
        };
    }
    if status("observedGeneration") < number("/metadata/generation").unwrap_or_default() {
        return Some("its controller has not looked at it yet".into());
    }
    let (wanted, updated, available) = if object["kind"] == "DaemonSet" {
        let wanted = status("desiredNumberScheduled");
        (wanted, status("updatedNumberScheduled"), status("numberAvailable"))
    } else {
        let wanted = number("/spec/replicas").unwrap_or(1);
        (wanted, status("updatedReplicas"), status("availableReplicas"))
    };
    if updated < wanted || available < wanted {
        return Some(format!(
            "{available} of {wanted} pods available, {updated} of the present version"
        ));
    }
    // Those of an earlier version go once the present ones are available: while they are there,
    // it is they that are.
    let earlier = status("replicas").saturating_sub(updated);
    (earlier > 0).then(|| format!("{earlier} pods of an earlier version are still needed"))
}

/// What the add-ons say (`CoreDNS` `plugin/loop`, metrics-server `pkg/scraper`).
const KNOWN: [Meaning; 2] = [
    (
        &["Loop ("],
        "CoreDNS asks itself: addons.upstream-dns or `/var/lib/k8steps/resolv.conf` names the \
         cluster's own DNS, or a server on the node's loopback; `kprep apply` writes the latter",
    ),
    (
        &["x509: ", "tls: internal error"],
        "metrics-server does not trust a kubelet: `kubectl get csr` shows what waits for \
         approval, `kapps approve` grants it to the nodes of cluster.toml",
    ),
];

/// Why, as far as its pods tell.
fn reason(host: &Host, object: &Value) -> String {
    let Some(pods) = Pods::of(object) else { return String::new() }; // an APIService has none
    format!("\n{}", pods::explained(&pods.reason(host), &KNOWN))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{KNOWN, first_lacking, lacking};

    #[test]
    fn what_add_ons_say_is_explained() {
        let explained = |said| khost::pods::explained(said, &KNOWN);
        let fatal = "[FATAL] plugin/loop: Loop (127.0.0.1:5 -> :53) detected for zone \".\"";
        assert!(explained(fatal).contains("CoreDNS asks itself"));
        assert!(explained("remote error: tls: internal error").contains("kapps approve"));
    }

    fn deployment(generation: u64, observed: u64, available: u64) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": { "name": "a", "namespace": "n", "generation": generation },
            "spec": { "replicas": 1 },
            "status": {
                "observedGeneration": observed, "updatedReplicas": 1,
                "availableReplicas": available,
            },
        })
    }

    #[test]
    fn a_deployment_works_when_its_present_pods_are_available() {
        assert_eq!(lacking(&deployment(2, 2, 1)), None);
        assert!(lacking(&deployment(2, 1, 1)).unwrap().contains("controller"));
        assert!(lacking(&deployment(2, 2, 0)).unwrap().contains("0 of 1 pods available"));
    }

    #[test]
    fn pods_of_an_earlier_version_do_not_stand_in() {
        let mut rolling = deployment(2, 2, 1);
        rolling["status"]["replicas"] = 2.into();
        assert!(lacking(&rolling).unwrap().starts_with("1 pods of an earlier version"));
        rolling["status"]["replicas"] = 1.into();
        assert_eq!(lacking(&rolling), None);
    }

    #[test]
    fn a_daemon_set_runs_on_every_node() {
        let set = |available: u64| {
            json!({ "kind": "DaemonSet", "metadata": { "generation": 1 }, "status": {
                "observedGeneration": 1, "desiredNumberScheduled": 2,
                "updatedNumberScheduled": 2, "numberAvailable": available,
            } })
        };
        assert_eq!(lacking(&set(2)), None);
        assert!(lacking(&set(1)).unwrap().starts_with("1 of 2"));
    }

    #[test]
    fn an_api_says_itself_why_it_is_not_available() {
        let api = |status: &str| {
            json!({ "kind": "APIService", "status": { "conditions": [
                { "type": "Available", "status": status, "message": "no response from 10.0.0.1" },
            ] } })
        };
        assert_eq!(lacking(&api("True")), None);
        assert_eq!(lacking(&api("False")).unwrap(), "no response from 10.0.0.1");
    }

    #[test]
    fn what_is_not_there_is_lacking() {
        let wanted = [deployment(1, 1, 1)];
        assert_eq!(first_lacking(&wanted, &wanted), None);
        assert_eq!(first_lacking(&wanted, &[]).unwrap().1, "it does not exist");
    }
}
