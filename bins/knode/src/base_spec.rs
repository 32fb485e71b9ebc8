//! `/etc/containerd/cri-base.json`: what every container starts from, with a limit on open files.
//!
//! kubespray runs `ctr oci spec` and replaces `process.rlimits`. That output is a constant of
//! containerd (v2.1.5, `pkg/oci/spec.go` and `mounts.go`: `populateDefaultUnixSpec`), so it stands
//! here as it was printed, and a plan needs no containerd.

use serde_json::json;

pub(crate) const PATH: &str = "/etc/containerd/cri-base.json";

/// What a container may do before Kubernetes adds to it or takes away (Docker's default set).
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// The OCI runtime specification (config.md) with `nofile` open files, hard and soft, as JSON.
pub(crate) fn render(nofile: u64) -> String {
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| {
        json!({
            "destination": destination, "type": kind, "source": source, "options": options,
        })
    };
    let memory = ["nosuid", "strictatime", "mode=755", "size=65536k"];
    let plain = ["nosuid", "noexec", "nodev"];
    let spec = json!({
        "ociVersion": "1.2.1",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "cwd": "/",
            "capabilities": {
                "bounding": CAPABILITIES, "effective": CAPABILITIES, "permitted": CAPABILITIES,
            },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": nofile, "soft": nofile }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs" },
        "mounts": [
            mount("/proc", "proc", "proc", &plain),
            mount("/dev", "tmpfs", "tmpfs", &memory),
            mount("/dev/pts", "devpts", "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
            mount("/dev/shm", "tmpfs", "shm",
                &["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
            mount("/dev/mqueue", "mqueue", "mqueue", &plain),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
            mount("/run", "tmpfs", "tmpfs", &memory),
        ],
        "linux": {
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "cgroupsPath": "/default",
            "namespaces": [
                { "type": "pid" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
                { "type": "network" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
                "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
                "/sys/devices/virtual/powercap", "/proc/scsi",
            ],
            "readonlyPaths": [
                "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
            ],
        },
    });
    format!("{spec:#}\n")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    #[test]
    fn only_open_files_are_limited() {
        let spec: Value = serde_json::from_str(&super::render(20000)).unwrap();
        let expected = serde_json::json!(
            [{ "type": "RLIMIT_NOFILE", "hard": 20000, "soft": 20000 }]
        );
        assert_eq!(spec["process"]["rlimits"], expected);
    }

    #[test]
    fn all_else_is_what_containerd_prints() {
        insta::assert_snapshot!(super::render(65535));
    }
}
