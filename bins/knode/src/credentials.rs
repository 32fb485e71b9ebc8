//! Credentials for registries, from a docker `config.json` to containerd
//! (containerd: `docs/cri/registry.md`; Docker: `docker login`).
//!
//! `hosts.toml` has no place for them. containerd's own is `registry.configs` of its CRI plugin:
//! marked as deprecated, and kept until there is another. A file of its own, which `config.toml`
//! imports, so that nobody but root ever reads it.

use std::collections::BTreeMap;

use khost::{
    Error, Host, Result, StepList,
    docker_config::{DockerConfig, UserAndPassword, asked, is_this_machine, unprotected},
    steps::{absent::Absent, directory::Directory, file::File},
};
use kspec::cluster::{Download, Registry, RegistryHost};
use serde_json::json;

pub(crate) const PATH: &str = "/etc/containerd/conf.d/credentials.toml";
const DIR: &str = "/etc/containerd/conf.d";

/// Who asks which host, by `HOST[:PORT]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials(BTreeMap<String, UserAndPassword>);

impl Credentials {
    /// Those in the docker configuration of [download]; none without one.
    pub(crate) fn read(download: &Download, host: &Host) -> Result<Self> {
        let config = DockerConfig::of(download, host)?;
        let login = |name: &str| Ok(config.login(name)?.map(|login| (name.to_owned(), login)));
        config.hosts().filter_map(|name| login(name).transpose()).collect::<Result<_>>().map(Self)
    }

    /// Refuse to have a password sent where others could read it on its way.
    ///
    /// # Errors
    /// `password-unprotected`.
    pub(crate) fn stay_private(&self, registries: &[Registry]) -> Result<()> {
        for one in registries.iter().flat_map(|registry| &registry.hosts) {
            let RegistryHost { url, skip_verify, .. } = one;
            let Some(host) = asked(url) else { continue };
            let open = one.is_plain() || *skip_verify;
            if open && !is_this_machine(&host) && self.0.contains_key(&host) {
                return Err(unprotected(url));
            }
        }
        Ok(())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `config.toml` and what it imports, which comes before it and goes after it: containerd
    /// does not start while an import is missing.
    pub(crate) fn beside(&self, config: File, steps: &mut StepList) -> Result<()> {
        if self.is_empty() {
            steps.add(config);
            steps.add(Absent::new(PATH));
        } else {
            steps.add(Directory::new(DIR));
            steps.add(File::new(PATH).mode(0o600).secret(self.render()?));
            steps.add(config);
        }
        Ok(())
    }

    fn render(&self) -> Result<String> {
        let auth = |UserAndPassword { user, password }: &UserAndPassword| json!({ "auth": { "username": user, "password": password } });
        let configs: BTreeMap<_, _> =
            self.0.iter().map(|(host, login)| (host, auth(login))).collect();
        let images = json!({ "registry": { "configs": configs } });
        let config = json!({ "version": 3, "plugins": { "io.containerd.cri.v1.images": images } });
        toml::to_string(&config).map_err(|error| {
            Error::host("render-failed", format!("cannot write `{PATH}` as TOML")).because(error)
        })
    }
}

#[cfg(test)]
mod tests {
    use khost::{
        Host,
        fs::{Attributes, write},
    };

    use kspec::cluster::Download;

    use super::Credentials;

    fn download(docker_config: &str) -> Download {
        Download { docker_config: Some(docker_config.into()), ..Download::default() }
    }

    fn read(text: &str) -> khost::Result<Credentials> {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let attributes = Attributes { mode: 0o600, owner: None };
        write(&host.path("/config.json"), text.as_bytes(), attributes).unwrap();
        Credentials::read(&download("/config.json"), &host)
    }

    #[test]
    fn dockers_credentials_become_containerds() {
        let credentials = read(
            r#"{ "HttpHeaders": {}, "auths": {
                "https://index.docker.io/v1/": { "auth": "dTpw" },
                "registry.example:5000": { "username": "me", "password": "pass\"word" },
                "nothing.example": {}
            } }"#,
        )
        .unwrap();
        insta::assert_snapshot!(credentials.render().unwrap(), @r#"
        version = 3

        [plugins."io.containerd.cri.v1.images".registry.configs."registry-1.docker.io".auth]
        username = "u"
        password = "p"

        [plugins."io.containerd.cri.v1.images".registry.configs."registry.example:5000".auth]
        username = "me"
        password = 'pass"word'
        "#);
    }

    #[test]
    fn a_password_goes_nowhere_in_the_clear() {
        let text = r#"{ "auths": { "m.example": { "auth": "dTpw" }, "127.0.0.1:5001": { "auth": "dTpw" } } }"#;
        let credentials = read(text).unwrap();
        let refused = |url: &str, skip_verify: bool| {
            let hosts = vec![super::RegistryHost { skip_verify, ..super::RegistryHost::new(url) }];
            let one = super::Registry { prefix: "r.example".into(), server: None, hosts };
            credentials.stay_private(&[one]).err().map(|error| error.code())
        };
        assert_eq!(refused("https://m.example", false), None);
        assert_eq!(refused("https://m.example", true), Some("password-unprotected"));
        assert_eq!(refused("http://m.example", false), Some("password-unprotected"));
        assert_eq!(refused("http://others.example", false), None);
        assert_eq!(refused("http://127.0.0.1:5001", false), None);
    }

    #[test]
    fn without_a_configuration_there_are_none() {
        let host = Host::new("/nowhere");
        assert!(Credentials::read(&Download::default(), &host).unwrap().is_empty());
        let nowhere = Credentials::read(&download("/no/config.json"), &host);
        assert_eq!(nowhere.err().unwrap().code(), "docker-config-invalid");
    }
}
