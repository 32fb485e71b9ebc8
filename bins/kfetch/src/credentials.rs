//! Who to be for which registry, from a docker `config.json` (`docker login` writes it).
//!
//! A password goes to the host it is for, and only over a connection that keeps it: HTTPS with a
//! certificate that is checked, or this machine itself.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use khost::{Error, Result};
use oci_client::secrets::RegistryAuth;
use serde::Deserialize;

use crate::source::RegistryHost;

/// Logins by the host that is asked.
#[derive(Default)]
pub(crate) struct Credentials {
    path: PathBuf,
    logins: BTreeMap<String, Login>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DockerConfig {
    auths: BTreeMap<String, Login>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

/// As docker has it; `auth` is `user:password` in base64.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl Credentials {
    /// Those of the file at `path`. It must be its owner's alone, and the owner whoever runs this,
    /// or root.
    ///
    /// # Errors
    /// `docker-config-exposed`, or `docker-config-invalid`; neither shows what is in the file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => unfit(path, "there is no such file"),
            _ => Error::io("read", path, error),
        };
        let mut file = File::open(path).map_err(failed)?;
        let found = file.metadata().map_err(failed)?;
        let own = [0, nix::unistd::geteuid().as_raw()].contains(&found.uid());
        if !found.is_file() || found.mode() & 0o077 != 0 || !own {
            let what = format!("`{}` holds passwords that others can read", path.display());
            let is =
                format!("its mode is {:04o}, its owner {}", found.mode() & 0o7777, found.uid());
            let hint = format!("run `chmod 600 {0}` and `chown root {0}`", path.display());
            return Err(Error::input("docker-config-exposed", what).because(is).hint(hint));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(failed)?;
        // What serde_json says may show what stands there: the line must do.
        let config: DockerConfig = serde_json::from_str(&text).map_err(|error| {
            unfit(path, &format!("it is not as docker writes it: line {}", error.line()))
        })?;
        let helpers = config.cred_helpers.values().chain([&config.creds_store]);
        if let Some(helper) = helpers.into_iter().find(|name| !name.is_empty()) {
            let why = format!("docker-credential-{helper} keeps them, which is not asked");
            return Err(unfit(path, &why));
        }
        let host = |(address, login): (String, _)| Some((asked(&address)?, login));
        let logins = config.auths.into_iter().filter_map(host).collect();
        Ok(Self { path: path.to_owned(), logins })
    }

