//! kubeadm's configuration: `/etc/kubernetes/kubeadm-config.yaml`, as kubespray writes it
//! (`kubeadm-config.v1beta4.yaml.j2`), for kubeadm 1.31 and later.

mod arguments;
mod volumes;

use std::time::Duration;

use khost::{Error, Result};
use kspec::{Node, Role, paths};
use serde_json::{Value, json};

use crate::{endpoints::PORT, inputs::Inputs, kube_proxy, patches};
pub(crate) use volumes::{trust_paths, volume};

/// kubespray's place for it.
pub(crate) const PATH: &str = "/etc/kubernetes/kubeadm-config.yaml";

/// All documents. kubespray's fourth, `UpgradeConfiguration`, is left out: `kubeadm init` warns
/// that it ignores it.
pub(crate) fn render(inputs: &Inputs) -> Result<String> {
    let dns = inputs.cluster.cluster_dns().map(|address| address.to_string());
    let documents = [
        init(inputs),
        cluster(inputs),
        with_feature_gates(inputs, kube_proxy::config(inputs)),
        with_feature_gates(
            inputs,
            json!({
                "apiVersion": "kubelet.config.k8s.io/v1beta1",
                "kind": "KubeletConfiguration",
                "clusterDNS": [dns],
            }),
        ),
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

/// The component's configuration, with the gates of `[kubernetes] feature-gates` below its own.
fn with_feature_gates(inputs: &Inputs, mut config: Value) -> Value {
    for (gate, open) in &inputs.cluster.kubernetes.feature_gates {
        let gates = &mut config["featureGates"];
        if gates.get(gate).is_none() {
            gates[gate] = (*open).into();
        }
    }
    config
}

/// `ClusterConfiguration`.
pub(crate) fn cluster(inputs: &Inputs) -> Value {
    let (cluster, etcd) = (&inputs.cluster, &inputs.etcd);
    let kubeadm = &cluster.kubeadm;
    let hours = |hours: u32| format!("{hours}h0m0s");
    json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "clusterName": cluster.kubernetes.cluster_name,
        "encryptionAlgorithm": kubeadm.key_algorithm,
        "certificateValidityPeriod": hours(kubeadm.certificate_validity_hours),
        "caCertificateValidityPeriod": hours(kubeadm.ca_validity_hours),
        "etcd": { "external": {
            "endpoints": etcd.endpoints,
            "caFile": inputs.etcd_ca.cert,
            "certFile": inputs.etcd_client.cert,
            "keyFile": inputs.etcd_client.key,
        } },
        "dns": dns(inputs),
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
            "extraArgs": arguments::api_server(inputs),
            "extraVolumes": volumes::api_server(inputs),
            "certSANs": inputs.certificate_names(),
        },
        "controllerManager": with_volumes(
            &arguments::controller_manager(inputs),
            &volumes::controller_manager(inputs),
        ),
        "scheduler": with_volumes(&arguments::scheduler(inputs), &volumes::scheduler(inputs)),
    })
}

/// kapps installs `CoreDNS`; what is said of its image is for those who read the configuration.
fn dns(inputs: &Inputs) -> Value {
    let image = inputs.dns_image.as_deref().and_then(|image| image.rsplit_once(':'));
    match image.and_then(|(name, tag)| Some((name.rsplit_once('/')?.0, tag))) {
        Some((repository, tag)) => {
            json!({ "disabled": true, "imageRepository": repository, "imageTag": tag })
        }
        None => json!({ "disabled": true }),
    }
}

fn with_volumes(arguments: &Value, volumes: &Value) -> Value {
    match volumes.as_array().map(Vec::len) {
        Some(0) => json!({ "extraArgs": arguments }),
        _ => json!({ "extraArgs": arguments, "extraVolumes": volumes }),
    }
}

/// As Go prints durations: `4m0s`.
fn go_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}m{}s", seconds / 60, seconds % 60)
}

#[cfg(test)]
pub(crate) mod tests;
