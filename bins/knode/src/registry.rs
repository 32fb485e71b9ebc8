//! `/etc/containerd/certs.d/PREFIX/hosts.toml`: where containerd asks for a registry's images
//! (containerd: `docs/hosts.md`; kubespray: `hosts.toml.j2`).

use khost::{Error, Result};
use kspec::cluster::{Containerd, Registry, RegistryHost};

use crate::containerd_config::CERTS_DIR;

/// One registry's file.
#[derive(Debug)]
pub(crate) struct Hosts(Registry);

/// A file for each `[[containerd.registry]]`; without any, kubespray's one for docker.io.
pub(crate) fn all(containerd: &Containerd) -> Result<Vec<Hosts>> {
    if containerd.registries.is_empty() {
        let url = Registry::home("docker.io");
        let hosts = vec![RegistryHost { url, skip_verify: false, ca: None }];
        return Ok(vec![Hosts(Registry { prefix: "docker.io".into(), server: None, hosts })]);
    }
    containerd.registries.iter().cloned().map(Hosts::new).collect()
}

impl Hosts {
    fn new(registry: Registry) -> Result<Self> {
        let prefix = &registry.prefix;
        let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '_');
        if !prefix.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            || !prefix.chars().all(host)
        {
            let message = format!("`{prefix}` cannot be the prefix of a [[containerd.registry]]");
            return Err(Error::input("registry-prefix-invalid", message)
                .because("it must be a host name, with a port if it has one, and nothing else")
                .hint("write it as image references do, e.g. docker.io or registry.example:5000"));
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
        let table = |RegistryHost { url, skip_verify, .. }: &RegistryHost| {
            format!(
                "\n[host.{}]\n  capabilities = [\"pull\", \"resolve\"]\n  \
                 skip_verify = {skip_verify}\n  override_path = false\n",
                quoted(url)
            )
        };
        let tables: String = hosts.iter().map(table).collect();
        format!("server = {}\n{tables}", quoted(&server))
    }
}

/// A TOML string, which may stand as a key as well: JSON writes them alike.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use kspec::cluster::{Containerd, Registry, RegistryHost};

    fn registry(prefix: &str, hosts: &[(&str, bool)]) -> Containerd {
        let host = |(url, skip_verify): &(&str, bool)| RegistryHost {
            url: (*url).into(),
            skip_verify: *skip_verify,
            ca: None,
        };
        let hosts = hosts.iter().map(host).collect();
        let registries = vec![Registry { prefix: prefix.into(), server: None, hosts }];
        Containerd { registries, ..Containerd::default() }
    }

    #[test]
    fn without_any_it_is_kubesprays_default() {
        let all = super::all(&Containerd::default()).unwrap();
        assert_eq!(all[0].path(), "/etc/containerd/certs.d/docker.io/hosts.toml");
        insta::assert_snapshot!(all[0].render(), @r#"
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
        let text = super::all(&containerd).unwrap()[0].render();
        insta::assert_snapshot!(text, @r#"
        server = "https://r.example:5000"

        [host."http://b\""]
          capabilities = ["pull", "resolve"]
          skip_verify = true
          override_path = false

        [host."https://a"]
          capabilities = ["pull", "resolve"]
          skip_verify = false
          override_path = false
        "#);
        toml::from_str::<toml::Table>(&text).unwrap();
    }

    #[test]
    fn a_prefix_is_a_host_and_no_path() {
        for bad in ["", ".", "..", "a/b", "../../etc", "https://docker.io"] {
            let error = super::all(&registry(bad, &[])).unwrap_err();
            assert_eq!(error.code(), "registry-prefix-invalid", "{bad}");
        }
    }
}