    /// Who to be for `host`.
    ///
    /// # Errors
    /// `password-unprotected` when others could read the password on its way.
    pub(crate) fn for_host(&self, host: &RegistryHost) -> Result<RegistryAuth> {
        let Some(login) = self.logins.get(&host.authority.to_lowercase()) else {
            return Ok(RegistryAuth::Anonymous);
        };
        let entry = |why: &str| unfit(&self.path, &format!("for {}, {why}", host.authority));
        if !(login.identitytoken.is_empty() && login.registrytoken.is_empty()) {
            return Err(entry("it has a token, and only passwords are supported"));
        }
        let (user, password) = if login.auth.is_empty() {
            (login.username.clone(), login.password.clone())
        } else {
            let plain = STANDARD.decode(login.auth.trim()).ok().map(String::from_utf8);
            let plain = plain.and_then(Result::ok);
            let pair = plain.as_deref().and_then(|plain| plain.split_once(':'));
            let (user, password) =
                pair.ok_or_else(|| entry("`auth` is not USER:PASSWORD in base64"))?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        if user.is_empty() || password.is_empty() {
            return Ok(RegistryAuth::Anonymous); // docker leaves `{}` behind
        }
        if (host.plain || host.skip_verify) && !is_this_machine(&host.authority) {
            return Err(unprotected(&host.base()));
        }
        Ok(RegistryAuth::Basic(user, password))
    }
}

/// A password would be readable on its way to `address`.
pub(crate) fn unprotected(address: &str) -> Error {
    let what = format!("the password would be readable by others on its way to {address}");
    Error::input("password-unprotected", what)
        .because("it speaks no HTTPS, or any certificate would do")
        .hint("use https:// and `ca` of the host, or take the host out of the docker config")
}

/// Whether `authority` (`HOST` or `HOST:PORT`) is a loopback address.
pub(crate) fn is_this_machine(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The host that is asked with what docker keeps under `address`: that may be a whole address, and
/// Docker's own registry has another name there. None for what names no registry's host.
fn asked(address: &str) -> Option<String> {
    let address = address.to_lowercase();
    let rest = address.split_once("://").map_or(address.as_str(), |(_, rest)| rest);
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    if !matches!(path.trim_end_matches('/'), "" | "v1" | "v2") {
        return None;
    }
    Some(match host.strip_suffix(":443").unwrap_or(host) {
        "index.docker.io" | "docker.io" => "registry-1.docker.io".into(),
        host => host.into(),
    })
}

fn unfit(path: &Path, why: &str) -> Error {
    Error::input("docker-config-invalid", format!("`{}` gives no credentials", path.display()))
        .because(why.to_owned())
        .hint(
            "name a file that `docker --config DIR login HOST` writes, without a credential \
             helper, as `docker-config` in [download]",
        )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use khost::fs::{Attributes, write};
    use oci_client::secrets::RegistryAuth;

    use super::Credentials;
    use crate::source::RegistryHost;

    fn read(text: &str, mode: u32) -> khost::Result<Credentials> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        write(&path, text.as_bytes(), Attributes { mode, owner: None }).unwrap();
        Credentials::read(&path)
    }

    fn host(authority: &str, plain: bool, skip_verify: bool) -> RegistryHost {
        RegistryHost { authority: authority.into(), plain, skip_verify, authorities: Vec::new() }
    }

    #[test]
    fn a_password_is_for_one_host() {
        let credentials = read(
            r#"{ "auths": {
                "https://index.docker.io/v1/": { "auth": "bWU6aHVudGVyMg==" },
                "R.example:5000": { "username": "me", "password": "a:b" },
                "https://tls.example:443": { "auth": "bWU6aHVudGVyMg==" },
                "quay.io/team": { "auth": "bWU6aHVudGVyMg==" },
                "empty.example": {}
            } }"#,
            0o600,
        )
        .unwrap();
        let asked = |name: &str| match credentials.for_host(&host(name, false, false)).unwrap() {
            RegistryAuth::Basic(user, password) => format!("{user}/{password}"),
            _ => "anyone".into(),
        };
        assert_eq!(asked("registry-1.docker.io"), "me/hunter2");
        assert_eq!(asked("r.example:5000"), "me/a:b");
        assert_eq!(asked("tls.example"), "me/hunter2");
        for other in ["r.example", "r.example:5001", "quay.io", "empty.example", "docker.io"] {
            assert_eq!(asked(other), "anyone", "{other}");
        }
    }

    #[test]
    fn a_password_is_not_sent_where_others_can_read_it() {
        let login = r#"{ "username": "me", "password": "hunter2" }"#;
        let hosts = ["10.0.0.1:5000", "127.0.0.1:5000", "[::1]:5000", "localhost"];
        let auths = hosts.map(|host| format!("{host:?}: {login}")).join(", ");
        let credentials = read(&format!(r#"{{ "auths": {{ {auths} }} }}"#), 0o400).unwrap();
        for (plain, skip_verify) in [(true, false), (false, true)] {
            let error = credentials.for_host(&host(hosts[0], plain, skip_verify)).unwrap_err();
            assert_eq!(error.code(), "password-unprotected");
            assert!(!error.chain().contains("hunter2"));
            for own in &hosts[1..] {
                assert!(credentials.for_host(&host(own, plain, skip_verify)).is_ok(), "{own}");
            }
        }
    }

    #[test]
    fn what_is_refused_and_not_shown() {
        for (text, why) in [
            ("hunter2", "it is not as docker writes it: line 1"),
            (r#"{ "auths": { "h": { "auth": 17 } } }"#, "it is not as docker writes it: line 1"),
            (r#"{ "credsStore": "pass" }"#, "docker-credential-pass keeps them"),
            (r#"{ "credHelpers": { "h": "gcloud" } }"#, "docker-credential-gcloud keeps them"),
            (r#"{ "auths": { "h": { "identitytoken": "hunter2" } } }"#, "it has a token"),
            (r#"{ "auths": { "h": { "auth": "hunter2" } } }"#, "`auth` is not USER:PASSWORD"),
        ] {
            let read = read(text, 0o600).and_then(|found| found.for_host(&host("h", false, false)));
            let error = read.unwrap_err();
            assert_eq!(error.code(), "docker-config-invalid", "{text}");
            assert!(error.chain().contains(why), "{}", error.chain());
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
        }
        for mode in [0o644, 0o640, 0o604, 0o660] {
            assert_eq!(read("{}", mode).err().unwrap().code(), "docker-config-exposed");
        }
        let nowhere = Credentials::read(Path::new("/nowhere/config.json"));
        assert_eq!(nowhere.err().unwrap().code(), "docker-config-invalid");
    }
}
