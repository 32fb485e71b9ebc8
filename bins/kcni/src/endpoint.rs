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
    use kspec::state::ControlPlaneState;

    use super::split;

    pub(crate) fn control_plane(endpoint: &str) -> ControlPlaneState {
        ControlPlaneState { endpoint: endpoint.into(), ..ktest::control_plane() }
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
