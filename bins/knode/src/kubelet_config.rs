//! `/etc/kubernetes/kubelet-config.yaml` (kubespray: `kubelet-config.v1beta1.yaml.j2`), adapted
//! to what the machine allows.

use khost::{Error, Result};
use kspec::{
    cluster::{Swap, merge},
    paths::{CRI_SOCKET, KUBE_CERT_DIR, MANIFEST_DIR},
    state::CgroupVersion,
};
use serde_json::{Value, json};

use crate::inputs::Inputs;

pub(crate) const PATH: &str = "/etc/kubernetes/kubelet-config.yaml";

/// `KubeletConfiguration` (kubelet.config.k8s.io/v1beta1) with `[kubelet] extra` merged over it.
pub(crate) fn render(inputs: &Inputs) -> Result<String> {
    let mut config = generated(inputs);
    adapt(&mut config, inputs);
    if !inputs.cluster.kubernetes.feature_gates.is_empty() {
        config["featureGates"] = json!(inputs.cluster.kubernetes.feature_gates);
    }
    merge(&mut config, &inputs.cluster.kubelet.extra);
    kspec::to_yaml(&config).map_err(|error| {
        Error::host("render-failed", format!("cannot write `{PATH}` as YAML")).because(error)
    })
}

fn generated(inputs: &Inputs) -> Value {
    let (cluster, facts) = (&inputs.cluster, &inputs.facts);
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "nodeStatusUpdateFrequency": "10s",
        "failSwapOn": true,
        "authentication": {
            "anonymous": { "enabled": false },
            "webhook": { "enabled": true },
            "x509": { "clientCAFile": format!("{KUBE_CERT_DIR}/ca.crt") },
        },
        "authorization": { "mode": "Webhook" },
        "staticPodPath": MANIFEST_DIR,
        "cgroupDriver": inputs.driver.name(),
        "containerLogMaxFiles": 5,
        "containerLogMaxSize": "10Mi",
        "containerRuntimeEndpoint": CRI_SOCKET,
        "maxPods": cluster.kubelet.max_pods,
        "podPidsLimit": -1,
        "address": facts.address,
        "readOnlyPort": 0,
        "healthzPort": 10248,
        "healthzBindAddress": "127.0.0.1",
        "kubeletCgroups": "/system.slice/kubelet.service",
        "clusterDomain": cluster.kubernetes.dns_domain,
        "protectKernelDefaults": true,
        "rotateCertificates": true,
        "serverTLSBootstrap": cluster.kubelet.rotate_server_certificates,
        "clusterDNS": cluster.cluster_dns().into_iter().collect::<Vec<_>>(),
        "kubeReserved": cluster.kubelet.kube_reserved,
        "systemReserved": cluster.kubelet.system_reserved,
        "resolvConf": facts.resolv_conf,
        "eventRecordQPS": 50,
        "shutdownGracePeriod": "60s",
        "shutdownGracePeriodCriticalPods": "20s",
        "maxParallelImagePulls": 1,
    })
}

/// What this machine needs to be said, or said differently.
fn adapt(config: &mut Value, inputs: &Inputs) {
    let facts = &inputs.facts;
    let v1 = facts.kernel.cgroup == CgroupVersion::V1;
    if v1 {
        config["failCgroupV1"] = false.into(); // the default from 1.35 on is true
    }
    if !facts.capabilities.sys_resource {
        config["oomScoreAdj"] = 0.into(); // its default, -999, cannot be set
    }
    // A container cannot switch its host's swap off: there the kubelet must live with it.
    if inputs.cluster.host.swap == Swap::Stays || (facts.container && facts.swap) {
        config["failSwapOn"] = false.into();
        // The kubelet refuses LimitedSwap where groups have no limit of their own for swap.
        let behaviour = if v1 { "NoSwap" } else { "LimitedSwap" };
        config["memorySwap"] = json!({ "swapBehavior": behaviour });
    }
}

#[cfg(test)]
mod tests {
    use kspec::cluster::Swap;
    use serde_json::{Map, Value, json};

    use super::{adapt, generated};
    use crate::inputs::{
        Inputs,
        tests::{confined, inputs, machine},
    };

