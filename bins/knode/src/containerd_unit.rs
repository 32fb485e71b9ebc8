//! containerd's unit (kubespray: `containerd.service.j2`), without what the machine refuses.

use khost::{Thing, steps::unit::Unit};
use kspec::state::Facts;

use crate::{base_spec, containerd_config, credentials, inputs::at_most, proxy};

pub(crate) const PATH: &str = "/etc/systemd/system/containerd.service";

/// Open files containerd itself may have, in kubespray; the kernel's own ceiling (`fs.nr_open`).
const NOFILE: u64 = 1_048_576;

pub(crate) fn render(facts: &Facts) -> String {
    let nofile = at_most(NOFILE, facts.limits.nofile);
    // systemd does not start a unit whose limits it may not set (205/LIMITS), or whose
    // OOMScoreAdjust it may not lower; both take CAP_SYS_RESOURCE.
    let (unlimited, oom) = if facts.capabilities.sys_resource {
        (
            "LimitNPROC=infinity\nLimitCORE=infinity\nLimitMEMLOCK=infinity\n",
            "OOMScoreAdjust=-999\n",
        )
    } else {
        ("", "")
    };
    format!(
        "\
[Unit]
Description=containerd container runtime
Documentation=https://containerd.io
After=network.target local-fs.target dbus.service

[Service]
ExecStartPre=-/sbin/modprobe overlay
ExecStart=/usr/local/bin/containerd
Type=notify
Delegate=yes
KillMode=process
Restart=always
RestartSec=5
{unlimited}LimitNOFILE={nofile}
TasksMax=infinity
{oom}
[Install]
WantedBy=multi-user.target
"
    )
}

/// Enabled, running, and restarted when what it reads at its start changes; containers keep
/// running meanwhile. It looks at `hosts.toml` files at every pull, so they are not among these.
pub(crate) fn unit() -> Unit {
    let tasks = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";
    let sandboxes = "/run/containerd/io.containerd.grpc.v1.cri";
    Unit::new("containerd.service")
        .reads(["/usr/local/bin/containerd", containerd_config::PATH, credentials::PATH])
        .reads([base_spec::PATH, proxy::PATH])
        .leaves([
            Thing::Tree("/opt/containerd".into()), // made by its `opt` plugin at every start
            Thing::Tree("/run/nri".into()),
            Thing::Directory("/run/netns".into()),
            Thing::Tree("/var/lib/containerd".into()),
            Thing::Tree("/run/containerd".into()),
            Thing::Mounts(sandboxes.into()),
            Thing::Mounts(tasks.into()),
            // KillMode=process leaves shims, and what they look after, when containerd stops.
            Thing::Cgroup("system.slice/containerd.service".into()),
        ])
}

#[cfg(test)]
mod tests {
    use crate::inputs::tests::{confined, machine};

    #[test]
    fn with_every_capability_it_is_kubesprays() {
        insta::assert_snapshot!(super::render(&machine()), @"
        [Unit]
        Description=containerd container runtime
        Documentation=https://containerd.io
        After=network.target local-fs.target dbus.service

        [Service]
        ExecStartPre=-/sbin/modprobe overlay
        ExecStart=/usr/local/bin/containerd
        Type=notify
        Delegate=yes
        KillMode=process
        Restart=always
        RestartSec=5
        LimitNPROC=infinity
        LimitCORE=infinity
        LimitMEMLOCK=infinity
        LimitNOFILE=1048576
        TasksMax=infinity
        OOMScoreAdjust=-999

        [Install]
        WantedBy=multi-user.target
        ");
    }

    #[test]
    fn without_cap_sys_resource_nothing_is_raised() {
        let text = super::render(&confined());
        assert!(text.contains("\nLimitNOFILE=20000\n"), "{text}");
        for refused in ["OOMScoreAdjust", "LimitNPROC", "LimitCORE", "LimitMEMLOCK"] {
            assert!(!text.contains(refused), "{text}");
        }
    }
}
