//! Where containerd's clients for people find it: `/etc/crictl.yaml` and nerdctl's configuration
//! (kubespray: `crictl.yaml.j2`, `nerdctl.toml.j2`).

use khost::{Error, Result};
use kspec::paths::{CNI_BIN_DIR, CNI_CONF_DIR, CRI_SOCKET};
use serde_json::json;

use crate::cgroup::Driver;

/// crictl's configuration.
pub(crate) const CRICTL: &str = "/etc/crictl.yaml";
/// nerdctl's configuration when root uses it.
pub(crate) const NERDCTL: &str = "/etc/nerdctl/nerdctl.toml";
/// Clients that print their own completion for bash.
pub(crate) const COMPLETED: [&str; 2] = ["crictl", "nerdctl"];

/// The timeout is in seconds.
pub(crate) fn crictl() -> Result<String> {
    let config = json!({
        "runtime-endpoint": CRI_SOCKET,
        "image-endpoint": CRI_SOCKET,
        "timeout": 30,
        "debug": false,
    });
    kspec::to_yaml(&config).map_err(|error| {
        Error::host("render-failed", format!("cannot write `{CRICTL}` as YAML")).because(error)
    })
}

pub(crate) fn nerdctl(driver: Driver) -> String {
    let driver = driver.name();
    format!(
        r#"debug             = false
debug_full        = false
address           = "{CRI_SOCKET}"
namespace         = "k8s.io"
snapshotter       = "overlayfs"
cni_path          = "{CNI_BIN_DIR}"
cni_netconfpath   = "{CNI_CONF_DIR}"
cgroup_manager    = "{driver}"
hosts_dir         = ["/etc/containerd/certs.d"]
"#
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn clients_find_containerd() {
        insta::assert_snapshot!(super::crictl().unwrap(), @"
        runtime-endpoint: unix:///var/run/containerd/containerd.sock
        image-endpoint: unix:///var/run/containerd/containerd.sock
        timeout: 30
        debug: false
        ");
        insta::assert_snapshot!(super::nerdctl(super::Driver::Systemd), @r#"
        debug             = false
        debug_full        = false
        address           = "unix:///var/run/containerd/containerd.sock"
        namespace         = "k8s.io"
        snapshotter       = "overlayfs"
        cni_path          = "/opt/cni/bin"
        cni_netconfpath   = "/etc/cni/net.d"
        cgroup_manager    = "systemd"
        hosts_dir         = ["/etc/containerd/certs.d"]
        "#);
    }
}