    /// What `adapt` makes different.
    fn adapted(inputs: &Inputs) -> Value {
        let before = generated(inputs);
        let mut after = before.clone();
        adapt(&mut after, inputs);
        let differs = |(key, value): &(&String, &Value)| before.get(key) != Some(value);
        let found = after.as_object().unwrap().iter().filter(differs);
        Value::Object(found.map(|(key, value)| (key.clone(), value.clone())).collect::<Map<_, _>>())
    }

    #[test]
    fn with_every_capability_it_is_kubesprays() {
        assert_eq!(adapted(&inputs(machine())), json!({}));
        insta::assert_snapshot!(super::render(&inputs(machine())).unwrap(), @r#"
        apiVersion: kubelet.config.k8s.io/v1beta1
        kind: KubeletConfiguration
        nodeStatusUpdateFrequency: 10s
        failSwapOn: true
        authentication:
          anonymous:
            enabled: false
          webhook:
            enabled: true
          x509:
            clientCAFile: /etc/kubernetes/ssl/ca.crt
        authorization:
          mode: Webhook
        staticPodPath: /etc/kubernetes/manifests
        cgroupDriver: systemd
        containerLogMaxFiles: 5
        containerLogMaxSize: 10Mi
        containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
        maxPods: 110
        podPidsLimit: -1
        address: "192.0.2.11"
        readOnlyPort: 0
        healthzPort: 10248
        healthzBindAddress: "127.0.0.1"
        kubeletCgroups: /system.slice/kubelet.service
        clusterDomain: cluster.local
        protectKernelDefaults: true
        rotateCertificates: true
        serverTLSBootstrap: true
        clusterDNS:
        - "10.233.0.3"
        kubeReserved:
          cpu: 100m
          ephemeral-storage: 500Mi
          memory: 256Mi
          pid: "1000"
        systemReserved:
          cpu: 500m
          ephemeral-storage: 500Mi
          memory: 512Mi
          pid: "1000"
        resolvConf: /etc/resolv.conf
        eventRecordQPS: 50
        shutdownGracePeriod: 60s
        shutdownGracePeriodCriticalPods: 20s
        maxParallelImagePulls: 1
        "#);
    }

    #[test]
    fn a_confined_container_on_cgroup_v1() {
        let expected = json!({
            "failCgroupV1": false,
            "oomScoreAdj": 0,
            "failSwapOn": false,
            "memorySwap": { "swapBehavior": "NoSwap" },
        });
        assert_eq!(adapted(&inputs(confined())), expected);
    }

    #[test]
    fn swap_that_stays_is_limited() {
        let mut inputs = inputs(machine());
        inputs.cluster.host.swap = Swap::Stays;
        let expected =
            json!({ "failSwapOn": false, "memorySwap": { "swapBehavior": "LimitedSwap" } });
        assert_eq!(adapted(&inputs), expected);
    }

    #[test]
    fn swap_that_kprep_will_switch_off_is_not_tolerated() {
        let mut facts = machine();
        facts.swap = true;
        assert_eq!(adapted(&inputs(facts)), json!({}));
    }

    #[test]
    fn kubelet_may_sign_its_own_certificate() {
        let mut inputs = inputs(machine());
        inputs.cluster.kubelet.rotate_server_certificates = false;
        let text = super::render(&inputs).unwrap();
        assert!(text.contains("serverTLSBootstrap: false\n"), "{text}");
    }

    #[test]
    fn extra_is_merged_over_it() {
        let mut inputs = inputs(machine());
        let extra = json!({ "authentication": { "anonymous": { "enabled": true } }, "maxPods": 9 });
        inputs.cluster.kubelet.extra = serde_json::from_value(extra).unwrap();
        inputs.cluster.kubernetes.feature_gates = [("NodeSwap".to_owned(), true)].into();
        let text = super::render(&inputs).unwrap();
        assert!(text.ends_with("featureGates:\n  NodeSwap: true\n"), "{text}");
        assert!(text.contains("maxPods: 9\n"), "{text}");
        assert!(text.contains("anonymous:\n    enabled: true\n  webhook:\n"), "{text}");
    }
}
