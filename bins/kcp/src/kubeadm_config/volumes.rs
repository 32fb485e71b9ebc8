//! What the static pods see of the machine, beyond what kubeadm mounts by itself.

use std::path::Path;

use kspec::{cluster::Volume, state::Family};
use serde_json::{Value, json};

use crate::{audit, inputs::Inputs, scheduler};

/// Directories with the machine's trusted authorities (kubespray `ssl_ca_dirs`).
pub(crate) fn trust_paths(family: Family) -> &'static [&'static str] {
    match family {
        Family::RedHat => &["/etc/pki/tls", "/etc/pki/ca-trust"],
        Family::Debian => &["/usr/share/ca-certificates"],
    }
}

pub(super) fn api_server(inputs: &Inputs) -> Value {
    let given = &inputs.cluster.control_plane;
    let mut volumes = audit::volumes(&given.audit);
    volumes.extend(given.api_server_volumes.iter().cloned());
    volumes.extend(trust_paths(inputs.facts.os.family).iter().map(|path| {
        let name = path.trim_start_matches('/').replace('/', "-");
        volume(&name, path, path)
    }));
    listed(&volumes)
}

pub(super) fn controller_manager(inputs: &Inputs) -> Value {
    listed(&inputs.cluster.control_plane.controller_manager_volumes)
}

pub(super) fn scheduler(inputs: &Inputs) -> Value {
    let mut volumes = vec![volume("kubescheduler-config", scheduler::PATH, scheduler::PATH)];
    volumes.extend(inputs.cluster.control_plane.scheduler_volumes.iter().cloned());
    listed(&volumes)
}

/// A volume that is only read.
pub(crate) fn volume(name: &str, host: impl AsRef<Path>, mount: impl AsRef<Path>) -> Volume {
    let (host_path, mount_path) = (host.as_ref().into(), mount.as_ref().into());
    Volume { name: name.into(), host_path, mount_path, writable: false }
}

/// As kubeadm wants them.
fn listed(volumes: &[Volume]) -> Value {
    let volume = |volume: &Volume| {
        json!({
            "name": volume.name,
            "hostPath": volume.host_path,
            "mountPath": volume.mount_path,
            "readOnly": !volume.writable,
        })
    };
    volumes.iter().map(volume).collect()
}
