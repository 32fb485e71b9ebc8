//! The network of the first node, before flanneld runs.
//!
//! Pods of one node reach each other and the API server with its share and the bridge alone;
//! flanneld adds the way to other nodes and out of the cluster. The node that makes the cluster has
//! no others yet, and flanneld comes seconds after the controller manager gave the share. So kcni
//! writes down what flanneld will write, and the pods of the add-ons start beside it: once
//! kube-proxy leads to Services, for a pod that asks one too early asks again after 30 s only.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use khost::{
    Change, Context, Result, Status, Step, Thing,
    api::Api,
    fs, http,
    static_pod::Component,
    steps::file::File,
    wait::{Awaited, Seen, until},
};
use kspec::{
    Cluster, Node,
    cluster::Flannel,
    paths::FLANNEL_SUBNET_ENV,
    state::{Cni, State as _},
};
use serde_json::Value;

use crate::{links, runtime};

/// It is this machine that answers. What leads nowhere yet is soon asked again.
const WITHIN: Duration = Duration::from_millis(50);

/// The share of a node that has never had one, and is alone in its cluster.
#[derive(Debug)]
pub(crate) struct FirstShare {
    node: String,
    pods: String,
    flannel: Flannel,
    controller_manager: String,
    /// The Service of the API server.
    service: Option<SocketAddr>,
}

impl FirstShare {
    /// For the control plane that makes the cluster.
    pub(crate) fn of(cluster: &Cluster, node: &Node) -> Self {
        Self {
            node: node.name.clone(),
            pods: cluster.network.pod_cidr.to_string(),
            flannel: cluster.network.flannel.clone(),
            controller_manager: Component::ControllerManager.url(cluster),
            service: cluster.service_address().map(|address| (address, 443).into()),
        }
    }

    /// Whether flanneld has been here, now or ever: then it is its business.
    fn has_been(context: &Context<'_>) -> bool {
        [FLANNEL_SUBNET_ENV, Cni::PATH].iter().any(|path| fs::exists(&context.host.path(path)))
    }

    /// What the cluster's nodes say of it.
    fn look(&self) -> Turn {
        let url = &self.controller_manager;
        if let Err(why) = http::takes_connections(url) {
            return Turn::NotYet(format!("the controller manager on {url}: {why}"));
        }
        match Api::admin().at("/api/v1/nodes?limit=2") {
            Ok(nodes) => turn(&nodes.unwrap_or_default(), &self.node),
            Err(error) => Turn::NotYet(error.chain()),
        }
    }

    /// This node's part of the pod network, once it has one; none where it is flanneld's turn.
    fn share(&self, context: &Context<'_>) -> Result<Option<String>> {
        let awaited = Awaited {
            id: "pod-cidr".into(),
            what: format!("a part of {} for {}", self.pods, self.node),
            limit: Duration::from_secs(120),
            look: "crictl logs $(crictl ps --all --quiet --name kube-controller-manager)".into(),
        };
        let mut share = None;
        until(context, &awaited, || {
            if Self::has_been(context) {
                return Ok(Seen::Ready);
            }
            match self.look() {
                Turn::NotYet(why) => return Ok(Seen::NotYet(why)),
                Turn::Flanneld => {}
                Turn::Ours(found) => share = Some(found),
            }
            Ok(Seen::Ready)
        })?;
        Ok(share)
    }

    /// Wait until kube-proxy leads to Services.
    fn services(&self, context: &Context<'_>) -> Result<()> {
        let Some(service) = self.service else { return Ok(()) };
        let awaited = Awaited {
            id: "kube-proxy".into(),
            what: format!("the API server's Service, {service}"),
            limit: Duration::from_secs(30),
            look: "kubectl -n kube-system describe pods -l k8s-app=kube-proxy".into(),
        };
        until(context, &awaited, || {
            Ok(match http::reach(service, WITHIN) {
                Ok(()) => Seen::Ready,
                Err(why) => Seen::NotYet(format!("kube-proxy does not lead there: {why}")),
            })
        })
    }
}

/// Whose turn it is.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    /// There are other nodes, which only flanneld knows the way to.
    Flanneld,
    /// This node is alone, and this is its part of the pod network.
    Ours(String),
    NotYet(String),
}

/// `nodes` are the first two of the cluster.
fn turn(nodes: &Value, node: &str) -> Turn {
    let nodes = nodes["items"].as_array().map_or(&[][..], Vec::as_slice);
    match nodes {
        [own] if own["metadata"]["name"] == node => match own["spec"]["podCIDR"].as_str() {
            Some(share) => Turn::Ours(share.into()),
            None => Turn::NotYet(format!("node {node} has no part of the pod network yet")),
        },
        [] => Turn::NotYet(format!("the kubelet has not registered {node}")),
        _ => Turn::Flanneld,
    }
}

