//! What cannot change once there is a cluster.

use khost::{Error, Result, Tool, fs};

use crate::{kubeadm_config, marker::Marker};

/// Fields of kubeadm's configuration, and where cluster.toml has them.
const FIXED: [(&str, &str); 5] = [
    ("kubernetesVersion", "kubernetes.version"),
    ("serviceSubnet", "network.service-cidr"),
    ("podSubnet", "network.pod-cidr"),
    ("dnsDomain", "kubernetes.dns-domain"),
    ("controlPlaneEndpoint", "control-plane.endpoint"),
];

/// Refuse, before anything is written, what no running cluster takes: another version (that is an
/// upgrade), other networks, another domain or endpoint (they are in every certificate, Service
/// and node).
pub(crate) fn refuse_changes(tool: &Tool, config: &str) -> Result<()> {
    if !Marker::read(&tool.host)?.is_initialised() {
        return Ok(()); // nothing runs yet
    }
    let present = fs::read_text(&tool.host.path(kubeadm_config::PATH))?.unwrap_or_default();
    for (field, key) in FIXED {
        let (Some(before), Some(after)) = (value(&present, field), value(config, field)) else {
            continue;
        };
        if before == after {
            continue;
        }
        let refused = if field == "kubernetesVersion" {
            Error::input("upgrade-unsupported", format!("the cluster runs {before}, not {after}"))
                .because("upgrading a cluster is not part of this version of kcp")
        } else {
            Error::input(
                "cluster-fixed",
                format!("the cluster was made with {before}, not {after}"),
            )
            .because(format!("`{key}` is part of all that runs already"))
        };
        return Err(refused.hint(format!("put `{key}` in `{}` back", tool.config_path().display())));
    }
    Ok(())
}

/// The value of the first line `field: value` of a YAML text, at any depth.
fn value<'a>(yaml: &'a str, field: &str) -> Option<&'a str> {
    yaml.lines().find_map(|line| line.trim_start().strip_prefix(field)?.strip_prefix(": "))
}
