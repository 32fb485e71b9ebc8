//! Passwords for registries, from a docker `config.json` (`docker login` writes it).

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kspec::cluster::Download;
use serde::Deserialize;

use crate::{Error, Host, Result, private};

/// Logins by the host that is asked, `HOST` or `HOST:PORT`.
#[derive(Clone, Default)]
pub struct DockerConfig {
    path: PathBuf,
    logins: BTreeMap<String, Login>,
}

/// How to be somebody at a registry.
#[derive(Clone, PartialEq, Eq)]
pub struct UserAndPassword {
    /// The name.
    pub user: String,
    /// Never to be shown.
    pub password: String,
}

/// As docker has it; `auth` is `user:password` in base64.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Written {
    auths: BTreeMap<String, Login>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

impl std::fmt::Debug for UserAndPassword {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserAndPassword").field("user", &self.user).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.logins.keys()).finish()
    }
}

impl DockerConfig {
    /// The one that `docker-config` of [download] names; one without any logins where there is none.
    /// Like all paths in cluster.toml it is one of `host`: with `--root` it lies below that.
    ///
    /// # Errors
    /// Those of [`DockerConfig::read`].
    pub fn of(download: &Download, host: &Host) -> Result<Self> {
        let path = download.docker_config.as_ref();
        path.map_or_else(|| Ok(Self::default()), |path| Self::read(&host.path(path)))
    }

    /// The one at `path`. It must be its owner's alone, and the owner whoever runs this, or root.
    ///
    /// # Errors
    /// `docker-config-exposed`, or `docker-config-invalid`; neither shows what is in the file.
    fn read(path: &Path) -> Result<Self> {
        let text = private::read(path, "docker-config-exposed", "passwords")?;
        let text = text.ok_or_else(|| unfit(path, "there is no such file"))?;
        // What serde_json says may show what stands there: the line must do.
        let written: Written = serde_json::from_slice(&text).map_err(|error| {
            unfit(path, &format!("it is not as docker writes it: line {}", error.line()))
        })?;
        let helpers = written.cred_helpers.values().chain([&written.creds_store]);
        if let Some(helper) = helpers.into_iter().find(|name| !name.is_empty()) {
            let why = format!("docker-credential-{helper} keeps them, which is not asked");
            return Err(unfit(path, &why));
        }
        let host = |(address, login): (String, _)| Some((asked(&address)?, login));
        let logins = written.auths.into_iter().filter_map(host).collect();
        Ok(Self { path: path.to_owned(), logins })
    }

    /// The hosts there are logins for.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        self.logins.keys().map(String::as_str)
    }

    /// Who to be for the host `authority`, `HOST` or `HOST:PORT`; none for anybody.
    ///
    /// # Errors
    /// `docker-config-invalid` when the login is a token, or cannot be read.
    pub fn login(&self, authority: &str) -> Result<Option<UserAndPassword>> {
        let Some(login) = self.logins.get(&authority.to_lowercase()) else { return Ok(None) };
        let entry = |why: &str| unfit(&self.path, &format!("for {authority}, {why}"));
        if !(login.identitytoken.is_empty() && login.registrytoken.is_empty()) {
            return Err(entry("it has a token, and only passwords are supported"));
        }
        let (user, password) = if login.auth.is_empty() {
            (login.username.clone(), login.password.clone())
        } else {
            let plain = STANDARD.decode(login.auth.trim()).ok().map(String::from_utf8);
            let plain = plain.and_then(std::result::Result::ok);
            let pair = plain.as_deref().and_then(|plain| plain.split_once(':'));
            let (user, password) =
                pair.ok_or_else(|| entry("`auth` is not USER:PASSWORD in base64"))?;
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        };
        // docker leaves `{}` behind
        let known = !user.is_empty() && !password.is_empty();
        Ok(known.then_some(UserAndPassword { user, password }))
    }
}

/// The error when a password would be readable on its way to `address`.
pub fn unprotected(address: &str) -> Error {
    let what = format!("the password would be readable by others on its way to {address}");
    Error::input("password-unprotected", what)
        .because("it speaks no HTTPS, or any certificate would do")
        .hint("use https:// and `ca` of the host, or take the host out of the docker config")
}