/// `/run/flannel/subnet.env` as flanneld writes it (`pkg/subnet`, `WriteSubnetFile`): the first
/// address of the share is the node's.
fn subnet_env(pods: &str, share: &str, mtu: u32) -> Option<String> {
    let (address, prefix) = share.split_once('/')?;
    let own = Ipv4Addr::from(u32::from(address.parse::<Ipv4Addr>().ok()?).checked_add(1)?);
    Some(format!(
        "FLANNEL_NETWORK={pods}\nFLANNEL_SUBNET={own}/{prefix}\nFLANNEL_MTU={mtu}\n\
         FLANNEL_IPMASQ=true\n"
    ))
}

impl Step for FirstShare {
    fn id(&self) -> String {
        "first-share".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if Self::has_been(context) || links::pod_mtu(context.host, &self.flannel)?.is_none() {
            return Ok(Status::Done);
        }
        // Before there is a cluster nobody answers, and this node will be alone in it.
        if self.look() == Turn::Flanneld {
            return Ok(Status::Done);
        }
        let what = format!("create {FLANNEL_SUBNET_ENV} and {}, as flanneld will", runtime::PATH);
        Ok(Status::Differs(Change::new(what)))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // both are flannel's, and go with it
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let mtu = links::pod_mtu(context.host, &self.flannel)?;
        let (Some(mtu), Some(share)) = (mtu, self.share(context)?) else { return Ok(()) };
        if let Err(error) = self.services(context) {
            // Nothing is lost but time: flanneld writes both, and its pod waits no longer either.
            context.report.say(&format!("leaving it to flanneld: {}", error.chain()));
            return Ok(());
        }
        let env = subnet_env(&self.pods, &share, mtu).filter(|_| !Self::has_been(context));
        let Some(text) = env else { return Ok(()) };
        File::new(FLANNEL_SUBNET_ENV).text(text).apply(context)?;
        runtime::configured().apply(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use khost::{
        Context, Host,
        report::{Loudness, Report},
    };
    use kspec::Cluster;
    use serde_json::{Value, json};

    use super::{FirstShare, Turn, subnet_env, turn};

    #[test]
    fn pods_wait_for_a_service_that_leads_somewhere() {
        let (host, report) = (Host::new("/"), Report::new("kcni", false, Loudness::Quiet));
        let context = Context::new(&host, &report, Some(Duration::from_millis(200)));
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let mut first = FirstShare::of(&cluster, &cluster.nodes[0]);
        assert_eq!(first.service.unwrap().to_string(), "10.233.0.1:443");

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        first.service = Some(listener.local_addr().unwrap());
        first.services(&context).unwrap();
        drop(listener);
        let error = first.services(&context).unwrap_err();
        assert_eq!(error.code(), "timeout");
        assert!(error.chain().contains("kube-proxy does not lead there"), "{}", error.chain());
    }

    #[test]
    fn it_is_written_as_flanneld_writes_it() {
        let text = subnet_env("10.233.64.0/18", "10.233.64.0/24", 1450).unwrap();
        insta::assert_snapshot!(text, @r"
        FLANNEL_NETWORK=10.233.64.0/18
        FLANNEL_SUBNET=10.233.64.1/24
        FLANNEL_MTU=1450
        FLANNEL_IPMASQ=true
        ");
        for none in ["", "10.233.64.0", "fd00::/64", "255.255.255.255/32"] {
            assert_eq!(subnet_env("10.233.64.0/18", none, 1450), None, "{none}");
        }
    }

    #[test]
    fn only_a_node_that_is_alone_goes_first() {
        let node = |name: &str, spec: Value| json!({ "metadata": { "name": name }, "spec": spec });
        let given = || json!({ "podCIDR": "10.233.64.0/24" });
        let of = |nodes: &[Value]| turn(&json!({ "items": nodes }), "node1");
        assert_eq!(of(&[node("node1", given())]), Turn::Ours("10.233.64.0/24".into()));
        assert_eq!(of(&[node("node1", given()), node("node2", json!({}))]), Turn::Flanneld);
        assert_eq!(of(&[node("node2", given())]), Turn::Flanneld);
        for (nodes, why) in [
            (vec![], "the kubelet has not registered node1"),
            (vec![node("node1", json!({}))], "node node1 has no part of the pod network yet"),
        ] {
            assert_eq!(of(&nodes), Turn::NotYet(why.into()));
        }
    }
}
