//! A node that is no control plane: it joins, and runs the pods of users.

use std::time::Duration;

use khost::{
    Result, StepList, Tool,
    api::Api,
    steps::{program::Program, wait::Wait},
    wait::{Awaited, Seen},
};
use kspec::{
    Cluster, Node,
    state::{Artifacts, Facts, NodeState},
};

use crate::{
    endpoints, init,
    join::Join,
    join_config::{self, Joining},
    join_document, kubeconfig, kubelet, leave,
    marker::Marker,
};

/// The phase as a list.
pub(crate) fn steps(tool: &Tool, cluster: &Cluster) -> Result<StepList> {
    let node = tool.node(cluster)?;
    let facts: Facts = tool.state()?;
    let artifacts: Artifacts = tool.state()?;
    let runtime: NodeState = tool.state()?;
    let joining = Joining {
        node: node.clone(),
        address: facts.address,
        cri_socket: runtime.cri_socket,
        limit: cluster.kubeadm.init_timeout_seconds,
        patched: false,
    };
    init::refuse_a_member_of_another_cluster(&tool.host)?;
    let wanted = Marker::of_worker(&join_config::public(&joining).to_string());
    let document = join_document::kept(tool)?;
    join_document::needed(tool, &node.name, document.as_ref())?;

    let mut steps = StepList::new();
    let kubectl = khost::artifacts::program(&artifacts, "kubectl")?;
    steps.add(Program::new("kubectl", kubectl));
    steps.milestone("prepared");
    steps.add(Join { joining, wanted, cluster: cluster.clone(), facts, document, inputs: None });
    steps.add(kubeconfig::closed("kubelet"));
    steps.add(kubelet::running());
    steps.add(registered(node));
    steps.add(leave::state_of_worker(cluster, &endpoints::for_everyone(cluster)));
    steps.milestone("cluster");
    Ok(steps)
}

/// The cluster knows the node.
fn registered(node: &Node) -> Wait {
    let (name, path) = (&node.name, format!("/api/v1/nodes/{}", node.name));
    let awaited = Awaited {
        id: "node-registered".into(),
        what: format!("node {name} in the cluster"),
        limit: Duration::from_secs(120),
        look: "journalctl -u kubelet -n 50".into(),
    };
    Wait::new(awaited, move |_| {
        Ok(match Api::kubelet().at(&path) {
            Ok(Some(_)) => Seen::Ready,
            Ok(None) => Seen::not_yet("the kubelet has not registered it"),
            Err(error) => Seen::NotYet(error.chain()),
        })
    })
}
