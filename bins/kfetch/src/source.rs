//! Where a file or image is asked for, and in which order.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use khost::{Error, Host, Result, docker_config::DockerConfig};
use kspec::{
    Cluster, LockedFile,
    cluster::{self, Capability, Download, Registry},
};
use url::{Position, Url};

use crate::{registry_host::RegistryHost, trust::Authority, wanted::Wanted};

/// `[download]` and `[[containerd.registry]]` of the cluster description.
#[derive(Debug)]
pub(crate) struct Sources {
    mirrors: Vec<Url>,
    registries: Vec<Registry>,
    download: Download,
    pub(crate) proxies: Proxies,
    /// That of `download.ca-file`.
    pub(crate) authority: Option<Authority>,
    /// Those that serve a registry, by its prefix, in order.
    hosts: BTreeMap<String, Vec<RegistryHost>>,
    pub(crate) host: Host,
}

/// The proxies of cluster.toml. Without any, those of the environment (`HTTPS_PROXY` and the like)
/// hold, as they do for curl.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies {
    pub(crate) http: Option<String>,
    pub(crate) https: Option<String>,
    /// What is reached without, with commas between.
    pub(crate) none: Option<String>,
}

impl Proxies {
    fn of(cluster: &Cluster) -> Self {
        let proxy = &cluster.proxy;
        let none = proxy.is_set().then(|| cluster.no_proxy().join(","));
        let [http, https] = [proxy.for_http(), proxy.for_https()].map(|url| url.map(Into::into));
        Self { http, https, none }
    }

    /// These as `reqwest` takes them.
    pub(crate) fn all(&self) -> Result<Vec<reqwest::Proxy>> {
        let none = || self.none.as_deref().and_then(reqwest::NoProxy::from_string);
        let made = |proxy: reqwest::Result<reqwest::Proxy>| {
            proxy.map(|proxy| proxy.no_proxy(none())).map_err(|error| {
                Error::input("proxy-invalid", "[proxy] of cluster.toml names no proxy")
                    .because(error)
            })
        };
        let http = self.http.as_deref().map(reqwest::Proxy::http);
        let https = self.https.as_deref().map(reqwest::Proxy::https);
        http.into_iter().chain(https).map(made).collect()
    }
}

impl Sources {
    /// What `cluster` says, and the files of `host` that it names; with `offline`, nobody is asked
    /// whatever it says.
    pub(crate) fn new(cluster: &Cluster, host: &Host, offline: bool) -> Result<Self> {
        let mut download = cluster.download.clone();
        download.offline |= offline;
        let mirrors = download
            .mirrors
            .iter()
            .map(|mirror| http_url(mirror, "download.mirrors of cluster.toml"))
            .collect::<Result<_>>()?;
        let registries = cluster.containerd.registries.clone();
        let read = |path: &PathBuf, key| Authority::read(host, path, key);
        let authority = download.ca_file.as_ref();
        let authority = authority.map(|path| read(path, "ca-file of [download]")).transpose()?;
        let mut hosts = BTreeMap::new();
        for section in &registries {
            let pulling = section.hosts.iter().filter(|host| pulls(host));
            let made = pulling.map(|described| {
                let own = described.ca.as_ref();
                let own =
                    own.map(|ca| read(ca, "ca of a [[containerd.registry.host]]")).transpose()?;
                let all = authority.iter().cloned().chain(own).collect();
                RegistryHost::new(described, &section.prefix, all)
            });
            hosts.insert(section.prefix.clone(), made.collect::<Result<Vec<_>>>()?);
        }
        let (proxies, host) = (Proxies::of(cluster), host.clone());
        Ok(Self { mirrors, registries, download, proxies, authority, hosts, host })
    }

    /// Who to be for registries; read only when one is about to be asked.
    pub(crate) fn passwords(&self) -> Result<DockerConfig> {
        DockerConfig::of(&self.download, &self.host)
    }

    /// Refuse what cannot be asked for, before the first byte is fetched.
    pub(crate) fn check(&self, wanted: &Wanted) -> Result<()> {
        for artifact in &self.download.artifacts {
            if !wanted.files.iter().any(|file| file.name == artifact.name) {
                let names: Vec<_> = wanted.files.iter().map(|file| file.name.as_str()).collect();
                let what = format!("[[download.artifact]] names `{}`", artifact.name);
                return Err(Error::input("artifact-unknown", what)
                    .because("no file of artifacts.lock is called that")
                    .hint(format!("choose of: {}", names.join(", "))));
            }
        }
        for file in &wanted.files {
            self.urls(file)?;
        }
        wanted.images.iter().try_for_each(|image| self.hosts(&image.reference.registry).map(drop))
    }

    pub(crate) fn parallel(&self) -> usize {
        usize::from(self.download.parallel.max(1))
    }

    /// Whether nothing may be asked.
    pub(crate) fn is_offline(&self) -> bool {
        self.download.offline
    }

    pub(crate) fn attempts(&self) -> u8 {
        self.download.attempts.max(1)
    }

    /// How long no byte may come.
    pub(crate) fn stall(&self) -> Duration {
        Duration::from_secs(self.download.stall_seconds.max(1))
    }

    /// The addresses of `file`: its own, every mirror, then upstream.
    pub(crate) fn urls(&self, file: &LockedFile) -> Result<Vec<String>> {
        let upstream = http_url(&file.url, &format!("url of `{}` in artifacts.lock", file.name))?;
        let host = &upstream[Position::BeforeHost..Position::AfterPort];
        let path = &upstream[Position::BeforePath..Position::AfterQuery];
        let mut urls = self.own_urls(file)?;
        let mirrors = self.mirrors.iter().map(|mirror| mirror.as_str().trim_end_matches('/'));
        urls.extend(mirrors.map(|mirror| format!("{mirror}/{host}{path}")));
        if !self.download.mirrors_only {
            urls.push(upstream.to_string());
        }
        Ok(urls)
    }

