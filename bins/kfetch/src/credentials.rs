//! Who to be for which registry.
//!
//! A password goes to the host it is for, and only over a connection that keeps it: HTTPS with a
//! certificate that is checked, or this machine itself.

use khost::{
    Result,
    docker_config::{DockerConfig, UserAndPassword, is_this_machine, unprotected},
};

use crate::registry_host::RegistryHost;

/// Who to be for `host`.
///
/// # Errors
/// `password-unprotected` when others could read the password on its way.
pub(crate) fn for_host(
    config: &DockerConfig,
    host: &RegistryHost,
) -> Result<Option<UserAndPassword>> {
    let login = config.login(&host.authority)?;
    let open = host.is_plain() || host.trust.skip_verify;
    if login.is_some() && open && !is_this_machine(&host.authority) {
        return Err(unprotected(&host.base()));
    }
    Ok(login)
}

#[cfg(test)]
mod tests {
    use khost::{
        Host,
        docker_config::DockerConfig,
        fs::{Attributes, write},
    };
    use kspec::cluster::{self, Download};

    use super::for_host;
    use crate::registry_host::RegistryHost;

    #[test]
    fn a_password_is_not_sent_where_others_can_read_it() {
        let login = r#"{ "username": "me", "password": "hunter2" }"#;
        let hosts = ["10.0.0.1:5000", "127.0.0.1:5000", "[::1]:5000", "localhost"];
        let auths = hosts.map(|host| format!("{host:?}: {login}")).join(", ");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let text = format!(r#"{{ "auths": {{ {auths} }} }}"#);
        write(&path, text.as_bytes(), Attributes { mode: 0o400, owner: None }).unwrap();
        let download =
            Download { docker_config: Some("/config.json".into()), ..Download::default() };
        let config = DockerConfig::of(&download, &Host::new(dir.path())).unwrap();
        let host = |authority: &str, plain, skip_verify| {
            let url = format!("{}://{authority}", if plain { "http" } else { "https" });
            let described =
                cluster::RegistryHost { skip_verify, ..cluster::RegistryHost::new(url) };
            RegistryHost::new(&described, "h", Vec::new()).unwrap()
        };
        for (plain, skip_verify) in [(true, false), (false, true)] {
            let error = for_host(&config, &host(hosts[0], plain, skip_verify)).unwrap_err();
            assert_eq!(error.code(), "password-unprotected");
            assert!(!error.chain().contains("hunter2"));
            for own in &hosts[1..] {
                assert!(for_host(&config, &host(own, plain, skip_verify)).is_ok(), "{own}");
            }
        }
    }
}
