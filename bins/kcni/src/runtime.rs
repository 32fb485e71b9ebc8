//! When the container runtime knows the network: not before this node has its share, not even
//! after a reboot.
//!
//! flannel's pod puts the configuration there once flanneld has written `subnet.env` (see the
//! template), or kcni does for the first node (`first.rs`). That file is gone with every boot, and the configuration would still be there: the
//! node would be Ready, and every sandbox would fail and be tried again after a back-off, until
//! flanneld runs. Without it kubelet starts only pods of the node's own network and looks at the
//! others again every second (`NetworkPluginNotReady`).

use khost::steps::file::File;

use crate::config;

/// Read by containerd, made by flannel's pod.
pub(crate) const PATH: &str = "/etc/cni/net.d/10-flannel.conflist";

/// `r!`: removed, but only at boot (tmpfiles.d(5)), which is before kubelet starts.
const AT_BOOT: &str = "/etc/tmpfiles.d/k8steps-flannel.conf";

/// The configuration itself, as flannel's pod copies it from its `ConfigMap`.
pub(crate) fn configured() -> File {
    File::new(PATH).text(format!("{:#}\n", config::runtime()))
}

/// Each boot begins without the configuration.
pub(crate) fn forgotten_at_boot() -> File {
    File::new(AT_BOOT).text(format!(
        "# By kcni: there is no network for pods until flannel has given this node its share.\n\
         r! {PATH}\n"
    ))
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_beside_other_configurations_of_the_runtime() {
        assert!(super::PATH.starts_with(kspec::paths::CNI_CONF_DIR));
    }
}
