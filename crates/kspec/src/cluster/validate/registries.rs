//! `[[containerd.registry]]`: what containerd would refuse at the first pull, and what a file that
//! everyone may read must not hold.

use std::{collections::BTreeSet, path::Path};

use super::{
    super::{Cluster, RegistryHost},
    Found,
};

/// Headers that each request has from whoever makes it: containerd and kfetch.
const OWN: [&str; 12] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "range",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Words in the names of headers that carry secrets: `Authorization`, `Proxy-Authorization`,
/// `X-JFrog-Art-Api`, `PRIVATE-TOKEN`, `Cookie`.
const SECRET: [&str; 10] = [
    "auth",
    "cookie",
    "token",
    "secret",
    "passw",
    "credential",
    "api-key",
    "apikey",
    "art-api",
    "session",
];

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    let mut prefixes = BTreeSet::new();
    for registry in &cluster.containerd.registries {
        if !prefixes.insert(&registry.prefix) {
            found.add(
                "registry-twice",
                "containerd.registry",
                format!("`{}` has two sections", registry.prefix),
                "keep one [[containerd.registry]] for each, with all its hosts",
            );
        }
        if !is_prefix(&registry.prefix) {
            found.add(
                "registry-prefix-invalid",
                "containerd.registry.prefix",
                format!("`{}` is not a host, with a port if it has one", registry.prefix),
                "write it as image references do, e.g. docker.io or registry.example:5000",
            );
        }
        if let Some(server) = &registry.server {
            check_url("containerd.registry.server", server, found);
        }
        for host in &registry.hosts {
            check_url("containerd.registry.host.url", &host.url, found);
            check_host(host, found);
        }
    }
}

/// A host, and no path that leads anywhere: a directory is called that.
fn is_prefix(prefix: &str) -> bool {
    prefix.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && prefix.chars().all(|c| c.is_ascii_alphanumeric() || ".-:_".contains(c))
}

fn check_url(key: &str, url: &str, found: &mut Found) {
    if !is_address(url) {
        let before = url.split(['?', '#']).next().unwrap_or_default();
        let shown = before.rsplit('@').next().unwrap_or_default(); // never a password
        found.add(
            "registry-url-invalid",
            key,
            format!("`{shown}` is not where a registry is"),
            "write http:// or https://, the host, its port and path if it has any, and no more",
        );
    }
}

/// `http://HOST[:PORT][/PATH]` or the same with https: nobody's name or password, no query.
fn is_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let Some((host, path)) = rest.map(|rest| rest.split_once('/').unwrap_or((rest, ""))) else {
        return false;
    };
    let in_host = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]_".contains(letter);
    let in_path = |letter: char| letter.is_ascii_graphic() && !"?#\"\\".contains(letter);
    !host.is_empty()
        && !host.starts_with(':')
        && host.chars().all(in_host)
        && path.chars().all(in_path)
}

fn check_host(host: &RegistryHost, found: &mut Found) {
    let RegistryHost { url, .. } = host;
    if host.capabilities.is_empty() {
        found.add(
            "registry-host-useless",
            "containerd.registry.host.capabilities",
            format!("{url} is asked for nothing; containerd takes that for everything"),
            "name some of pull, resolve and push, or leave the host out",
        );
    }
    if host.dial_timeout_seconds == Some(0) {
        found.add(
            "registry-host-useless",
            "containerd.registry.host.dial-timeout-seconds",
            format!("no connection to {url} is made in no time"),
            "write 1 or more, or leave it out",
        );
    }
    let clients = host.clients.iter().flat_map(|pair| [Some(&pair.certificate), pair.key.as_ref()]);
    for (key, path) in std::iter::once(("ca", host.ca.as_ref()))
        .chain(clients.map(|path| ("client", path)))
        .filter_map(|(key, path)| Some((key, path?)))
        .filter(|(_, path)| Path::is_relative(path))
    {
        found.add(
            "path-not-absolute",
            format!("containerd.registry.host.{key}"),
            format!("`{}` of {url} is looked for in different directories", path.display()),
            "write the whole path, from /",
        );
    }
    if host.is_plain() && (host.ca.is_some() || !host.clients.is_empty()) {
        found.add(
            "registry-host-plain",
            "containerd.registry.host.url",
            format!("{url} has no TLS, so `ca` and `client` are for nothing"),
            "write https://, or take `ca` and `client` out",
        );
    }
    for (name, values) in &host.headers {
        check_header(url, name, values, found);
    }
}

