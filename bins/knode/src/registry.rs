//! `/etc/containerd/certs.d/PREFIX/hosts.toml`: where containerd asks for a registry's images
//! (containerd: `docs/hosts.md`; kubespray: `hosts.toml.j2`).

use std::path::Path;

use khost::{Error, Host, Result, StepList, client_certificate, fs, steps::absent::Absent};
use kspec::{
    cluster::{ClientPair, Containerd, Registry, RegistryHost},
    toml_string,
};

use crate::containerd_config::CERTS_DIR;

/// How a file begins that is ours to remove, once its registry is not in cluster.toml any more.
const MARK: &str = "# Written by knode from cluster.toml.\n";

/// One registry's file.
#[derive(Debug)]
pub(crate) struct Hosts(Registry);

/// A file for each `[[containerd.registry]]`; without any, kubespray's one for docker.io.
pub(crate) fn all(containerd: &Containerd, host: &Host) -> Result<Vec<Hosts>> {
    if containerd.registries.is_empty() {
        let hosts = vec![RegistryHost::new(Registry::home("docker.io"))];
        return Ok(vec![Hosts(Registry { prefix: "docker.io".into(), server: None, hosts })]);
    }
    containerd.registries.iter().map(|registry| Hosts::new(registry.clone(), host)).collect()
}

/// Files of ours for registries that are none of `wanted` are to go; those of others stay.
pub(crate) fn forget_others(steps: &mut StepList, host: &Host, wanted: &[Hosts]) -> Result<()> {
    for name in fs::names(&host.path(CERTS_DIR))? {
        let path = format!("{CERTS_DIR}/{name}/hosts.toml");
        let known = wanted.iter().any(|hosts| hosts.path() == path);
        let ours = || fs::read_text(&host.path(&path)).map(Option::unwrap_or_default);
        if !known && ours()?.starts_with(MARK) {
            steps.add(Absent::new(path));
        }
    }
    Ok(())
}

impl Hosts {
    fn new(registry: Registry, host: &Host) -> Result<Self> {
        for RegistryHost { url, ca, clients, .. } in &registry.hosts {
            for pair in clients {
                client_certificate::read(host, pair)?;
            }
            let Some(ca) = ca else { continue };
            if !fs::exists(&host.path(ca)) {
                let message = format!("`{url}` has no certificate authority `{}`", ca.display());
                return Err(Error::input("registry-ca-missing", message)
                    .because("there is no such file on this machine")
                    .hint(format!("put the file there, or correct `ca` of `{url}`")));
            }
        }
        Ok(Self(registry))
    }

    pub(crate) fn dir(&self) -> String {
        format!("{CERTS_DIR}/{}", self.0.prefix)
    }

    pub(crate) fn path(&self) -> String {
        format!("{}/hosts.toml", self.dir())
    }

    /// Tables in the order of the description: containerd asks in that order.
    pub(crate) fn render(&self) -> String {
        let Registry { prefix, server, hosts } = &self.0;
        let server = server.clone().unwrap_or_else(|| Registry::home(prefix));
        let tables: String = hosts.iter().map(table).collect();
        format!("{MARK}server = {}\n{tables}", toml_string(&server))
    }
}

/// One host's table, and below it that of its headers: containerd takes a table of a host that
/// comes later for another host.
///
/// `skip_verify`, be it false, makes containerd try TLS first: it is no key for plain HTTP.
fn table(host: &RegistryHost) -> String {
    let capabilities: Vec<_> = host.capabilities.iter().map(|one| one.as_str()).collect();
    let path = |path: &Path| toml_string(&path.display().to_string());
    let pair = |ClientPair { certificate, key }: &ClientPair| match key {
        Some(key) => format!("[{}, {}]", path(certificate), path(key)),
        None => path(certificate),
    };
    let clients: Vec<_> = host.clients.iter().map(pair).collect();
    let keys = [
        ("capabilities", Some(format!("[{}]", quoted_list(capabilities)))),
        ("skip_verify", (!host.is_plain()).then(|| host.skip_verify.to_string())),
        ("override_path", Some(host.override_path.to_string())),
        ("ca", host.ca.as_deref().map(path)),
        ("client", (!clients.is_empty()).then(|| format!("[{}]", clients.join(", ")))),
        (
            "dial_timeout",
            host.dial_timeout_seconds.map(|seconds| toml_string(&format!("{seconds}s"))),
        ),
    ];
    let keys = keys.into_iter().filter_map(|(key, value)| Some(format!("  {key} = {}\n", value?)));
    let table = format!("\n[host.{}]\n{}", toml_string(&host.url), keys.collect::<String>());
    if host.headers.is_empty() {
        return table;
    }
    let header = |(name, values): (&String, &Vec<String>)| {
        format!("    {} = [{}]\n", toml_string(name), quoted_list(values))
    };
    let headers: String = host.headers.iter().map(header).collect();
    format!("{table}  [host.{}.header]\n{headers}", toml_string(&host.url))
}

