//! `/etc/containerd/config.toml` (kubespray: `config.toml.j2` for containerd 2).

use khost::{Error, Result};
use kspec::{cluster::merge, state::SelinuxMode};
use serde_json::{Value, json};

use crate::{base_spec, cgroup::Driver, credentials, inputs::Inputs};

pub(crate) const PATH: &str = "/etc/containerd/config.toml";

/// Where containerd looks for `hosts.toml` files.
pub(crate) const CERTS_DIR: &str = "/etc/containerd/certs.d";

/// The configuration with `[containerd] extra` merged over it.
pub(crate) fn render(inputs: &Inputs) -> Result<String> {
    let mut config = json!({
        "version": 3,
        "root": "/var/lib/containerd",
        "state": "/run/containerd",
        "oom_score": 0,
        "grpc": { "max_recv_message_size": 16_777_216, "max_send_message_size": 16_777_216 },
        "debug": { "address": "", "level": "info", "format": "", "uid": 0, "gid": 0 },
        "metrics": { "address": "", "grpc_histogram": false },
        "plugins": {
            "io.containerd.cri.v1.runtime": runtime(inputs),
            "io.containerd.cri.v1.images": {
                "snapshotter": "overlayfs",
                "discard_unpacked_layers": true,
                "image_pull_progress_timeout": "5m",
                "pinned_images": { "sandbox": inputs.image("pause")?.reference },
                "registry": { "config_path": CERTS_DIR },
            },
            "io.containerd.nri.v1.nri": { "disable": false },
        },
    });
    if !inputs.credentials.is_empty() {
        config["imports"] = json!([credentials::PATH]);
    }
    merge(&mut config, &inputs.cluster.containerd.extra);
    toml::to_string(&config).map_err(|error| {
        Error::host("render-failed", format!("cannot write `{PATH}` as TOML")).because(error)
    })
}

fn runtime(inputs: &Inputs) -> Value {
    let mut runtime = json!({
        "max_container_log_line_size": 16384,
        "enable_unprivileged_ports": false,
        "enable_unprivileged_icmp": false,
        // Containers get labels of their own where something looks at them.
        "enable_selinux": inputs.facts.selinux == SelinuxMode::Enforcing,
        "disable_apparmor": false,
        "tolerate_missing_hugetlb_controller": true,
        "disable_hugetlb_controller": true,
        "containerd": {
            "default_runtime_name": "runc",
            "runtimes": { "runc": {
                "runtime_type": "io.containerd.runc.v2",
                "base_runtime_spec": base_spec::PATH,
                "options": {
                    "SystemdCgroup": inputs.driver == Driver::Systemd,
                    "BinaryName": "/usr/local/bin/runc",
                },
            } },
        },
    });
    // Pods ask for scores below containerd's own, which takes CAP_SYS_RESOURCE: without it runc
    // dies unless the score is raised to what is allowed.
    if !inputs.facts.capabilities.sys_resource {
        runtime["restrict_oom_score_adj"] = true.into();
    }
    runtime
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::inputs::tests::{confined, inputs, machine};

    fn parsed(text: &str) -> Value {
        serde_json::to_value(toml::from_str::<toml::Value>(text).unwrap()).unwrap()
    }

    #[test]
    fn with_every_capability_it_is_kubesprays() {
        insta::assert_snapshot!(super::render(&inputs(machine())).unwrap(), @r#"
        version = 3
        root = "/var/lib/containerd"
        state = "/run/containerd"
        oom_score = 0

        [grpc]
        max_recv_message_size = 16777216
        max_send_message_size = 16777216

        [debug]
        address = ""
        level = "info"
        format = ""
        uid = 0
        gid = 0

        [metrics]
        address = ""
        grpc_histogram = false

        [plugins."io.containerd.cri.v1.runtime"]
        max_container_log_line_size = 16384
        enable_unprivileged_ports = false
        enable_unprivileged_icmp = false
        enable_selinux = false
        disable_apparmor = false
        tolerate_missing_hugetlb_controller = true
        disable_hugetlb_controller = true

        [plugins."io.containerd.cri.v1.runtime".containerd]
        default_runtime_name = "runc"

        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
        base_runtime_spec = "/etc/containerd/cri-base.json"

        [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        SystemdCgroup = true
        BinaryName = "/usr/local/bin/runc"

        [plugins."io.containerd.cri.v1.images"]
        snapshotter = "overlayfs"
        discard_unpacked_layers = true
        image_pull_progress_timeout = "5m"

        [plugins."io.containerd.cri.v1.images".pinned_images]
        sandbox = "registry.k8s.io/pause:3.10"

        [plugins."io.containerd.cri.v1.images".registry]
        config_path = "/etc/containerd/certs.d"

        [plugins."io.containerd.nri.v1.nri"]
        disable = false
        "#);
    }

    #[test]
    fn without_cap_sys_resource_scores_are_restricted() {
        let config = parsed(&super::render(&inputs(confined())).unwrap());
        let runtime = &config["plugins"]["io.containerd.cri.v1.runtime"];
        assert_eq!(runtime["restrict_oom_score_adj"], true);
    }

    #[test]
    fn extra_is_merged_at_any_depth() {
        let mut inputs = inputs(machine());
        inputs.cluster.containerd.extra = serde_json::from_value(json!({
            "debug": { "level": "debug" },
            "plugins": { "io.containerd.cri.v1.runtime": { "enable_cdi": true } },
        }))
        .unwrap();
        let config = parsed(&super::render(&inputs).unwrap());
        assert_eq!(config["debug"]["level"], "debug");
        assert_eq!(config["debug"]["uid"], 0);
        let runtime = &config["plugins"]["io.containerd.cri.v1.runtime"];
        assert_eq!(runtime["enable_cdi"], true);
        assert_eq!(runtime["disable_apparmor"], false);
    }

    #[test]
    fn no_pause_image_is_an_error() {
        let mut inputs = inputs(machine());
        inputs.artifacts.images.clear();
        assert_eq!(super::render(&inputs).unwrap_err().code(), "artifact-missing");
    }
}