fn check_header(url: &str, name: &str, values: &[String], found: &mut Found) {
    const KEY: &str = "containerd.registry.host.headers";
    let lower = name.to_ascii_lowercase();
    if SECRET.iter().any(|word| lower.contains(word)) {
        found.add(
            "registry-header-secret",
            KEY,
            format!("the header `{name}` of {url} would be a secret in files that many may read"),
            "let `docker-config` of [download] name a file with the credentials, and take the \
             header out",
        );
    } else if !is_token(name) || OWN.contains(&lower.as_str()) {
        found.add(
            "registry-header-invalid",
            KEY,
            format!("`{name}` cannot be a header of one's own for {url}"),
            "use letters, digits and dashes, and no header that belongs to the request itself",
        );
    } else if values.is_empty() || !values.iter().all(|value| is_value(value)) {
        found.add(
            "registry-header-invalid",
            KEY,
            format!("the header `{name}` of {url} has no value, or one that is no line of ASCII"),
            "write a list of one or more values, such as [\"blue\"]",
        );
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// RFC 9110, section 5.5, without what it calls obsolete.
fn is_value(value: &str) -> bool {
    !value.is_empty()
        && value.trim() == value
        && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use crate::cluster::{Capability, Cluster, Registry, RegistryHost};

    /// The codes and keys of what is wrong with a host like this.
    fn problems(url: &str, keys: &str) -> Vec<(&'static str, String)> {
        let host: RegistryHost = toml::from_str(&format!("url = \"{url}\"\n{keys}")).unwrap();
        let mut cluster = Cluster::example("n", "192.0.2.1".parse().unwrap());
        cluster.containerd.registries =
            vec![Registry { prefix: "r.example".into(), server: None, hosts: vec![host] }];
        let page = include_str!("../../../../../docs/kprep.md");
        let problem = |problem: super::super::Problem| {
            assert!(
                page.contains(&format!("`{}`", problem.code)),
                "{} is not in docs/kprep.md",
                problem.code
            );
            (problem.code, problem.key.replace("containerd.registry.host.", ""))
        };
        cluster.problems().into_iter().map(problem).collect()
    }

    #[track_caller]
    fn makes(keys: &str, code: &'static str, key: &str) {
        assert_eq!(problems("https://h", keys), [(code, key.to_owned())], "{keys}");
    }

    #[test]
    fn every_key_of_a_host() {
        let keys = "capabilities = ['pull', 'resolve', 'push']\noverride-path = true\n\
                    ca = '/ca.pem'\nclient = [{ certificate = '/c.pem', key = '/c.key' }, \
                    { certificate = '/both.pem' }]\nheaders = { X-Site = ['a b', 'c'] }\n\
                    dial-timeout-seconds = 3\nskip-verify = true";
        assert_eq!(problems("https://h/path", keys), []);
        assert_eq!(problems("https://h", ""), []);
        let plain: RegistryHost = toml::from_str("url = 'https://h'").unwrap();
        assert_eq!(plain, RegistryHost::new("https://h"));
        assert_eq!(plain.capabilities, [Capability::Pull, Capability::Resolve]);
        for unknown in ["capabilities = ['fetch']", "client = [{ key = '/c.key' }]", "header = 1"] {
            let text = format!("url = 'https://h'\n{unknown}");
            assert!(toml::from_str::<RegistryHost>(&text).is_err(), "{unknown}");
        }
    }

    #[test]
    fn what_a_host_may_not_have() {
        makes("capabilities = []", "registry-host-useless", "capabilities");
        makes("dial-timeout-seconds = 0", "registry-host-useless", "dial-timeout-seconds");
        makes("ca = 'ca.pem'", "path-not-absolute", "ca");
        makes("client = [{ certificate = 'c.pem' }]", "path-not-absolute", "client");
        makes("client = [{ certificate = '/c.pem', key = 'k' }]", "path-not-absolute", "client");
        for keys in ["ca = '/ca.pem'", "client = [{ certificate = '/c.pem' }]"] {
            let found = problems("http://h", keys);
            assert_eq!(found, [("registry-host-plain", "url".to_owned())]);
        }
    }

    #[test]
    fn addresses_that_are_none() {
        for url in ["h:5000", "ftp://h", "https://", "https://:1", "https://h/a?b=c", "https://h#x"]
        {
            assert_eq!(problems(url, ""), [("registry-url-invalid", "url".to_owned())], "{url}");
        }
        let mut cluster = Cluster::example("n", "192.0.2.1".parse().unwrap());
        let server = Some("https://me:hunter2@h?hunter2".into());
        let prefix = "../../etc".into();
        cluster.containerd.registries = vec![Registry { prefix, server, hosts: Vec::new() }];
        let found = cluster.problems();
        let codes: Vec<_> = found.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, ["registry-prefix-invalid", "registry-url-invalid"]);
        assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
        for bad in ["", ".", "..", "a/b", "https://docker.io", "-a"] {
            assert!(!super::is_prefix(bad), "{bad}");
        }
        for good in ["docker.io", "r.example:5000", "localhost", "_default"] {
            assert!(super::is_prefix(good), "{good}");
        }
    }

    #[test]
    fn headers_that_hold_secrets_and_headers_that_are_none() {
        for name in [
            "Authorization",
            "proxy-authorization",
            "Cookie",
            "X-Auth-Key",
            "PRIVATE-TOKEN",
            "X-Api-Key",
            "X-JFrog-Art-Api",
            "x-registry-secret",
            "X-Password",
            "X-Session-Id",
        ] {
            makes(&format!("headers = {{ {name} = ['x'] }}"), "registry-header-secret", "headers");
        }
        for header in [
            "Host = ['h']",
            "RANGE = ['bytes=0-']",
            "Accept = ['x']",
            "'' = ['x']",
            "'a b' = ['x']",
            "'X:Y' = ['x']",
            "X-A = []",
            "X-A = ['']",
            "X-A = [' x']",
            "X-A = ['é']",
            "X-A = [\"a\\nX-B: c\"]",
        ] {
            makes(&format!("headers = {{ {header} }}"), "registry-header-invalid", "headers");
        }
    }
}