/// Whether `authority` (`HOST` or `HOST:PORT`) is a loopback address: what is sent there stays.
pub fn is_this_machine(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The host that is asked with what docker keeps under `address`: that may be a whole address, and
/// Docker's own registry has another name there. None for what names no registry's host.
pub fn asked(address: &str) -> Option<String> {
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
    use std::{fs::Permissions, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

    use base64::Engine as _;
    use proptest::prelude::*;

    use super::{DockerConfig, STANDARD, UserAndPassword, is_this_machine};

    fn read(text: &str, mode: u32) -> crate::Result<DockerConfig> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file.as_file().set_permissions(Permissions::from_mode(mode)).unwrap();
        DockerConfig::read(file.path())
    }

    #[test]
    fn a_password_is_for_one_host() {
        let config = read(
            r#"{ "HttpHeaders": {}, "auths": {
                "https://index.docker.io/v1/": { "auth": "bWU6aHVudGVyMg==" },
                "R.example:5000": { "username": "me", "password": "a:b" },
                "https://tls.example:443": { "auth": "bWU6aHVudGVyMg==" },
                "quay.io/team": { "auth": "bWU6aHVudGVyMg==" },
                "empty.example": {}
            } }"#,
            0o600,
        )
        .unwrap();
        let asked = |name: &str| match config.login(name).unwrap() {
            Some(login) => format!("{}/{}", login.user, login.password),
            None => "anyone".into(),
        };
        assert_eq!(asked("registry-1.docker.io"), "me/hunter2");
        assert_eq!(asked("r.example:5000"), "me/a:b");
        assert_eq!(asked("tls.example"), "me/hunter2");
        for other in ["r.example", "r.example:5001", "quay.io", "empty.example", "docker.io"] {
            assert_eq!(asked(other), "anyone", "{other}");
        }
        let shown = format!("{config:?} {:?}", config.login("r.example:5000").unwrap());
        assert!(shown.contains("r.example:5000") && !shown.contains("a:b"), "{shown}");
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
            let error = read(text, 0o600).and_then(|found| found.login("h")).unwrap_err();
            assert_eq!(error.code(), "docker-config-invalid", "{text}");
            assert!(error.chain().contains(why), "{}", error.chain());
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
        }
        for mode in [0o644, 0o640, 0o604, 0o660] {
            assert_eq!(read("{}", mode).unwrap_err().code(), "docker-config-exposed");
        }
        let nowhere = DockerConfig::read(Path::new("/nowhere/config.json"));
        assert_eq!(nowhere.unwrap_err().code(), "docker-config-invalid");
    }

    #[test]
    fn loopback_is_this_machine() {
        for own in ["127.0.0.1:5000", "[::1]:5000", "[::1]", "localhost", "localhost:1"] {
            assert!(is_this_machine(own), "{own}");
        }
        for other in ["10.0.0.1:5000", "127.example", "r.example", "localhost.example:5000"] {
            assert!(!is_this_machine(other), "{other}");
        }
    }

    proptest! {
        #[test]
        fn whatever_it_says_is_never_shown(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let auth = STANDARD.encode(&bytes);
            for text in [
                format!(r#"{{ "auths": {{ "r.example": {{ "auth": "hunter2{auth}" }} }} }}"#),
                format!(r#"{{ "auths": {{ "r.example": {{ "auth": "{auth}" }} }} }}"#),
                format!(r#"{{ "auths": "hunter2{auth}" }}"#),
                format!("hunter2{}", String::from_utf8_lossy(&bytes)),
            ] {
                match read(&text, 0o600).and_then(|config| config.login("r.example")) {
                    Ok(_) => {}
                    Err(error) => {
                        prop_assert_eq!(error.code(), "docker-config-invalid");
                        prop_assert!(!error.chain().contains("hunter2"), "{}", error.chain());
                    }
                }
            }
        }

        #[test]
        fn a_login_is_read_as_docker_writes_it(user in "[!-9;-~é]{1,8}", password in "[ -~é]{1,8}") {
            let auth = STANDARD.encode(format!("{user}:{password}"));
            let text = format!(r#"{{ "auths": {{ "r.example": {{ "auth": "{auth}" }} }} }}"#);
            let login = read(&text, 0o600).unwrap().login("R.example").unwrap().unwrap();
            let shown = format!("{:?}", UserAndPassword { user: String::new(), ..login.clone() });
            prop_assert_eq!(shown, "UserAndPassword { user: \"\", .. }");
            prop_assert_eq!((login.user, login.password), (user, password));
        }
    }

    #[test]
    fn fuzz_docker_config() {
        let seed = r#"{"auths":{"r.example:5000":{"auth":"dTpw"},"https://index.docker.io/v1/":
            {"username":"u","password":"p"}},"credsStore":"","credHelpers":{"x":"y"}}"#;
        fuzz::text_target([seed], |text| {
            let Ok(config) = read(text, 0o600) else { return };
            for host in config.hosts() {
                let _ = config.login(host);
            }
        });
    }
}
