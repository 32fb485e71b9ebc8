//! One host that serves images, as containerd understands its section (containerd:
//! `core/remotes/docker/config/hosts.go`).

use std::time::Duration;

use khost::Result;
use kspec::cluster::{self, Capability};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::{Position, Url};

use crate::{
    source::http_url,
    trust::{Authority, Trust},
};

/// What is needed to ask it.
#[derive(Debug, Clone)]
pub(crate) struct RegistryHost {
    /// `HOST` or `HOST:PORT`.
    pub(crate) authority: String,
    /// Where its API begins, without a `/` at the end: `https://HOST/v2`.
    pub(crate) root: String,
    /// The registry it serves, where it is not that registry itself.
    pub(crate) mirrors: Option<String>,
    /// It knows what tags mean.
    pub(crate) resolves: bool,
    pub(crate) trust: Trust,
    /// What every request has besides.
    pub(crate) headers: HeaderMap,
    url: Url,
}

impl RegistryHost {
    /// A host of `registry`; its own authority is among `authorities`.
    ///
    /// # Errors
    /// `address-invalid` or `password-in-address`.
    pub(crate) fn new(
        host: &cluster::RegistryHost,
        registry: &str,
        authorities: Vec<Authority>,
    ) -> Result<Self> {
        let place = "url of a [[containerd.registry]] host of cluster.toml";
        let url = http_url(&host.url, place)?;
        let authority = url[Position::BeforeHost..Position::AfterPort].to_owned();
        let mut root = url[..Position::AfterPath].trim_end_matches('/').to_owned();
        if !host.override_path && !url.path().trim_end_matches('/').ends_with("/v2") {
            root += "/v2";
        }
        let connect = host.dial_timeout_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let trust = Trust {
            skip_verify: host.skip_verify,
            authorities,
            client: host.clients.first().cloned(),
            connect,
        };
        let home = cluster::Registry::home(registry);
        let mirrors = (home.split_once("://").map(|(_, home)| home) != Some(&authority))
            .then(|| registry.to_owned());
        let resolves = host.capabilities.contains(&Capability::Resolve);
        Ok(Self { authority, root, mirrors, resolves, trust, headers: headers(host), url })
    }

    /// HTTP without TLS.
    pub(crate) fn is_plain(&self) -> bool {
        self.url.scheme() == "http"
    }

    /// `http://HOST` or `https://HOST`.
    pub(crate) fn base(&self) -> String {
        self.url[..Position::AfterPort].to_owned()
    }
}

/// Those of cluster.toml, which was found sound.
fn headers(host: &cluster::RegistryHost) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in host.headers.iter().flat_map(|(n, all)| all.iter().map(move |v| (n, v))) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
        {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use kspec::cluster;

    use super::RegistryHost;

    fn host(url: &str, override_path: bool, registry: &str) -> RegistryHost {
        let described = cluster::RegistryHost { override_path, ..cluster::RegistryHost::new(url) };
        RegistryHost::new(&described, registry, Vec::new()).unwrap()
    }

    /// As `parseHostConfig` of containerd has it.
    #[test]
    fn where_the_api_begins() {
        for (url, override_path, root) in [
            ("https://h", false, "https://h/v2"),
            ("https://h/", false, "https://h/v2"),
            ("http://h:5000/a/b/", false, "http://h:5000/a/b/v2"),
            ("https://h/v2", false, "https://h/v2"),
            ("https://h/v2/", false, "https://h/v2"),
            ("https://h/v2/proxy", false, "https://h/v2/proxy/v2"),
            ("https://h/v2/proxy/", true, "https://h/v2/proxy"),
            ("https://h", true, "https://h"),
        ] {
            assert_eq!(host(url, override_path, "r").root, root, "{url} {override_path}");
        }
    }

    /// As `isProxy` of containerd has it.
    #[test]
    fn who_only_mirrors() {
        let mirrors = |url: &str, registry| host(url, false, registry).mirrors;
        assert_eq!(mirrors("https://r.example", "r.example"), None);
        assert_eq!(mirrors("https://registry-1.docker.io", "docker.io"), None);
        assert_eq!(mirrors("https://m.example", "docker.io").as_deref(), Some("docker.io"));
        assert_eq!(mirrors("http://r.example:80", "r.example"), None);
    }
}
