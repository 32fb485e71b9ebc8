//! kubeadm's `JoinConfiguration` (kubespray: `kubeadm-client.conf.v1beta4.j2` and
//! `kubeadm-controlplane.v1beta4.yaml.j2`). It holds secrets, so kubeadm reads it from a pipe.

use std::net::IpAddr;

use khost::{Error, Result};
use kspec::{JoinDocument, Node, Role, paths::KUBE_CERT_DIR};
use serde_json::{Value, json};

use crate::{endpoints::PORT, inputs::Inputs, kubeadm_config, patches};

/// What this node says of itself when it joins.
#[derive(Debug, Clone)]
pub(crate) struct Joining {
    pub(crate) node: Node,
    /// Address its API server is known by, when it is to have one.
    pub(crate) address: IpAddr,
    pub(crate) cri_socket: String,
    /// Seconds kubeadm may take.
    pub(crate) limit: u64,
    /// Whether the static pods are patched.
    pub(crate) patched: bool,
}

impl Joining {
    /// Of a further control plane.
    pub(crate) fn of(inputs: &Inputs) -> Self {
        Self {
            node: inputs.node.clone(),
            address: inputs.facts.address,
            cri_socket: inputs.runtime.cri_socket.clone(),
            limit: inputs.cluster.kubeadm.init_timeout_seconds,
            patched: patches::needed(&inputs.facts),
        }
    }
}

/// The document as YAML.
pub(crate) fn render(joining: &Joining, document: &JoinDocument) -> Result<String> {
    let mut config = public(joining);
    config["discovery"] = json!({
        "bootstrapToken": {
            "apiServerEndpoint": document.endpoint,
            "token": document.token,
            "caCertHashes": [document.ca_key_hash],
        },
        "tlsBootstrapToken": document.token,
    });
    if joining.node.is(Role::ControlPlane) {
        config["controlPlane"]["certificateKey"] = document.certificate_key.clone().into();
    }
    kspec::to_yaml(&config).map_err(|error| {
        Error::host("render-failed", "cannot write a JoinConfiguration as YAML").because(error)
    })
}

/// All of it that is no secret and does not end: what the node was made with.
pub(crate) fn public(joining: &Joining) -> Value {
    let Joining { node, .. } = joining;
    // kubeadm gives up by itself, and says why, before it would be killed.
    let patience = kubeadm_config::patience(joining.limit);
    let discovery = if node.is(Role::ControlPlane) { "5m0s" } else { "1m0s" };
    let mut config = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "JoinConfiguration",
        "caCertPath": format!("{KUBE_CERT_DIR}/ca.crt"),
        "nodeRegistration": {
            "name": node.name,
            "criSocket": joining.cri_socket,
            "imagePullPolicy": "IfNotPresent",
            "imagePullSerial": true,
            "taints": kubeadm_config::taints(node),
        },
        "timeouts": {
            "controlPlaneComponentHealthCheck": patience,
            "discovery": discovery,
            "kubeletHealthCheck": patience,
            "tlsBootstrap": patience,
        },
    });
    if node.is(Role::ControlPlane) {
        config["controlPlane"] = json!({
            "localAPIEndpoint": { "advertiseAddress": joining.address, "bindPort": PORT },
        });
        if joining.patched {
            config["patches"] = json!({ "directory": patches::DIR });
        }
    }
    config
}

#[cfg(test)]
pub(crate) mod tests {
    use kspec::{Cluster, JoinDocument, Role, SCHEMA};

    use super::{Joining, public, render};

    pub(crate) fn document() -> JoinDocument {
        JoinDocument {
            schema: SCHEMA,
            node: "node2".into(),
            cluster: "cluster.local".into(),
            version: "1.33.3".into(),
            endpoint: "192.0.2.11:6443".into(),
            token: "abcdef.0123456789abcdef".into(),
            ca_key_hash: "sha256:00".into(),
            certificate_key: Some("5ec2e7".into()),
            encryption: None,
            expires: "2026-01-02T00:00:00Z".into(),
        }
    }

    fn joining(roles: &[Role]) -> Joining {
        let mut node = Cluster::example("node2", "192.0.2.12".parse().unwrap()).nodes.remove(0);
        node.roles = roles.into();
        Joining {
            address: node.address,
            node,
            cri_socket: "unix:///run/c.sock".into(),
            limit: 300,
            patched: true,
        }
    }

    #[test]
    fn a_worker_learns_where_and_whom_to_trust() {
        let text = render(&joining(&[Role::Worker]), &document()).unwrap();
        insta::assert_snapshot!(text, @r"
        apiVersion: kubeadm.k8s.io/v1beta4
        kind: JoinConfiguration
        caCertPath: /etc/kubernetes/ssl/ca.crt
        nodeRegistration:
          name: node2
          criSocket: unix:///run/c.sock
          imagePullPolicy: IfNotPresent
          imagePullSerial: true
          taints: []
        timeouts:
          controlPlaneComponentHealthCheck: 4m0s
          discovery: 1m0s
          kubeletHealthCheck: 4m0s
          tlsBootstrap: 4m0s
        discovery:
          bootstrapToken:
            apiServerEndpoint: 192.0.2.11:6443
            token: abcdef.0123456789abcdef
            caCertHashes:
            - sha256:00
          tlsBootstrapToken: abcdef.0123456789abcdef
        ");
    }

    #[test]
    fn a_control_plane_gets_the_key_to_the_authorities() {
        let text = render(&joining(&[Role::ControlPlane]), &document()).unwrap();
        insta::assert_snapshot!(text, @r#"
        apiVersion: kubeadm.k8s.io/v1beta4
        kind: JoinConfiguration
        caCertPath: /etc/kubernetes/ssl/ca.crt
        nodeRegistration:
          name: node2
          criSocket: unix:///run/c.sock
          imagePullPolicy: IfNotPresent
          imagePullSerial: true
          taints:
          - key: node-role.kubernetes.io/control-plane
            effect: NoSchedule
        timeouts:
          controlPlaneComponentHealthCheck: 4m0s
          discovery: 5m0s
          kubeletHealthCheck: 4m0s
          tlsBootstrap: 4m0s
        controlPlane:
          localAPIEndpoint:
            advertiseAddress: "192.0.2.12"
            bindPort: 6443
          certificateKey: 5ec2e7
        patches:
          directory: /etc/kubernetes/patches
        discovery:
          bootstrapToken:
            apiServerEndpoint: 192.0.2.11:6443
            token: abcdef.0123456789abcdef
            caCertHashes:
            - sha256:00
          tlsBootstrapToken: abcdef.0123456789abcdef
        "#);
    }

    #[test]
    fn what_is_remembered_of_it_is_no_secret() {
        let text = public(&joining(&[Role::ControlPlane])).to_string();
        assert!(!text.contains("0123456789abcdef") && !text.contains("5ec2e7"), "{text}");
        assert!(!format!("{:?}", document()).contains("0123456789abcdef"));
    }
}
