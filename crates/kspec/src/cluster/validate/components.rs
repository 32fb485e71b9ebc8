//! The sections of single components: what they would refuse themselves, but later.

use std::{collections::BTreeSet, path::Path};

use super::{super::Cluster, Found, syntax::is_quantity};
use crate::paths::ETCD_DATA_DIR;

/// etcd's `maxElectionMs` (`embed/config.go`).
const LONGEST_ELECTION: u32 = 50_000;
/// What kubelet lets be reserved (`KubeletConfiguration`, `kubeReserved`).
const RESERVABLE: [&str; 4] = ["cpu", "memory", "ephemeral-storage", "pid"];

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    check_etcd(cluster, found);
    check_kubelet(cluster, found);
    check_sources(cluster, found);
}

fn check_etcd(cluster: &Cluster, found: &mut Found) {
    let (beat, election) = (cluster.etcd.heartbeat_ms, cluster.etcd.election_ms);
    if beat == 0 || beat.saturating_mul(5) > election || election > LONGEST_ELECTION {
        found.add(
            "etcd-times-invalid",
            "etcd.election-ms",
            format!(
                "etcd does not start with a heartbeat of {beat} ms and elections of {election} ms"
            ),
            format!(
                "let an election take five heartbeats or more, and at most {LONGEST_ELECTION} ms"
            ),
        );
    }
    let backup = &cluster.etcd.backup;
    if backup.dir.is_relative() {
        found.add(
            "path-not-absolute",
            "etcd.backup.dir",
            "the timer runs in another directory than you",
            "write the whole path, from /",
        );
    } else if backup.dir.starts_with(ETCD_DATA_DIR) {
        found.add(
            "backup-dir-invalid",
            "etcd.backup.dir",
            "what is kept within etcd's data is lost with it",
            "choose a directory outside of it, on another disk at best",
        );
    }
    if backup.schedule.chars().any(char::is_control) {
        found.add(
            "backup-schedule-invalid",
            "etcd.backup.schedule",
            "a unit file has one line for it",
            "write a calendar event, such as \"daily\" or \"*-*-* 00/6:00:00\"",
        );
    }
}

fn check_kubelet(cluster: &Cluster, found: &mut Found) {
    let kubelet = &cluster.kubelet;
    for (key, reserved) in [
        ("kubelet.kube-reserved", &kubelet.kube_reserved),
        ("kubelet.system-reserved", &kubelet.system_reserved),
    ] {
        for (resource, amount) in reserved {
            if !RESERVABLE.contains(&resource.as_str()) || !is_quantity(amount) {
                found.add(
                    "reserved-invalid",
                    key,
                    format!("`{resource} = \"{amount}\"` cannot be reserved"),
                    "reserve cpu, memory, ephemeral-storage or pid, such as memory = \"512Mi\"",
                );
            }
        }
    }
    for argument in kubelet.extra_args.iter().filter(|argument| !is_flag(argument)) {
        found.add(
            "kubelet-argument-invalid",
            "kubelet.extra-args",
            format!("`{argument}` is not one flag"),
            "write each flag with its value as an entry of its own, such as \"--v=4\"",
        );
    }
}

/// One word that begins as a flag does: the list goes into an environment file, where a blank
/// would part it.
fn is_flag(argument: &str) -> bool {
    argument.starts_with("--")
        && argument.len() > 2
        && argument.chars().all(|at| at.is_ascii_graphic())
}

fn check_sources(cluster: &Cluster, found: &mut Found) {
    let download = &cluster.download;
    for (key, path) in [("ca-file", &download.ca_file), ("docker-config", &download.docker_config)]
    {
        if path.as_deref().is_some_and(Path::is_relative) {
            found.add(
                "path-not-absolute",
                format!("download.{key}"),
                "the tools run in different directories",
                "write the whole path, from /",
            );
        }
    }
    for (key, number) in [("parallel", download.parallel), ("attempts", download.attempts)] {
        if number == 0 {
            found.add(
                "download-impossible",
                format!("download.{key}"),
                "with none, nothing is ever fetched",
                "write 1 or more",
            );
        }
    }
    let mut artifacts = BTreeSet::new();
    for artifact in download.artifacts.iter().filter(|at| !artifacts.insert(&at.name)) {
        found.add(
            "artifact-twice",
            "download.artifact",
            format!("`{}` has two sections", artifact.name),
            "keep one [[download.artifact]] for each, with all its urls",
        );
    }
}
