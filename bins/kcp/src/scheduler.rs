//! The scheduler's configuration (kubespray `kubescheduler-config.yaml`).

use khost::{Error, Result};
use kspec::{Cluster, cluster::merge};
use serde_json::json;

/// Where the scheduler's pod finds it.
pub(crate) const PATH: &str = "/etc/kubernetes/kubescheduler-config.yaml";

/// No profiles, no extenders: only the leases, as kubespray has them, and what the operator says
/// in `[control-plane] scheduler-extra`.
pub(crate) fn config(cluster: &Cluster) -> Result<String> {
    let mut config = json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": { "kubeconfig": "/etc/kubernetes/scheduler.conf" },
        "leaderElection": { "leaseDuration": "15s", "renewDeadline": "10s" },
    });
    merge(&mut config, &cluster.control_plane.scheduler_extra);
    kspec::to_yaml(&config).map_err(|error| {
        Error::host("render-failed", format!("cannot write `{PATH}` as YAML")).because(error)
    })
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;
    use serde_json::json;

    #[test]
    fn it_has_kubesprays_leases_and_the_operators_profiles() {
        let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
        let extra = [("profiles".to_owned(), json!([{ "schedulerName": "packing" }]))];
        cluster.control_plane.scheduler_extra = extra.into();
        insta::assert_snapshot!(super::config(&cluster).unwrap(), @r"
        apiVersion: kubescheduler.config.k8s.io/v1
        kind: KubeSchedulerConfiguration
        clientConnection:
          kubeconfig: /etc/kubernetes/scheduler.conf
        leaderElection:
          leaseDuration: 15s
          renewDeadline: 10s
        profiles:
        - schedulerName: packing
        ");
    }
}
