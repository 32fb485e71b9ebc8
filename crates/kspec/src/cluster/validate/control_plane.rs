//! What the API server, the controller manager, the scheduler and kubeadm would refuse.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    super::{Cluster, Volume},
    Found,
    syntax::{is_dns_name, is_duration, is_san},
};

/// kubeadm v1beta4, `encryptionAlgorithm`.
const KEY_ALGORITHMS: [&str; 4] = ["RSA-2048", "RSA-3072", "RSA-4096", "ECDSA-P256"];
/// component-base's `cli/flag/ciphersuites_flag.go`.
const TLS_VERSIONS: [&str; 5] =
    ["", "VersionTLS10", "VersionTLS11", "VersionTLS12", "VersionTLS13"];

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    check_endpoint(cluster, found);
    check_arguments(cluster, found);
    check_files(cluster, found);
    check_encryption(cluster, found);
    check_kubeadm(cluster, found);
}

fn check_endpoint(cluster: &Cluster, found: &mut Found) {
    for name in cluster.control_plane.extra_sans.iter().filter(|name| !is_san(name)) {
        found.add(
            "san-invalid",
            "control-plane.extra-sans",
            format!("`{name}` cannot stand in a certificate"),
            "write a DNS name or an address",
        );
    }
    if let (Some(host), Some(given)) =
        (cluster.control_plane.endpoint_host(), &cluster.control_plane.endpoint)
        && host.parse::<IpAddr>().is_err()
        && !is_dns_name(host)
    {
        found.add(
            "endpoint-invalid",
            "control-plane.endpoint",
            format!("`{given}` is not where an API server can be reached"),
            "write HOST or HOST:PORT, without https://",
        );
    }
}

fn check_arguments(cluster: &Cluster, found: &mut Found) {
    let given = &cluster.control_plane;
    for (key, args) in [
        ("api-server-args", &given.api_server_args),
        ("controller-manager-args", &given.controller_manager_args),
        ("scheduler-args", &given.scheduler_args),
    ] {
        check_names(args, key, found);
    }
    for (key, duration) in [
        ("event-ttl", &given.event_ttl),
        ("request-timeout", &given.request_timeout),
        ("node-monitor-grace-period", &given.node_monitor_grace_period),
    ] {
        if !is_duration(duration) {
            found.add(
                "duration-invalid",
                format!("control-plane.{key}"),
                format!("`{duration}` is no duration"),
                "write hours, minutes and seconds, such as \"1h30m\" or \"40s\"",
            );
        }
    }
    let gates = cluster.kubernetes.feature_gates.keys();
    let plugins = given.admission_plugins.iter().chain(&given.disabled_admission_plugins);
    let named = [
        ("kubernetes.feature-gates", gates.collect::<Vec<_>>()),
        ("control-plane.admission-plugins", plugins.collect()),
        ("control-plane.tls-cipher-suites", given.tls_cipher_suites.iter().collect()),
    ];
    for (key, names) in named {
        for name in names.into_iter().filter(|name| !is_word(name)) {
            found.add(
                "name-invalid",
                key,
                format!("`{name}` is not one name"),
                "write each name as an entry of its own, as Kubernetes spells it",
            );
        }
    }
    let on_and_off = |name: &&String| given.disabled_admission_plugins.contains(name);
    for name in given.admission_plugins.iter().filter(on_and_off) {
        found.add(
            "admission-plugin-contradiction",
            "control-plane.admission-plugins",
            format!("`{name}` is to be switched on and off"),
            "name it in one of the two lists",
        );
    }
    if !TLS_VERSIONS.contains(&given.tls_min_version.as_str()) {
        found.add(
            "tls-version-invalid",
            "control-plane.tls-min-version",
            format!("`{}` is no version of TLS", given.tls_min_version),
            "write \"VersionTLS12\" or \"VersionTLS13\"",
        );
    }
}

/// The names of arguments: `--` is added later, and one that holds more would hide another.
fn check_names(args: &BTreeMap<String, String>, key: &str, found: &mut Found) {
    let fine = |name: &str| {
        !name.is_empty()
            && !name.starts_with('-')
            && name.chars().all(|at| at.is_ascii_alphanumeric() || at == '-')
    };
    for name in args.keys().filter(|name| !fine(name)) {
        found.add(
            "argument-invalid",
            format!("control-plane.{key}"),
            format!("`{name}` is not the name of an argument"),
            "write it without the leading dashes and without `=`, such as v = \"4\"",
        );
    }
}

fn check_files(cluster: &Cluster, found: &mut Found) {
    let given = &cluster.control_plane;
    let audit = &given.audit;
    for (key, path) in [
        ("policy-file", &audit.policy_file),
        ("webhook-config", &audit.webhook_config),
        ("log-dir", &Some(audit.log_dir.clone())),
    ] {
        if path.as_ref().is_some_and(|path| path.is_relative()) {
            found.add(
                "path-not-absolute",
                format!("control-plane.audit.{key}"),
                "the API server runs in a directory of its own",
                "write the whole path, from /",
            );
        }
    }
    for (component, volumes) in [
        ("api-server", &given.api_server_volumes),
        ("controller-manager", &given.controller_manager_volumes),
        ("scheduler", &given.scheduler_volumes),
    ] {
        let fits = |volume: &&Volume| {
            is_dns_name(&volume.name)
                && !volume.name.contains('.')
                && volume.host_path.is_absolute()
                && volume.mount_path.is_absolute()
        };
        for volume in volumes.iter().filter(|volume| !fits(volume)) {
            found.add(
                "volume-invalid",
                format!("control-plane.{component}-volume"),
                format!("`{}` cannot be a volume", volume.name),
                "name it with lower-case letters, digits and dashes, and write whole paths, from /",
            );
        }
    }
}

fn check_encryption(cluster: &Cluster, found: &mut Found) {
    let encryption = &cluster.control_plane.encryption;
    // `*.` stands for resources, which must then be taken back one by one: not here.
    let fine = |name: &String| is_dns_name(name);
    if encryption.resources.is_empty() || !encryption.resources.iter().all(fine) {
        found.add(
            "encryption-resources-invalid",
            "control-plane.encryption.resources",
            format!("[{}] is not what can be encrypted", encryption.resources.join(", ")),
            "name resources in the plural, such as \"secrets\" or \"widgets.example.com\"",
        );
    }
}

fn check_kubeadm(cluster: &Cluster, found: &mut Found) {
    let kubeadm = &cluster.kubeadm;
    if !KEY_ALGORITHMS.contains(&kubeadm.key_algorithm.as_str()) {
        found.add(
            "key-algorithm-invalid",
            "kubeadm.key-algorithm",
            format!("kubeadm makes no `{}` keys", kubeadm.key_algorithm),
            format!("choose one of {}", KEY_ALGORITHMS.join(", ")),
        );
    }
    let (leaf, ca) = (kubeadm.certificate_validity_hours, kubeadm.ca_validity_hours);
    if leaf == 0 || leaf > ca {
        found.add(
            "validity-invalid",
            "kubeadm.certificate-validity-hours",
            format!("certificates for {leaf} hours by authorities for {ca}"),
            "let the authorities last as long as what they sign, or longer",
        );
    }
    if kubeadm.init_attempts == 0 {
        found.add(
            "init-impossible",
            "kubeadm.init-attempts",
            "with none there is never a cluster",
            "write 1 or more",
        );
    }
}

fn is_word(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|at| at.is_ascii_alphanumeric() || at == '_')
}
