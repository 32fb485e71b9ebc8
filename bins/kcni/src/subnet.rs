//! This node's share of the pod network, which flanneld writes down once it has it.

use std::{collections::BTreeMap, time::Duration};

use khost::{
    Context, Host, Result, Tool,
    api::Api,
    fs,
    pods::{self, Pods},
    steps::{deferred::Deferred, wait::Wait},
    wait::{Awaited, Seen},
};
use kspec::{
    Cidr,
    paths::FLANNEL_SUBNET_ENV,
    state::{Cni, State as _},
};
use serde_json::Value;

use crate::reason;

/// Where the API has flannel's `DaemonSet`.
const DAEMON_SET: &str = "/apis/apps/v1/namespaces/kube-system/daemonsets/kube-flannel";

/// What flanneld wrote: `FLANNEL_NETWORK`, `FLANNEL_SUBNET`, `FLANNEL_MTU`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Share {
    network: String,
    subnet: String,
    pub(crate) mtu: u32,
}

impl Share {
    /// `text` is `/run/flannel/subnet.env`; the error says in what it does not fit.
    fn parse(text: &str, pods: &Cidr) -> Result<Self, String> {
        let values: BTreeMap<_, _> =
            text.lines().filter_map(|line| line.trim().split_once('=')).collect();
        let value = |key: &str| {
            values.get(key).copied().ok_or(format!("{FLANNEL_SUBNET_ENV} has no {key} yet"))
        };
        let (network, subnet) = (value("FLANNEL_NETWORK")?, value("FLANNEL_SUBNET")?);
        let mtu = value("FLANNEL_MTU")?.parse();
        let mtu = mtu.map_err(|_| format!("{FLANNEL_SUBNET_ENV} has no usable FLANNEL_MTU"))?;
        let address = subnet.split('/').next().and_then(|address| address.parse().ok());
        if network != pods.to_string() || !address.is_some_and(|address| pods.contains(address)) {
            return Err(format!(
                "{FLANNEL_SUBNET_ENV} gives {subnet} of {network}, which is not of {pods}"
            ));
        }
        Ok(Self { network: network.into(), subnet: subnet.into(), mtu })
    }

    /// This node's, or in what it is lacking.
    pub(crate) fn read(host: &Host, pods: &Cidr) -> Result<Result<Self, String>> {
        let text = fs::read_text(&host.path(FLANNEL_SUBNET_ENV))?;
        Ok(text
            .ok_or(format!("there is no {FLANNEL_SUBNET_ENV} yet"))
            .and_then(|text| Self::parse(&text, pods)))
    }
}

/// flannel has given this node its share, and its pod is the present one and ready: then the
/// container runtime has its configuration, too (see the template).
pub(crate) fn given(pods: &Cidr, node: &str) -> Wait {
    let pods = *pods;
    let own = Pods {
        namespace: "kube-system".into(),
        selector: "app=flannel".into(),
        node: Some(node.into()),
    };
    let awaited = Awaited {
        id: "flannel-subnet".into(),
        what: format!("this node's share of {pods}"),
        limit: Duration::from_secs(120),
        look: "kubectl -n kube-system describe pods -l app=flannel".into(),
    };
    Wait::new(awaited, move |context| {
        let lacking = match Share::read(context.host, &pods)? {
            Err(reason) => reason,
            Ok(_) if is_present(&own) => return Ok(Seen::Ready),
            Ok(_) => "flannel's pod is not ready, or of an earlier configuration".into(),
        };
        let why = || format!("\n{}", pods::explained(&own.reason(context.host), &reason::KNOWN));
        Ok(Seen::NotYet(format!("{lacking}{}", context.explained(why))))
    })
}

/// Whether the pod is ready and made from the `DaemonSet` as it is now. A worker may look at the
/// pod only.
fn is_present(own: &Pods) -> bool {
    if !Api::is_admin() {
        return own.get().is_ok_and(|pods| pods.iter().any(pods::is_ready));
    }
    let (Ok(Some(set)), Ok(found)) = (Api::admin().at(DAEMON_SET), own.get()) else { return false };
    serves(&set, &found)
}

/// Whether one of `pods` is ready, and of the generation of `set`.
fn serves(set: &Value, pods: &[Value]) -> bool {
    let generation = &set["metadata"]["annotations"]["deprecated.daemonset.template.generation"];
    pods.iter().any(|pod| {
        pod["metadata"]["labels"]["pod-template-generation"] == *generation && pods::is_ready(pod)
    })
}

/// `cni.json`, once flanneld has written down what it says.
pub(crate) fn state(pods: &Cidr, version: String) -> Deferred {
    let pods = *pods;
    Deferred::new(Cni::PATH, move |context: &Context<'_>| {
        let Ok(share) = Share::read(context.host, &pods)? else { return Ok(None) };
        Tool::leave(&Cni {
            schema: kspec::SCHEMA,
            plugin: "flannel".into(),
            version: version.clone(),
            network: share.network,
            subnet: share.subnet,
            mtu: share.mtu,
        })
        .map(Some)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Share, serves};

    const ENV: &str = "FLANNEL_NETWORK=10.233.64.0/18\nFLANNEL_SUBNET=10.233.64.1/24\n\
                       FLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n";

    #[test]
    fn what_flanneld_writes_is_read() {
        let share = Share::parse(ENV, &"10.233.64.0/18".parse().unwrap()).unwrap();
        let expected =
            Share { network: "10.233.64.0/18".into(), subnet: "10.233.64.1/24".into(), mtu: 1450 };
        assert_eq!(share, expected);
    }

    #[test]
    fn another_network_or_half_a_file_is_not_it() {
        let pods = "10.1.0.0/16".parse().unwrap();
        let reason = Share::parse(ENV, &pods).unwrap_err();
        assert!(reason.contains("10.233.64.1/24") && reason.contains("10.1.0.0/16"), "{reason}");
        let reason = Share::parse("FLANNEL_NETWORK=10.1.0.0/16\n", &pods).unwrap_err();
        assert!(reason.ends_with("has no FLANNEL_SUBNET yet"), "{reason}");
    }

    #[test]
    fn only_a_ready_pod_of_the_present_configuration_counts() {
        let found = |generation: &str, ready: &str| {
            let set = json!({ "metadata": { "annotations": {
                "deprecated.daemonset.template.generation": "2",
            } } });
            let pod = json!({
                "metadata": { "labels": { "pod-template-generation": generation } },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            });
            serves(&set, &[pod])
        };
        assert!(found("2", "True"));
        assert!(!found("1", "True"));
        assert!(!found("2", "False"));
    }
}