fn quoted_list<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> String {
    let quoted: Vec<_> = texts.into_iter().map(|text| toml_string(text.as_ref())).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::cluster::{Containerd, Registry, RegistryHost};
    use proptest::prelude::*;

    fn all(containerd: &Containerd) -> khost::Result<Vec<super::Hosts>> {
        super::all(containerd, &Host::new("/nowhere"))
    }

    fn registry(prefix: &str, hosts: &[(&str, bool)]) -> Containerd {
        let host = |(url, skip_verify): &(&str, bool)| RegistryHost {
            skip_verify: *skip_verify,
            ..RegistryHost::new(*url)
        };
        let hosts = hosts.iter().map(host).collect();
        let registries = vec![Registry { prefix: prefix.into(), server: None, hosts }];
        Containerd { registries, ..Containerd::default() }
    }

    #[test]
    fn without_any_it_is_kubesprays_default() {
        let all = all(&Containerd::default()).unwrap();
        assert_eq!(all[0].path(), "/etc/containerd/certs.d/docker.io/hosts.toml");
        insta::assert_snapshot!(all[0].render(), @r#"
        # Written by knode from cluster.toml.
        server = "https://registry-1.docker.io"

        [host."https://registry-1.docker.io"]
          capabilities = ["pull", "resolve"]
          skip_verify = false
          override_path = false
        "#);
    }

    #[test]
    fn hosts_keep_their_order() {
        let containerd = registry("r.example:5000", &[("http://b\"", true), ("https://a", false)]);
        let text = all(&containerd).unwrap()[0].render();
        insta::assert_snapshot!(text, @r#"
        # Written by knode from cluster.toml.
        server = "https://r.example:5000"

        [host."http://b\""]
          capabilities = ["pull", "resolve"]
          override_path = false

        [host."https://a"]
          capabilities = ["pull", "resolve"]
          skip_verify = false
          override_path = false
        "#);
        toml::from_str::<toml::Table>(&text).unwrap();
    }

    #[test]
    fn a_host_may_have_an_authority_of_its_own() {
        let mut containerd = registry("r.example", &[("https://a", false)]);
        let ca = &mut containerd.registries[0].hosts[0].ca;
        *ca = Some("/nowhere/ca.pem".into());
        let error = all(&containerd).unwrap_err();
        assert_eq!(error.code(), "registry-ca-missing");

        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let attributes = khost::fs::Attributes { mode: 0o644, owner: None };
        khost::fs::write(&host.path("/ca.pem"), b"PEM", attributes).unwrap();
        containerd.registries[0].hosts[0].ca = Some("/ca.pem".into());
        let text = super::all(&containerd, &host).unwrap()[0].render();
        assert!(text.ends_with("  override_path = false\n  ca = \"/ca.pem\"\n"), "{text}");
    }

    /// Every key of containerd's `docs/hosts.md`.
    #[test]
    fn a_host_with_every_key() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let attributes = khost::fs::Attributes { mode: 0o600, owner: None };
        let pem = b"-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n";
        for path in ["/ca.pem", "/c.pem", "/c.key"] {
            khost::fs::write(&host.path(path), pem, attributes).unwrap();
        }
        let containerd: Containerd = toml::from_str(
            r#"[[registry]]
            prefix = "r.example"
            server = "https://r.example/api"
            [[registry.host]]
            url = "https://m.example/oci"
            capabilities = ["pull", "resolve", "push"]
            override-path = true
            ca = "/ca.pem"
            client = [{ certificate = "/c.pem", key = "/c.key" }, { certificate = "/c.pem" }]
            headers = { X-Site = ["north"], "X-Rack" = ["a", "b \"c\""] }
            dial-timeout-seconds = 5
            [[registry.host]]
            url = "http://10.0.0.1:5000"
            capabilities = ["pull"]
            headers = { X-Site = ["north"] }"#,
        )
        .unwrap();
        let text = super::all(&containerd, &host).unwrap()[0].render();
        toml::from_str::<toml::Table>(&text).unwrap();
        insta::assert_snapshot!(text, @r#"
        # Written by knode from cluster.toml.
        server = "https://r.example/api"

        [host."https://m.example/oci"]
          capabilities = ["pull", "resolve", "push"]
          skip_verify = false
          override_path = true
          ca = "/ca.pem"
          client = [["/c.pem", "/c.key"], "/c.pem"]
          dial_timeout = "5s"
          [host."https://m.example/oci".header]
            "X-Rack" = ["a", "b \"c\""]
            "X-Site" = ["north"]

        [host."http://10.0.0.1:5000"]
          capabilities = ["pull"]
          override_path = false
          [host."http://10.0.0.1:5000".header]
            "X-Site" = ["north"]
        "#);
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[\u{0}-\u{20}\u{7f}\u{85}\\\\\"'=#]{0,4}"]
    }

    proptest! {
        #[test]
        fn whatever_is_said_is_what_containerd_reads(
            url in text(),
            headers in prop::collection::btree_map(text(), prop::collection::vec(text(), 1..3), 0..3),
        ) {
            let host = RegistryHost { headers: headers.clone(), ..RegistryHost::new(url.clone()) };
            let hosts = vec![host];
            let registry = Registry { prefix: "r".into(), server: Some(url.clone()), hosts };
            let text = super::Hosts(registry).render();
            let read = toml::from_str::<toml::Table>(&text);
            prop_assert!(read.is_ok(), "{:?}", text);
            let read = read.unwrap();
            prop_assert_eq!(read["server"].as_str(), Some(url.as_str()));
            let found = read["host"][url.as_str()].get("header").cloned();
            let found = found.unwrap_or(toml::Value::Table(toml::Table::new()));
            prop_assert_eq!(found, toml::Value::try_from(&headers).unwrap());
        }
    }
}
