//! Credentials for registries, from a docker `config.json` to containerd
//! (containerd: `docs/cri/registry.md`; Docker: `docker login`).
//!
//! `hosts.toml` has no place for them. containerd's own is `registry.configs` of its CRI plugin:
//! marked as deprecated, and kept until there is another. A file of its own, which `config.toml`
//! imports, so that nobody but root ever reads it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use khost::{
    Error, Host, Result, StepList, fs,
    steps::{absent::Absent, directory::Directory, file::File},
};
use kspec::cluster::{Registry, RegistryHost};
use serde::Deserialize;
use serde_json::json;

pub(crate) const PATH: &str = "/etc/containerd/conf.d/credentials.toml";
const DIR: &str = "/etc/containerd/conf.d";

/// Who asks which host, by `HOST[:PORT]`.
#[derive(Clone, Default)]
pub(crate) struct Credentials(BTreeMap<String, Auth>);

/// As the docker configuration has it. `auth` is `user:password` in base64.
#[expect(clippy::struct_field_names, reason = "docker's names, and containerd's")]
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: BTreeMap<String, Auth>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Credentials {
    /// Those in the docker configuration at `path`; none without one.
    pub(crate) fn read(path: Option<&PathBuf>, host: &Host) -> Result<Self> {
        let Some(path) = path else { return Ok(Self::default()) };
        let real = host.path(path);
        let found =
            fs::look(&real)?.ok_or_else(|| unfit(path, "there is no such file on this machine"))?;
        if fs::mode(&found) & 0o077 != 0 {
            let what = format!("`{}` holds passwords that others can read", path.display());
            return Err(Error::input("docker-config-exposed", what)
                .hint(format!("run `chmod 600 {}`", path.display())));
        }
        let text = fs::read_text(&real)?.unwrap_or_default();
        // What serde_json says of a mistake names its line, never what stands there.
        let config: DockerConfig = serde_json::from_str(&text).map_err(|error| {
            unfit(path, &format!("not as docker writes it: line {}", error.line()))
        })?;
        if let Some(helper) =
            config.cred_helpers.values().chain([&config.creds_store]).find(|name| !name.is_empty())
        {
            let why = format!(
                "the credentials are kept by docker-credential-{helper}, which containerd cannot ask"
            );
            return Err(unfit(path, &why));
        }
        let hosts = config.auths.into_iter().map(|(address, auth)| (asked(&address), auth));
        Ok(Self(hosts.filter(|(_, auth)| auth.is_some()).collect()))
    }

    /// Refuse to have a password sent where others could read it on its way.
    ///
    /// # Errors
    /// `password-unprotected`.
    pub(crate) fn stay_private(&self, registries: &[Registry]) -> Result<()> {
        for RegistryHost { url, skip_verify, .. } in registries.iter().flat_map(|one| &one.hosts) {
            let host = asked(url);
            let here = host.starts_with("127.") || host.starts_with("localhost");
            let open = url.starts_with("http://") || *skip_verify;
            if open && !here && self.0.contains_key(&host) {
                let what = format!("the password would be readable by others on its way to {url}");
                return Err(Error::input("password-unprotected", what)
                    .because("it speaks no HTTPS, or any certificate would do")
                    .hint(
                        "use https:// and `ca` of the host, or take it out of the docker config",
                    ));
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
        let configs = self.0.iter().map(|(host, auth)| (host, json!({ "auth": auth.keys() })));
        let configs: BTreeMap<_, _> = configs.collect();
        let images = json!({ "registry": { "configs": configs } });
        let config = json!({ "version": 3, "plugins": { "io.containerd.cri.v1.images": images } });
        toml::to_string(&config).map_err(|error| {
            Error::host("render-failed", format!("cannot write `{PATH}` as TOML")).because(error)
        })
    }
}

impl Auth {
    fn is_some(&self) -> bool {
        !self.keys().is_empty()
    }

    /// The keys that are set: containerd calls them as docker does.
    fn keys(&self) -> BTreeMap<&str, &str> {
        let Self { auth, username, password, identitytoken } = self;
        let all = [
            ("auth", auth),
            ("username", username),
            ("password", password),
            ("identitytoken", identitytoken),
        ];
        all.into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(key, value)| (key, value.as_str()))
            .collect()
    }
}

/// The host that is asked with what docker keeps under `address`: it may be a whole address, and
/// Docker's own registry has a name of its own.
fn asked(address: &str) -> String {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "docker.io" => "registry-1.docker.io".into(),
        host => host.into(),
    }
}

fn unfit(path: &Path, why: &str) -> Error {
    let message = format!("`{}` gives containerd no credentials", path.display());
    Error::input("docker-config-invalid", message).because(why).hint(
        "name a file that `docker --config DIR login HOST` writes as `docker-config` in \
         [download], with the credentials in it",
    )
}

#[cfg(test)]
mod tests {
    use khost::{
        Host,
        fs::{Attributes, write},
    };

    use super::Credentials;

    fn read(text: &str) -> khost::Result<Credentials> {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let attributes = Attributes { mode: 0o600, owner: None };
        write(&host.path("/config.json"), text.as_bytes(), attributes).unwrap();
        Credentials::read(Some(&"/config.json".into()), &host)
    }

    #[test]
    fn dockers_credentials_become_containerds() {
        let credentials = read(
            r#"{ "HttpHeaders": {}, "auths": {
                "https://index.docker.io/v1/": { "auth": "dTpw" },
                "registry.example:5000": { "username": "me", "password": "pass\"word" },
                "token.example": { "identitytoken": "t" },
                "nothing.example": {}
            } }"#,
        )
        .unwrap();
        insta::assert_snapshot!(credentials.render().unwrap(), @r#"
        version = 3

        [plugins."io.containerd.cri.v1.images".registry.configs."registry-1.docker.io".auth]
        auth = "dTpw"

        [plugins."io.containerd.cri.v1.images".registry.configs."registry.example:5000".auth]
        password = 'pass"word'
        username = "me"

        [plugins."io.containerd.cri.v1.images".registry.configs."token.example".auth]
        identitytoken = "t"
        "#);
        assert!(!format!("{credentials:?}").contains("dTpw"));
    }

    #[test]
    fn a_password_goes_nowhere_in_the_clear() {
        let text = r#"{ "auths": { "m.example": { "auth": "dTpw" }, "127.0.0.1:5001": { "auth": "dTpw" } } }"#;
        let credentials = read(text).unwrap();
        let refused = |url: &str, skip_verify: bool| {
            let hosts = vec![super::RegistryHost { url: url.into(), skip_verify, ca: None }];
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
    fn what_gives_none_is_refused_without_being_shown() {
        for (text, why) in [
            ("{ \"auths\": { \"h\": { \"auth\": 17 } } }", "not as docker writes it: line 1"),
            ("secret", "not as docker writes it"),
            ("{ \"credsStore\": \"pass\" }", "kept by docker-credential-pass"),
            ("{ \"credHelpers\": { \"h\": \"gcloud\" } }", "kept by docker-credential-gcloud"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code(), "docker-config-invalid", "{text}");
            assert!(error.chain().contains(why), "{}", error.chain());
            assert!(!error.chain().contains("secret"), "{}", error.chain());
        }
        let nowhere = Credentials::read(Some(&"/no/config.json".into()), &Host::new("/nowhere"));
        assert_eq!(nowhere.unwrap_err().code(), "docker-config-invalid");
        assert!(Credentials::read(None, &Host::new("/nowhere")).unwrap().is_empty());
    }
}
