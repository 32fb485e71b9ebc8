//! Where flannel reaches the API server.

use khost::{Error, Result};
use kspec::state::ControlPlaneState;

/// Host and port of the API server as all nodes reach it. One `DaemonSet` serves them all, so the
/// address that only this node knows it by will not do.
pub(crate) fn split(control_plane: &ControlPlaneState) -> Result<(String, String)> {
    let endpoint = &control_plane.endpoint;
    let authority = endpoint.strip_prefix("https://").unwrap_or(endpoint).trim_end_matches('/');
    match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() && !host.is_empty() => {
            Ok((host.trim_start_matches('[').trim_end_matches(']').into(), port.into()))
        }
        _ => Err(Error::input(
            "input-invalid",
            format!("control-plane.json has no usable endpoint: `{endpoint}`"),
        )
        .because("it is no https://HOST:PORT")
        .hint("run `kcp apply` to make it anew")),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use kspec::{Sha256, state::ControlPlaneState};

    use super::split;

    pub(crate) fn control_plane(endpoint: &str) -> ControlPlaneState {
        ControlPlaneState {
            schema: 1,
            version: "1.33.3".into(),
            local_endpoint: "https://127.0.0.1:6443".into(),
            endpoint: endpoint.into(),
            kubeconfig: kspec::paths::ADMIN_CONF.into(),
            ca_sha256: Sha256::of(b"ca"),
            cluster_dns: [10, 233, 0, 3].into(),
        }
    }

    #[test]
    fn host_and_port_are_taken_apart() {
        let split = |endpoint| split(&control_plane(endpoint)).ok();
        let pair = |host: &str, port: &str| Some((host.to_owned(), port.to_owned()));
        assert_eq!(split("https://192.0.2.11:6443"), pair("192.0.2.11", "6443"));
        assert_eq!(split("https://[2001:db8::1]:8443"), pair("2001:db8::1", "8443"));
        assert_eq!(split("https://api.example:6443/"), pair("api.example", "6443"));
        assert_eq!(split("https://api.example"), None);
    }
}
