//! What a `cluster.toml` must mean, beyond its types: kubespray's `validate_inventory`, with the
//! gaps it leaves closed.

mod addons;
mod components;
mod control_plane;
mod extra;
mod host;
mod networks;
mod nodes;
mod registries;
mod syntax;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::Serialize;

use super::Cluster;
pub use host::ACCEPTABLE;

/// Kubernetes versions these tools can install: first included, last excluded.
///
/// The lower end is kubespray v2.29.1's (`kubelet_checksums`), the upper end the newest minor
/// whose kubeadm still reads v1beta4 and whose checksums the catalogue has.
pub const SUPPORTED: (semver::Version, semver::Version) =
    (semver::Version::new(1, 31, 0), semver::Version::new(1, 36, 0));

/// One thing that is wrong with the description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Problem {
    /// A stable name for the rule.
    pub code: &'static str,
    /// Where: the key, e.g. `network.pod-cidr`.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

/// The problems found so far.
#[derive(Debug, Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(
        &mut self,
        code: &'static str,
        key: impl Into<String>,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let (key, message, remedy) = (key.into(), message.into(), remedy.into());
        self.0.push(Problem { code, key, message, remedy });
    }
}

impl Cluster {
    /// Everything that is wrong, not only the first thing; empty when the description is sound.
    pub fn problems(&self) -> Vec<Problem> {
        let mut found = Found::default();
        self.check_kubernetes(&mut found);
        host::check(self, &mut found);
        networks::check(self, &mut found);
        components::check(self, &mut found);
        addons::check(self, &mut found);
        control_plane::check(self, &mut found);
        registries::check(self, &mut found);
        extra::check(self, &mut found);
        nodes::check(self, &mut found);
        nodes::check_roles(self, &mut found);
        found.0
    }

    fn check_kubernetes(&self, found: &mut Found) {
        let (first, end) = &SUPPORTED;
        let version = &self.kubernetes.version;
        if version < first || version >= end {
            found.add(
                "version-unsupported",
                "kubernetes.version",
                format!("Kubernetes {version} is outside {first} to below {end}"),
                format!("choose a release from {first} up to, not including, {end}"),
            );
        }
        let name = &self.kubernetes.cluster_name;
        if name.is_empty()
            || !name.chars().all(|at| at.is_ascii_graphic() && !"'\"`\\".contains(at))
        {
            found.add(
                "cluster-name-invalid",
                "kubernetes.cluster-name",
                format!("`{name}` cannot be the name of a cluster"),
                "use letters, digits, dashes and dots",
            );
        }
        if !syntax::is_dns_name(&self.kubernetes.dns_domain) {
            found.add(
                "dns-domain-invalid",
                "kubernetes.dns-domain",
                format!("`{}` is not a DNS name", self.kubernetes.dns_domain),
                "use lower-case letters, digits, dashes and dots",
            );
        }
    }
}
