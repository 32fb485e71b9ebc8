//! Guards of the distribution that know nothing of containers: `SELinux` and fapolicyd (kubespray
//! `preinstall/tasks/0080-system-configurations.yml`).

use khost::{
    Error, Host, Result, StepList, fs,
    steps::{
        ini::Ini,
        selinux::{Label, Labels, Mode},
        unit_off::UnitOff,
    },
};
use kspec::{Cluster, cluster::Selinux, state::Family};

const CONFIG: &str = "/etc/selinux/config";
/// Lets no program run that no package brought.
const FAPOLICYD: &str = "fapolicyd.service";

pub(crate) fn set(
    steps: &mut StepList,
    host: &Host,
    cluster: &Cluster,
    family: Family,
) -> Result<()> {
    let text = fs::read_text(&host.path(CONFIG))?;
    // One that is switched off stays off: its files have no contexts.
    if text.is_some_and(|text| !is_off(&text)) {
        match cluster.host.selinux {
            Selinux::AsIs => {}
            Selinux::Permissive => {
                steps.add(Ini::set(CONFIG, "", "SELINUX", "permissive"));
                steps.add(Mode::permissive());
            }
            Selinux::Enforcing if family == Family::Debian => return Err(no_policy()),
            Selinux::Enforcing => {
                // Before it forbids anything.
                steps.add(Labels::new(&LABELS, &DEEP));
                steps.add(Ini::set(CONFIG, "", "SELINUX", "enforcing"));
                steps.add(Mode::enforcing());
            }
        }
    }
    if cluster.host.stop_fapolicyd {
        steps.add(UnitOff::new(FAPOLICYD));
    }
    Ok(())
}

/// Types of the files of all phases, as container-selinux has them (`container.fc`): a policy that
/// is older, or knows these programs in other places only, is told. It says nothing of CNI: the
/// pods of a network put its programs (as rke2-selinux has them) and configuration there.
const LABELS: [Label; 12] = [
    label("/usr/local/bin/kubelet", "/usr/local/bin/kubelet", "kubelet_exec_t"),
    label("/usr/local/bin/containerd.*", "/usr/local/bin/containerd", "container_runtime_exec_t"),
    label("/usr/local/bin/runc", "/usr/local/bin/runc", "container_runtime_exec_t"),
    label("/opt/cni(/.*)?", "/opt/cni", "container_file_t"),
    label("/etc/containerd(/.*)?", "/etc/containerd", "container_config_t"),
    label("/etc/kubernetes(/.*)?", "/etc/kubernetes", "kubernetes_file_t"),
    label("/etc/cni(/.*)?", "/etc/cni", "container_file_t"),
    label("/var/lib/containerd(/.*)?", "/var/lib/containerd", "container_var_lib_t"),
    label("/var/lib/kubelet(/.*)?", "/var/lib/kubelet", "container_var_lib_t"),
    label("/var/lib/cni(/.*)?", "/var/lib/cni", "container_var_lib_t"),
    label("/var/log/containers(/.*)?", "/var/log/containers", "container_log_t"),
    label("/var/log/pods(/.*)?", "/var/log/pods", "container_log_t"),
];

/// All that is in these is labelled. What containers write has labels of its own, and is left.
const DEEP: [&str; 4] = ["/etc/containerd", "/etc/kubernetes", "/etc/cni", "/opt/cni"];

const fn label(pattern: &'static str, path: &'static str, kind: &'static str) -> Label {
    Label { pattern, path, kind }
}

fn no_policy() -> Error {
    Error::input("selinux-no-policy", "there is no policy for containers on Debian and its kin")
        .because("host.selinux is `enforcing`, and container-selinux is Red Hat's")
        .hint("set selinux = \"permissive\" or \"as-is\" in [host]")
}

/// Whether selinux(5)'s `config` keeps it off at boot.
fn is_off(text: &str) -> bool {
    text.lines().any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim() == "SELINUX" && value.trim().eq_ignore_ascii_case("disabled")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::is_off;

    #[test]
    fn a_comment_does_not_switch_it_off() {
        assert!(is_off("# SELINUX= can be\nSELINUX=disabled\nSELINUXTYPE=targeted\n"));
        assert!(!is_off("# SELINUX=disabled\nSELINUX=enforcing\n"));
        assert!(!is_off(""));
    }
}
