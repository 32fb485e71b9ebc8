//! Whether the cluster takes pods.

use std::time::Duration;

use crate::{
    api::Api,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};

/// The `default` `ServiceAccount` exists: before that no pod of a user is admitted. The controller
/// manager makes it some seconds after `kubeadm init` is done. For control planes.
pub fn pods_admitted() -> Wait {
    let awaited = Awaited {
        id: "pods-admitted".into(),
        what: "the default ServiceAccount".into(),
        limit: Duration::from_secs(120),
        look: "kubectl -n kube-system logs -l component=kube-controller-manager".into(),
    };
    Wait::new(awaited, move |_| {
        Ok(match Api::admin().at("/api/v1/namespaces/default/serviceaccounts/default") {
            Err(error) => Seen::not_yet(error.chain()),
            Ok(None) => {
                Seen::not_yet("the controller manager has not made it; `kcp check` asks it")
            }
            Ok(Some(_)) => Seen::Ready,
        })
    })
}
