//! Who makes the control groups of containers; kubelet, containerd and nerdctl must agree.

use khost::{Host, fs};
use kspec::cluster::CgroupDriver;

/// One of the two drivers that the kubelet knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Driver {
    /// systemd, as slices and scopes.
    Systemd,
    /// Kubelet and runc themselves, as directories.
    Cgroupfs,
}

impl Driver {
    /// The one that is wanted: systemd where it runs (`sd_booted(3)`), on cgroup v1 as on v2. A
    /// tree stands for a machine that will be booted.
    pub(crate) fn of(wanted: CgroupDriver, host: &Host) -> Self {
        match wanted {
            CgroupDriver::Systemd => Self::Systemd,
            CgroupDriver::Cgroupfs => Self::Cgroupfs,
            CgroupDriver::Auto => {
                let booted = fs::exists(&host.path("/run/systemd/system"));
                if booted || !host.is_live() { Self::Systemd } else { Self::Cgroupfs }
            }
        }
    }

    /// As kubelet and nerdctl write it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Cgroupfs => "cgroupfs",
        }
    }

    /// The group of all pods, from the root of a hierarchy.
    pub(crate) fn pods(self) -> &'static str {
        match self {
            Self::Systemd => "kubepods.slice",
            Self::Cgroupfs => "kubepods",
        }
    }
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::cluster::CgroupDriver;

    use super::Driver;

    #[test]
    fn what_is_said_wins_and_a_tree_will_have_systemd() {
        let tree = Host::new("/nowhere");
        assert_eq!(Driver::of(CgroupDriver::Auto, &tree), Driver::Systemd);
        assert_eq!(Driver::of(CgroupDriver::Systemd, &Host::new("/")), Driver::Systemd);
        assert_eq!(Driver::of(CgroupDriver::Cgroupfs, &tree), Driver::Cgroupfs);
    }

    #[test]
    fn auto_is_systemd_where_it_runs() {
        let machine = Host::new("/");
        let booted = machine.path("/run/systemd/system").is_dir();
        let expected = if booted { Driver::Systemd } else { Driver::Cgroupfs };
        assert_eq!(Driver::of(CgroupDriver::Auto, &machine), expected);
    }
}
