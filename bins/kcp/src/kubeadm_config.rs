//! kubeadm's configuration: `/etc/kubernetes/kubeadm-config.yaml`, as kubespray writes it
//! (`kubeadm-config.v1beta4.yaml.j2`), for kubeadm 1.31 and later.

use std::{collections::BTreeMap, time::Duration};

use khost::{Error, Result};
use kspec::{Node, Role, paths, state::Family};
use serde_json::{Value, json};

use crate::{endpoints::PORT, inputs::Inputs, kube_proxy, patches, scheduler};

/// kubespray's place for it.
pub(crate) const PATH: &str = "/etc/kubernetes/kubeadm-config.yaml";

/// All documents. kubespray's fourth, `UpgradeConfiguration`, is left out: `kubeadm init` warns
/// that it ignores it.
pub(crate) fn render(inputs: &Inputs) -> Result<String> {
    let dns = inputs.cluster.cluster_dns().map(|address| address.to_string());
    let documents = [
        init(inputs),
        cluster(inputs),
        kube_proxy::config(inputs),
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "clusterDNS": [dns],
        }),
    ];
    let documents: Result<Vec<_>, _> = documents.iter().map(kspec::to_yaml).collect();
    let documents = documents.map_err(|error| {
        Error::host("render-failed", format!("cannot write `{PATH}` as YAML")).because(error)
    })?;
    Ok(documents.join("---\n"))
}

fn init(inputs: &Inputs) -> Value {
    // kubeadm gives up by itself, and says why, before it would be killed.
    let patience = patience(inputs.cluster.kubeadm.init_timeout_seconds);
    let mut init = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": { "advertiseAddress": inputs.facts.address, "bindPort": PORT },
        "nodeRegistration": {
            "name": inputs.node.name,
            "criSocket": inputs.runtime.cri_socket,
            "imagePullPolicy": "IfNotPresent",
            "imagePullSerial": true,
            "taints": taints(&inputs.node),
        },
        "timeouts": {
            "controlPlaneComponentHealthCheck": patience,
            "kubeletHealthCheck": patience,
        },
    });
    if patches::needed(&inputs.facts) {
        init["patches"] = json!({ "directory": patches::DIR });
    }
    init
}

/// Taints that kubeadm registers a node with; those of cluster.toml follow.
pub(crate) fn taints(node: &Node) -> Value {
    if node.is(Role::Worker) {
        json!([]) // the pods of users run here as well
    } else {
        json!([{ "key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule" }])
    }
}

/// How long kubeadm waits for one thing when it has `limit` seconds for all.
pub(crate) fn patience(limit: u64) -> String {
    go_duration(Duration::from_secs(limit * 4 / 5))
}

/// `ClusterConfiguration`.
pub(crate) fn cluster(inputs: &Inputs) -> Value {
    let (cluster, etcd) = (&inputs.cluster, &inputs.etcd);
    let given = &cluster.control_plane;
    let api_server = args(&api_server_args(inputs), &given.api_server_args);
    let controller_manager = args(&controller_manager_args(inputs), &given.controller_manager_args);
    let scheduler = args(&scheduler_args(), &given.scheduler_args);
    let scheduler_config = json!([{
        "name": "kubescheduler-config",
        "hostPath": scheduler::PATH,
        "mountPath": scheduler::PATH,
        "readOnly": true,
    }]);
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": cluster.kubernetes.cluster_name,
        "encryptionAlgorithm": "RSA-2048",
        "certificateValidityPeriod": "8760h0m0s",
        "caCertificateValidityPeriod": "87600h0m0s",
        "etcd": { "external": {
            "endpoints": etcd.endpoints,
            "caFile": inputs.etcd_ca.cert,
            "certFile": inputs.etcd_client.cert,
            "keyFile": inputs.etcd_client.key,
        } },
        "dns": { "disabled": true }, // kapps installs CoreDNS
        "networking": {
            "dnsDomain": cluster.kubernetes.dns_domain,
            "serviceSubnet": cluster.network.service_cidr,
            "podSubnet": cluster.network.pod_cidr,
        },
        "kubernetesVersion": format!("v{}", cluster.kubernetes.version),
        "controlPlaneEndpoint": inputs.endpoint,
        "certificatesDir": paths::KUBE_CERT_DIR,
        "imageRepository": "registry.k8s.io",
        "apiServer": {
            "extraArgs": api_server,
            "extraVolumes": trust_directories(inputs.facts.os.family),
            "certSANs": inputs.certificate_names(),
        },
        "controllerManager": { "extraArgs": controller_manager },
        "scheduler": { "extraArgs": scheduler, "extraVolumes": scheduler_config },
    })
}

