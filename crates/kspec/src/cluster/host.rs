//! The sections of `cluster.toml` that are about the operating system.
#![expect(clippy::doc_markdown, reason = "these comments are cluster.toml's own, for people")]

use std::{collections::BTreeMap, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[host]`: the operating system.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Host {
    /// Set the machine's host name to the node's name
    pub manage_hostname: bool,
    /// Keep the nodes' names in /etc/hosts
    pub manage_hosts: bool,
    /// Install the packages Kubernetes needs, where they are missing, and set up the package
    /// manager for it
    pub manage_packages: bool,
    /// Further packages to install
    pub packages: Vec<String>,
    /// off: swap is switched off for good; stays: kubelet is told to live with it
    pub swap: Swap,
    /// permissive: where SELinux is on, it is made to log instead of forbid; enforcing: it stays
    /// on, and files and containers get the contexts it wants; as-is: left alone
    pub selinux: Selinux,
    /// Stop and disable fapolicyd, which lets no program run that no package brought
    pub stop_fapolicyd: bool,
    /// Further kernel parameters to set
    pub sysctls: BTreeMap<String, String>,
    /// Problems that `kprep validate` finds and apply goes on with, by code
    pub accept_problems: Vec<String>,
    /// How names are looked up on the machine
    pub resolver: Resolver,
}

/// `[host.resolver]`: the machine's own name lookups (kubespray: `resolvconf_mode`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Resolver {
    /// Let programs on the machine find the cluster's Services: search domains and options now,
    /// the cluster's DNS first in the list once `kprep dns` has seen it answer
    pub manage: bool,
    /// Nameservers to ask before the machine's own
    pub nameservers: Vec<IpAddr>,
    /// Domains to search before those of the machine, after the cluster's
    pub search_domains: Vec<String>,
    /// Options of resolv.conf(5)
    pub options: Vec<String>,
}

/// What happens to swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Swap {
    /// Switched off, now and at every boot.
    Off,
    /// Left alone.
    Stays,
}

/// The mode of SELinux, where the machine has it switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Selinux {
    /// It logs what it would forbid (kubespray: `preinstall_selinux_state`).
    Permissive,
    /// It stays enforcing, with the contexts that Kubernetes' files and containers need.
    Enforcing,
    /// Left alone.
    AsIs,
}

/// `[proxy]`: how to reach the internet through an HTTP proxy; used by the package manager,
/// kfetch and containerd.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Proxy {
    /// For http addresses, such as http://proxy.example:3128; empty: none
    pub http: String,
    /// For https addresses; empty: the same as http
    pub https: String,
    /// Further names, domains and networks to reach without it; the nodes, services and pods are
    /// always reached without it
    pub no_proxy: Vec<String>,
}

impl Proxy {
    /// The proxy for `https` addresses, if there is one.
    pub fn for_https(&self) -> Option<&str> {
        [&self.https, &self.http].into_iter().map(String::as_str).find(|url| !url.is_empty())
    }

    /// The proxy for `http` addresses, if there is one.
    pub fn for_http(&self) -> Option<&str> {
        Some(self.http.as_str()).filter(|url| !url.is_empty())
    }

    /// Whether there is any.
    pub fn is_set(&self) -> bool {
        self.for_https().is_some()
    }
}

impl Default for Host {
    fn default() -> Self {
        Self {
            manage_hostname: true,
            manage_hosts: true,
            manage_packages: true,
            packages: Vec::new(),
            swap: Swap::Off,
            selinux: Selinux::Permissive,
            stop_fapolicyd: true,
            sysctls: BTreeMap::new(),
            accept_problems: Vec::new(),
            resolver: Resolver::default(),
        }
    }
}

impl Default for Resolver {
    /// kubespray's `ndots`, `dns_timeout` and `dns_attempts`.
    fn default() -> Self {
        let options = ["ndots:2", "timeout:2", "attempts:2"].map(Into::into).into();
        Self { manage: true, nameservers: Vec::new(), search_domains: Vec::new(), options }
    }
}
