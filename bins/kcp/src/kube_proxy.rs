//! kube-proxy: its part of kubeadm's configuration, and that it follows it.

mod follows;

use kspec::{cluster::merge, state::Facts};
use serde_json::{Value, json};

use crate::inputs::Inputs;
pub(crate) use follows::{Follows, note, read_at};

/// kubespray's `KubeProxyConfiguration`, adapted to what the machine allows, with
/// `[kube-proxy] extra` merged over it.
pub(crate) fn config(inputs: &Inputs) -> Value {
    let cluster = &inputs.cluster;
    let any = if cluster.network.service_cidr.is_v4() { "0.0.0.0" } else { "::" };
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": any,
        "clientConnection": {
            "acceptContentTypes": "",
            "burst": 10,
            "contentType": "application/vnd.kubernetes.protobuf",
            "kubeconfig": "",
            "qps": 5,
        },
        "clusterCIDR": cluster.network.pod_cidr,
        "configSyncPeriod": "15m0s",
        "conntrack": conntrack(&inputs.facts),
        "enableProfiling": false,
        "healthzBindAddress": if any == "::" { "[::]:10256" } else { "0.0.0.0:10256" },
        "hostnameOverride": inputs.node.name,
        "iptables": {
            "masqueradeAll": false,
            "masqueradeBit": 14,
            "minSyncPeriod": "0s",
            "syncPeriod": "30s",
        },
        "ipvs": {
            "excludeCIDRs": [],
            "minSyncPeriod": "0s",
            "scheduler": "rr",
            "syncPeriod": "30s",
            "strictARP": false,
            "tcpTimeout": "0s",
            "tcpFinTimeout": "0s",
            "udpTimeout": "0s",
        },
        "metricsBindAddress": "127.0.0.1:10249",
        "mode": cluster.kube_proxy.mode,
        "nodePortAddresses": [],
        "oomScoreAdj": oom_score(&inputs.facts),
        "portRange": "",
    });
    merge(&mut config, &cluster.kube_proxy.extra);
    config
}

/// Where the limits cannot be written, kube-proxy must not try: it would end with an error.
/// Zero means "leave as it is".
fn conntrack(facts: &Facts) -> Value {
    if facts.kernel.conntrack_writable {
        json!({
            "maxPerCore": 32768,
            "min": 131_072,
            "tcpCloseWaitTimeout": "1h0m0s",
            "tcpEstablishedTimeout": "24h0m0s",
        })
    } else {
        json!({
            "maxPerCore": 0,
            "min": 0,
            "tcpCloseWaitTimeout": "0s",
            "tcpEstablishedTimeout": "0s",
        })
    }
}

/// Without `CAP_SYS_RESOURCE` the score cannot be lowered.
fn oom_score(facts: &Facts) -> i32 {
    if facts.capabilities.sys_resource { -999 } else { 0 }
}
