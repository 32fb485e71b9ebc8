//! `facts.json`, by kprep: what the machine is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::state;
use crate::Arch;

/// What kprep learned about the machine. Only what does not change by itself from run to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    /// The format of this file: 1.
    pub schema: u32,
    /// The node of cluster.toml that this machine is.
    pub node: String,
    /// The operating system.
    pub os: Os,
    /// The processor architecture.
    pub arch: Arch,
    /// Processors.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Address the node's services listen at.
    pub address: IpAddr,
    /// Address the other nodes reach it by; the same unless cluster.toml says otherwise.
    pub access_address: IpAddr,
    /// IPv4 address of the interface with the default route, if there is one.
    pub default_ipv4: Option<Ipv4Addr>,
    /// IPv6 address of the interface with the default route, if there is one.
    pub default_ipv6: Option<Ipv6Addr>,
    /// The default IPv4 address, or loopback (kubespray: `fallback_ip`).
    pub fallback_ipv4: Ipv4Addr,
    /// The default IPv6 address, or loopback (kubespray: `fallback_ip6`).
    pub fallback_ipv6: Ipv6Addr,
    /// The kernel's abilities.
    pub kernel: Kernel,
    /// What root may not do here although it is root.
    pub capabilities: Capabilities,
    /// Limits that cannot be raised.
    pub limits: Limits,
    /// Whether the machine is a container that shares its kernel with a host.
    pub container: bool,
    /// Whether swap is in use.
    pub swap: bool,
    /// What `SELinux` does.
    pub selinux: SelinuxMode,
    /// Who keeps the machine's resolver configuration.
    pub resolver: Resolver,
    /// The file with the nameservers pods shall inherit.
    pub resolv_conf: String,
}

impl Facts {
    /// The address of the interface with the default route, IPv4 preferred.
    pub fn default_address(&self) -> Option<IpAddr> {
        self.default_ipv4.map(IpAddr::from).or(self.default_ipv6.map(IpAddr::from))
    }
}

/// `SELinux`, as `getenforce` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SelinuxMode {
    /// Not in the kernel, or switched off.
    Disabled,
    /// Logs what it would forbid.
    Permissive,
    /// Forbids.
    Enforcing,
}

/// Who keeps `/etc/resolv.conf`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resolver {
    /// `NetworkManager` writes it.
    NetworkManager,
    /// systemd-resolved, for itself or for `NetworkManager`.
    SystemdResolved,
    /// The resolvconf program collects it from whoever knows nameservers.
    Resolvconf,
    /// dhclient writes it at each lease.
    Dhclient,
    /// Nobody: it is an ordinary file.
    File,
}

/// The operating system, from `/etc/os-release` (os-release(5)).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Os {
    /// `ID`, e.g. `rocky`.
    pub id: String,
    /// `VERSION_ID`, e.g. `10.1`.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
    /// Which tools it is managed with.
    pub family: Family,
}

/// Distributions that are managed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// apt and dpkg.
    Debian,
    /// dnf and rpm.
    RedHat,
}

/// Kernel features, probed and not guessed from module names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// How processes are grouped.
    pub cgroup: CgroupVersion,
    /// `overlay` is a known file system.
    pub overlay: bool,
    /// Bridged packets can be shown to iptables.
    pub bridge_netfilter: bool,
    /// Connection tracking limits can be set from here.
    pub conntrack_writable: bool,
}

/// cgroups(7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CgroupVersion {
    /// Separate hierarchies.
    V1,
    /// The unified hierarchy.
    V2,
}

/// capabilities(7) that some machines withhold even from root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Capabilities {
    /// `CAP_SYS_RESOURCE`: without it no `oom_score_adj` can be lowered and no limit raised.
    pub sys_resource: bool,
}

/// setrlimit(2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Limits {
    /// Most open files a process may be allowed; none when unlimited or when it can be raised.
    pub nofile: Option<u64>,
}

state!(Facts, "facts.json", "kprep apply");
