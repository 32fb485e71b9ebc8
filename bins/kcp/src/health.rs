//! Waiting until the control plane works.

use std::{net::SocketAddr, time::Duration};

use khost::{
    Context, Host, Result, fs,
    http::{self, Trust},
    kubectl::Kubectl,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};
use kspec::paths::KUBE_CERT_DIR;
use serde_json::{Value, json};

use crate::{endpoints::own_address, inputs::Inputs, last_words};

/// The API server says it is ready, with a certificate of the cluster's authority.
pub(crate) fn api_server(inputs: &Inputs) -> Wait {
    let url = format!("{}/readyz", inputs.local);
    let awaited = awaited("api-server-ready", format!("the API server on {url}"), 180);
    Wait::new(awaited, move |context| {
        let ca = fs::read(&context.host.path(format!("{KUBE_CERT_DIR}/ca.crt")))?;
        Ok(match ca {
            Some(_) => ask(context.host, &Trust { ca, identity: None }, &url, "kube-apiserver")?,
            None => Seen::not_yet("the cluster has no certificates yet"),
        })
    })
}

/// Controller manager and scheduler are healthy. Both make themselves a certificate at their
/// start, so there is no authority to ask for.
pub(crate) fn helpers(inputs: &Inputs) -> [Wait; 2] {
    let given = &inputs.cluster.control_plane;
    [
        ("kube-controller-manager", "controller manager", &given.controller_manager_args, 10257),
        ("kube-scheduler", "scheduler", &given.scheduler_args, 10259),
    ]
    .map(|(pod, name, args, port)| {
        let address = SocketAddr::new(own_address(args.get("bind-address")), port);
        let url = format!("https://{address}/healthz");
        let awaited = awaited(&format!("{pod}-healthy"), format!("the {name} on {url}"), 120);
        Wait::new(awaited, move |context| ask(context.host, &Trust::default(), &url, pod))
    })
}

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
    let what = format!("node {node} and the default ServiceAccount");
    Wait::new(awaited("pods-admitted", what, 120), move |_: &Context<'_>| {
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

fn awaited(id: &str, what: String, seconds: u64) -> Awaited {
    Awaited {
        id: id.into(),
        what,
        limit: Duration::from_secs(seconds),
        look: "journalctl -u kubelet -n 50".into(),
    }
}

/// One question; when there is no good answer, also what the container said last.
fn ask(host: &Host, trust: &Trust, url: &str, pod: &str) -> Result<Seen> {
    let seen = match http::get(&http::client(trust)?, url) {
        Ok(answer) if answer.status == 200 => return Ok(Seen::Ready),
        Ok(answer) => format!("it answers {}: {}", answer.status, failing(&answer.body)),
        Err(reason) => reason,
    };
    let words = last_words::of_any(host, &[pod]);
    Ok(Seen::NotYet(words.map_or(seen.clone(), |words| format!("{seen}\n{words}"))))
}

/// The checks that fail in a list such as `[-]etcd failed: reason withheld`, or all of it.
fn failing(body: &str) -> String {
    let failing: Vec<_> = body.lines().filter(|line| line.starts_with("[-]")).collect();
    if failing.is_empty() { body.trim().to_owned() } else { failing.join(", ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{failing, lacking};

    #[test]
    fn what_is_lacking_is_told_with_who_should_have_made_it() {
        let node = json!({ "kind": "Node" });
        let account = json!({ "kind": "ServiceAccount" });
        assert!(lacking(&[]).unwrap().contains("kubelet"));
        assert!(lacking(std::slice::from_ref(&node)).unwrap().contains("controller manager"));
        assert_eq!(lacking(&[node, account]), None);
    }

    #[test]
    fn only_failing_checks_are_told() {
        let body = "[+]ping ok\n[-]etcd failed: reason withheld\nreadyz check failed\n";
        assert_eq!(failing(body), "[-]etcd failed: reason withheld");
        assert_eq!(failing("Unauthorized\n"), "Unauthorized");
    }
}