    /// Those of its [[download.artifact]].
    fn own_urls(&self, file: &LockedFile) -> Result<Vec<String>> {
        let of_it = self.download.artifacts.iter().filter(|artifact| artifact.name == file.name);
        let fill = |url: &String| {
            let url = url.replace("{version}", &file.version).replace("{arch}", file.arch.as_str());
            let place = format!("urls of the [[download.artifact]] `{}`", file.name);
            http_url(&url, &place).map(|url| url.to_string())
        };
        of_it.flat_map(|artifact| &artifact.urls).map(fill).collect()
    }

    /// The hosts that serve `registry`: those of its section, then the registry itself.
    pub(crate) fn hosts(&self, registry: &str) -> Result<Vec<RegistryHost>> {
        let mut hosts = self.hosts.get(registry).cloned().unwrap_or_default();
        if !self.download.mirrors_only {
            let section = self.registries.iter().find(|section| section.prefix == registry);
            let server = section.and_then(|section| section.server.clone());
            let server = server.unwrap_or_else(|| Registry::home(registry));
            let own = self.authority.iter().cloned().collect();
            hosts.push(RegistryHost::new(&cluster::RegistryHost::new(server), registry, own)?);
        }
        Ok(hosts)
    }
}

/// Whether a host can be asked at all, said where it cannot.
fn pulls(host: &cluster::RegistryHost) -> bool {
    let pulls = host.capabilities.contains(&Capability::Pull);
    if !pulls {
        tracing::debug!("{} is passed over: pull is none of its capabilities", host.url);
    }
    if let [first, _, ..] = host.clients.as_slice() {
        let shown = first.certificate.display();
        tracing::debug!("of the certificates for {}, only {shown} is shown", host.url);
    }
    pulls
}

pub(crate) fn http_url(address: &str, place: &str) -> Result<Url> {
    let invalid = || {
        Error::input("address-invalid", format!("`{address}` is not an address to fetch from"))
            .hint(format!("correct the {place}: it begins with http:// or https://"))
    };
    let url = Url::parse(address).map_err(|error| invalid().because(error))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid());
    }
    if url.password().is_some() {
        let what = format!("the {place} for `{}` holds a password", &url[Position::BeforeHost..]);
        return Err(Error::input("password-in-address", what)
            .because("addresses are shown in messages and logs")
            .hint("use a mirror that needs none"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::{Cluster, Lock};

    use super::Sources;

    fn sources(download: &str) -> Sources {
        let node = "[[node]]\nname = 'n'\naddress = '192.0.2.1'\nroles = ['control-plane','etcd']";
        Sources::new(
            &Cluster::parse(&format!("schema = 1\n{download}\n{node}")).unwrap(),
            &Host::new("/"),
            false,
        )
        .unwrap()
    }

    fn urls(download: &str, url: &str) -> Vec<String> {
        let lock = format!(
            "schema = 1\n[[file]]\nname = 'x'\nversion = '1'\narch = 'amd64'\nurl = '{url}'\n\
             sha256 = '{}'",
            "0".repeat(64)
        );
        sources(download).urls(&Lock::parse(&lock).unwrap().files[0]).unwrap()
    }

    fn hosts(download: &str, registry: &str) -> Vec<String> {
        let hosts = sources(download).hosts(registry).unwrap();
        hosts.iter().map(super::RegistryHost::base).collect()
    }

    #[test]
    fn mirrors_come_first_and_keep_host_and_path() {
        let two = "[download]\nmirrors = ['http://10.0.0.1:8080', 'https://m.example/k/']";
        assert_eq!(
            urls(two, "https://dl.k8s.io:444/release/v1/kubelet?x=1#f"),
            [
                "http://10.0.0.1:8080/dl.k8s.io:444/release/v1/kubelet?x=1",
                "https://m.example/k/dl.k8s.io:444/release/v1/kubelet?x=1",
                "https://dl.k8s.io:444/release/v1/kubelet?x=1#f",
            ]
        );
        let only = format!("{two}\nmirrors-only = true");
        assert_eq!(urls(&only, "https://h/f").len(), 2);
    }

    #[test]
    fn an_artifacts_own_addresses_come_first() {
        let own = "[download]\nmirrors = ['http://10.0.0.1']\n[[download.artifact]]\nname = 'x'\n\
                   urls = ['https://a/{version}/x-{arch}', 'http://b/x']\n\
                   [[download.artifact]]\nname = 'y'\nurls = ['http://c/y']";
        let all = ["https://a/1/x-amd64", "http://b/x", "http://10.0.0.1/h/f", "https://h/f"];
        assert_eq!(urls(own, "https://h/f"), all);
    }

    #[test]
    fn registry_hosts_come_before_the_registry() {
        let section = "[[containerd.registry]]\nprefix = 'docker.io'\n\
                       [[containerd.registry.host]]\nurl = 'http://10.0.0.1:5000'\n";
        assert_eq!(
            hosts(section, "docker.io"),
            ["http://10.0.0.1:5000", "https://registry-1.docker.io"]
        );
        assert_eq!(hosts(section, "registry.k8s.io"), ["https://registry.k8s.io"]);
        let only = format!("[download]\nmirrors-only = true\n{section}");
        assert_eq!(hosts(&only, "docker.io"), ["http://10.0.0.1:5000"]);
        assert!(hosts(&only, "registry.k8s.io").is_empty());
    }
}