type Args = Vec<(&'static str, String)>;

/// Without kubespray's `apiserver-count`, which is deprecated and has no effect with leases.
fn api_server_args(inputs: &Inputs) -> Args {
    let network = &inputs.cluster.network;
    vec![
        ("etcd-compaction-interval", "5m0s".into()),
        ("default-not-ready-toleration-seconds", "300".into()),
        ("default-unreachable-toleration-seconds", "300".into()),
        ("anonymous-auth", "true".into()),
        ("authorization-mode", "Node,RBAC".into()),
        ("bind-address", "::".into()),
        ("endpoint-reconciler-type", "lease".into()),
        ("service-node-port-range", network.node_ports.clone()),
        ("service-cluster-ip-range", network.service_cidr.to_string()),
        (
            "kubelet-preferred-address-types",
            "InternalDNS,InternalIP,Hostname,ExternalDNS,ExternalIP".into(),
        ),
        ("profiling", "false".into()),
        ("request-timeout", "1m0s".into()),
        ("enable-aggregator-routing", "false".into()),
        ("service-account-lookup", "true".into()),
        ("storage-backend", "etcd3".into()),
        ("allow-privileged", "true".into()),
        ("event-ttl", "1h0m0s".into()),
    ]
}

fn controller_manager_args(inputs: &Inputs) -> Args {
    let network = &inputs.cluster.network;
    let mask = if network.pod_cidr.is_v4() {
        "node-cidr-mask-size-ipv4"
    } else {
        "node-cidr-mask-size-ipv6"
    };
    vec![
        ("node-monitor-grace-period", "40s".into()),
        ("node-monitor-period", "5s".into()),
        ("cluster-cidr", network.pod_cidr.to_string()),
        ("service-cluster-ip-range", network.service_cidr.to_string()),
        (mask, network.node_prefix.to_string()),
        ("profiling", "false".into()),
        ("terminated-pod-gc-threshold", "12500".into()),
        ("bind-address", "::".into()),
        ("leader-elect-lease-duration", "15s".into()),
        ("leader-elect-renew-deadline", "10s".into()),
        ("configure-cloud-routes", "false".into()),
    ]
}

fn scheduler_args() -> Args {
    vec![
        ("bind-address", "::".into()),
        ("config", scheduler::PATH.into()),
        ("profiling", "false".into()),
    ]
}

/// v1beta4 takes arguments as a list. The operator's come in place of the same name, new ones
/// after the others.
fn args(defaults: &Args, given: &BTreeMap<String, String>) -> Value {
    let known: Vec<&str> = defaults.iter().map(|(name, _)| *name).collect();
    let replaced = defaults.iter().map(|(name, value)| (*name, given.get(*name).unwrap_or(value)));
    let further = given.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    let further = further.map(|(name, value)| (name.as_str(), value));
    replaced.chain(further).map(|(name, value)| json!({ "name": name, "value": value })).collect()
}

/// Directories with the machine's trusted authorities, beyond those kubeadm mounts by itself
/// (kubespray `ssl_ca_dirs`).
pub(crate) fn trust_paths(family: Family) -> &'static [&'static str] {
    match family {
        Family::RedHat => &["/etc/pki/tls", "/etc/pki/ca-trust"],
        Family::Debian => &["/usr/share/ca-certificates"],
    }
}

fn trust_directories(family: Family) -> Value {
    let volume = |path: &&str| {
        let name = path.trim_start_matches('/').replace('/', "-");
        json!({ "name": name, "hostPath": path, "mountPath": path, "readOnly": true })
    };
    trust_paths(family).iter().map(volume).collect()
}

/// As Go prints durations: `4m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}m{}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
pub(crate) mod tests;
