//! Guards of the distribution that know nothing of containers: `SELinux` and fapolicyd (kubespray
//! `preinstall/tasks/0080-system-configurations.yml`).

use khost::{
    Host, StepList, fs,
    steps::{ini::Ini, selinux::Permissive, unit_off::UnitOff},
};
use kspec::{Cluster, cluster::Selinux};

const SELINUX: &str = "/etc/selinux/config";
/// Lets no program run that no package brought.
const FAPOLICYD: &str = "fapolicyd.service";

pub(crate) fn relaxed(steps: &mut StepList, host: &Host, cluster: &Cluster) {
    if cluster.host.selinux == Selinux::Permissive && fs::exists(&host.path(SELINUX)) {
        // One that is switched off stays off: its files have no contexts.
        let off =
            fs::read_text(&host.path(SELINUX)).ok().flatten().is_some_and(|text| is_off(&text));
        if !off {
            steps.add(Ini::set(SELINUX, "", "SELINUX", "permissive"));
            steps.add(Permissive);
        }
    }
    if cluster.host.stop_fapolicyd {
        steps.add(UnitOff::new(FAPOLICYD));
    }
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
