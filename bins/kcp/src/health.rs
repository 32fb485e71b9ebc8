//! Waiting until the cluster knows this node.

use std::time::Duration;

use khost::{
    Context,
    api::Api,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};

/// The node is registered. Users' pods are admitted some seconds later, when the controller manager
/// has made their account; what needs that waits for it itself (`khost::admission`), so that the
/// pod network can be applied meanwhile.
pub(crate) fn registered(node: &str) -> Wait {
    let path = format!("/api/v1/nodes/{node}");
    let awaited = Awaited {
        id: "node-registered".into(),
        what: format!("node {node} in the cluster"),
        limit: Duration::from_secs(120),
        look: "journalctl -u kubelet -n 50".into(),
    };
    Wait::new(awaited, move |_: &Context<'_>| {
        Ok(match Api::admin().at(&path) {
            Err(error) => Seen::not_yet(error.chain()),
            Ok(None) => Seen::not_yet("the kubelet has not registered the node"),
            Ok(Some(_)) => Seen::Ready,
        })
    })
}
