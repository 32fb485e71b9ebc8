//! The command lines of the static pods, in the order of kubespray's template.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{audit, encryption, inputs::Inputs, scheduler};

/// Name, without dashes, and value.
type Args = Vec<(&'static str, String)>;

/// Without kubespray's `apiserver-count`, which is deprecated and has no effect with leases.
pub(super) fn api_server(inputs: &Inputs) -> Value {
    let (network, given) = (&inputs.cluster.network, &inputs.cluster.control_plane);
    let mut args: Args = vec![
        ("etcd-compaction-interval", "5m0s".into()),
        ("default-not-ready-toleration-seconds", given.not_ready_toleration_seconds.to_string()),
        (
            "default-unreachable-toleration-seconds",
            given.unreachable_toleration_seconds.to_string(),
        ),
        ("anonymous-auth", "true".into()),
        ("authorization-mode", "Node,RBAC".into()),
        ("bind-address", "::".into()),
    ];
    add(&mut args, "enable-admission-plugins", given.admission_plugins.join(","));
    add(&mut args, "disable-admission-plugins", given.disabled_admission_plugins.join(","));
    args.extend([
        ("endpoint-reconciler-type", "lease".into()),
        ("service-node-port-range", network.node_ports.clone()),
        ("service-cluster-ip-range", network.service_cidr.to_string()),
        (
            "kubelet-preferred-address-types",
            "InternalDNS,InternalIP,Hostname,ExternalDNS,ExternalIP".into(),
        ),
        ("profiling", "false".into()),
        ("request-timeout", given.request_timeout.clone()),
        ("enable-aggregator-routing", "false".into()),
        ("service-account-lookup", "true".into()),
    ]);
    if inputs.has_encryption_keys {
        args.push(("encryption-provider-config", encryption::PATH.into()));
    }
    args.extend([("storage-backend", "etcd3".into()), ("allow-privileged", "true".into())]);
    args.extend(audit::arguments(&given.audit));
    tls_and_gates(&mut args, inputs);
    args.push(("event-ttl", given.event_ttl.clone()));
    with_operators(&args, &given.api_server_args)
}

pub(super) fn controller_manager(inputs: &Inputs) -> Value {
    let (network, given) = (&inputs.cluster.network, &inputs.cluster.control_plane);
    let mask = if network.pod_cidr.is_v4() {
        "node-cidr-mask-size-ipv4"
    } else {
        "node-cidr-mask-size-ipv6"
    };
    let mut args = vec![
        ("node-monitor-grace-period", given.node_monitor_grace_period.clone()),
        ("node-monitor-period", "5s".into()),
        ("cluster-cidr", network.pod_cidr.to_string()),
        ("service-cluster-ip-range", network.service_cidr.to_string()),
        (mask, network.node_prefix.to_string()),
        ("profiling", "false".into()),
        ("terminated-pod-gc-threshold", given.terminated_pod_gc_threshold.to_string()),
        ("bind-address", "::".into()),
        ("leader-elect-lease-duration", "15s".into()),
        ("leader-elect-renew-deadline", "10s".into()),
        ("configure-cloud-routes", "false".into()),
        // Three requests for each of its 50 controllers when it becomes the leader: at the default
        // of 20 a second the last begins four seconds after the first.
        ("kube-api-qps", "100".into()),
        ("kube-api-burst", "200".into()),
    ];
    tls_and_gates(&mut args, inputs);
    with_operators(&args, &given.controller_manager_args)
}

pub(super) fn scheduler(inputs: &Inputs) -> Value {
    let mut args = vec![
        ("bind-address", "::".into()),
        ("config", scheduler::PATH.into()),
        ("profiling", "false".into()),
    ];
    tls_and_gates(&mut args, inputs);
    with_operators(&args, &inputs.cluster.control_plane.scheduler_args)
}

/// What all three take.
fn tls_and_gates(args: &mut Args, inputs: &Inputs) {
    let gates = &inputs.cluster.kubernetes.feature_gates;
    let gates: Vec<_> = gates.iter().map(|(gate, open)| format!("{gate}={open}")).collect();
    add(args, "feature-gates", gates.join(","));
    let given = &inputs.cluster.control_plane;
    add(args, "tls-min-version", given.tls_min_version.clone());
    add(args, "tls-cipher-suites", given.tls_cipher_suites.join(","));
}

/// An argument that is left out when it has nothing to say.
fn add(args: &mut Args, name: &'static str, value: String) {
    if !value.is_empty() {
        args.push((name, value));
    }
}

/// v1beta4 takes arguments as a list. The operator's come in place of the same name, new ones
/// after the others.
fn with_operators(defaults: &Args, given: &BTreeMap<String, String>) -> Value {
    let known: Vec<&str> = defaults.iter().map(|(name, _)| *name).collect();
    let replaced = defaults.iter().map(|(name, value)| (*name, given.get(*name).unwrap_or(value)));
    let further = given.iter().filter(|(name, _)| !known.contains(&name.as_str()));
    let further = further.map(|(name, value)| (name.as_str(), value));
    replaced.chain(further).map(|(name, value)| json!({ "name": name, "value": value })).collect()
}
