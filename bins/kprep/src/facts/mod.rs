//! `facts.json`: what this machine is, once kprep is done with it.
//!
//! Everything is read below [`Host::path`], so that a tree (`--root`) is asked for its own facts;
//! what a tree cannot tell gets the value of an ordinary Debian 12 server (see [`gather`]). The
//! facts say how the machine is after `apply`: swap that apply switches off is off, modules that
//! it loads are there. So the first and the second run agree.

mod proc;
pub(crate) mod resolver;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use khost::{
    Cmd, Error, Host, Result, fs,
    os::operating_system,
    steps::{module, swap},
};
use kspec::{
    Arch, Cluster, Node, SCHEMA,
    cluster::{Selinux, Swap},
    state::{Capabilities, CgroupVersion, Facts, Family, Kernel, Limits, Os, SelinuxMode},
};
use nix::sys::statvfs::{FsFlags, statvfs};

use crate::resolver::upstream;

const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";

/// Find out about `host`, which is `node` of `cluster`.
///
/// A tree that has no `/etc/os-release` counts as Debian 12, one without `/proc` and `/sys` as a
/// machine with one processor, cgroup v2, all kernel features, and nothing withheld from root.
pub(crate) fn gather(host: &Host, cluster: &Cluster, node: &Node) -> Result<Facts> {
    known(host, cluster, node, operating_system(host)?, arch()?)
}

/// The same, on a system that cannot become a node too: there, what a supported one would have
/// takes the place of system and processor, so that all else can still be looked at.
pub(crate) fn whatever_the_system(host: &Host, cluster: &Cluster, node: &Node) -> Result<Facts> {
    let os = operating_system(host).unwrap_or_else(|_| ordinary());
    known(host, cluster, node, os, arch().unwrap_or(Arch::Amd64))
}

fn known(host: &Host, cluster: &Cluster, node: &Node, os: Os, arch: Arch) -> Result<Facts> {
    let container = is_container(host)?;
    let sys_resource = proc::sys_resource(&of_init(host, "status")?).unwrap_or(true);
    let nofile = proc::nofile(&of_init(host, "limits")?).filter(|_| !sys_resource);
    let (default_ipv4, default_ipv6) =
        if host.is_live() { default_addresses() } else { (None, None) };
    Ok(Facts {
        schema: SCHEMA,
        node: node.name.clone(),
        os,
        arch,
        cpus: proc::cpus(&text(host, "/sys/devices/system/cpu/online")?).unwrap_or(1),
        memory_mib: proc::memory_mib(&text(host, "/proc/meminfo")?).unwrap_or(0),
        address: node.address,
        access_address: node.access(),
        default_ipv4,
        default_ipv6,
        fallback_ipv4: default_ipv4.unwrap_or(Ipv4Addr::LOCALHOST),
        fallback_ipv6: default_ipv6.unwrap_or(Ipv6Addr::LOCALHOST),
        kernel: Kernel {
            release: text(host, "/proc/sys/kernel/osrelease")?.trim().to_owned(),
            cgroup: cgroup(host)?,
            overlay: has_overlay(host)? || loadable(host, "overlay", container)?,
            bridge_netfilter: has_bridge_netfilter(host)
                || loadable(host, "br_netfilter", container)?,
            conntrack_writable: conntrack_writable(host, container)?,
        },
        capabilities: Capabilities { sys_resource },
        limits: Limits { nofile },
        container,
        swap: swap_stays(cluster, container) && !swap::areas(host)?.is_empty(),
        selinux: selinux(&text(host, "/sys/fs/selinux/enforce")?, cluster.host.selinux),
        resolver: resolver::owner(host)?,
        // Once there it stays: /etc/resolv.conf may name the cluster's DNS since.
        resolv_conf: if cluster.host.resolver.manage || fs::exists(&host.path(upstream::PATH)) {
            upstream::PATH.into()
        } else {
            resolver::untouched(host)?.into()
        },
    })
}

/// Whether apply leaves swap as it is: because it was told to, or because swap belongs to the
/// machine that the container runs on.
pub(crate) fn swap_stays(cluster: &Cluster, container: bool) -> bool {
    cluster.host.swap == Swap::Stays || container
}

/// Whether a module is in this kernel's tree and may be loaded from here. A container cannot load
/// modules into the kernel it shares.
pub(crate) fn loadable(host: &Host, name: &str, container: bool) -> Result<bool> {
    Ok(!container && module::is_loadable(host, name)?)
}

/// The addresses this machine sends from when it talks to far-away places; none without a route
/// there. Nothing is sent: connecting a UDP socket only looks up the route (udp(7)).
fn default_addresses() -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    // Documentation addresses (RFC 5737, RFC 3849): nobody is there.
    let towards = |from: &str, to: &str| {
        let socket = UdpSocket::bind(from).ok()?;
        socket.connect(to).ok()?;
        socket.local_addr().ok().map(|address| address.ip())
    };
    let v4 = match towards("0.0.0.0:0", "198.51.100.1:9") {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let v6 = match towards("[::]:0", "[2001:db8::1]:9") {
        Some(IpAddr::V6(address)) => Some(address),
        _ => None,
    };
    (v4, v6)
}

/// The address with the default route, IPv4 preferred.
pub(crate) fn default_address() -> Option<IpAddr> {
    let (v4, v6) = default_addresses();
    v4.map(IpAddr::from).or(v6.map(IpAddr::from))
}

/// What stands for a system that is not known.
fn ordinary() -> Os {
    let [id, version, name] = ["debian", "12", "Debian GNU/Linux 12"].map(Into::into);
    Os { id, version, name, family: Family::Debian }
}

pub(crate) fn arch() -> Result<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(Arch::Amd64),
        "aarch64" => Ok(Arch::Arm64),
        other => Err(Error::host("arch-unsupported", format!("`{other}` is not supported"))
            .hint("use a machine with amd64 or arm64")),
    }
}

/// `/sys/fs/selinux/enforce` exists where `SELinux` is on, and says whether it forbids.
fn selinux(enforce: &str, wanted: Selinux) -> SelinuxMode {
    match (enforce.trim(), wanted) {
        ("", _) => SelinuxMode::Disabled,
        (_, Selinux::Permissive) | ("0", Selinux::AsIs) => SelinuxMode::Permissive,
        (_, Selinux::Enforcing | Selinux::AsIs) => SelinuxMode::Enforcing,
    }
}

fn cgroup(host: &Host) -> Result<CgroupVersion> {
    let controllers = fs::names(&host.path("/sys/fs/cgroup"))?;
    let unified = controllers.is_empty() || controllers.iter().any(|at| at == "cgroup.controllers");
    Ok(if unified { CgroupVersion::V2 } else { CgroupVersion::V1 })
}

fn is_container(host: &Host) -> Result<bool> {
    if fs::exists(&host.path("/run/systemd/container")) {
        return Ok(true);
    }
    if !host.is_live() {
        return Ok(false);
    }
    // 1: it is none (systemd-detect-virt(1))
    match Cmd::new("systemd-detect-virt").args(["--container", "--quiet"]).accept(&[0, 1]).run() {
        Ok(output) => Ok(output.code == 0),
        Err(error) if error.code() == "program-missing" => Ok(false),
        Err(error) => Err(error),
    }
}

fn has_overlay(host: &Host) -> Result<bool> {
    let known = text(host, "/proc/filesystems")?;
    let unknowable = known.is_empty() && !host.is_live();
    Ok(unknowable || proc::has_filesystem(&known, "overlay"))
}

fn has_bridge_netfilter(host: &Host) -> bool {
    let unknowable = !host.is_live() && !fs::exists(&host.path("/proc/sys"));
    unknowable || fs::exists(&host.path("/proc/sys/net/bridge"))
}

/// By mode and mount, not by access(2), so that an ordinary user learns what is true for root.
/// The kernel shows the limit read-only in a network namespace that is not its first. As long as
/// connection tracking is not loaded, a machine of its own can set it and a container cannot.
fn conntrack_writable(host: &Host, container: bool) -> Result<bool> {
    let path = host.path(CONNTRACK_MAX);
    let Some(found) = fs::look(&path)? else { return Ok(!container) };
    let mount =
        statvfs(&path).map_err(|errno| Error::io("read", &path, std::io::Error::from(errno)))?;
    Ok(fs::mode(&found) & 0o200 != 0 && !mount.flags().contains(FsFlags::ST_RDONLY))
}

/// What `/proc` says of init, whose limits and rights all services inherit; where that is hidden,
/// of this process.
fn of_init(host: &Host, file: &str) -> Result<String> {
    let init = fs::read_text(&host.path(format!("/proc/1/{file}")));
    match init {
        Ok(Some(found)) => Ok(found),
        _ => text(host, &format!("/proc/self/{file}")),
    }
}

fn text(host: &Host, path: &str) -> Result<String> {
    Ok(fs::read_text(&host.path(path))?.unwrap_or_default())
}
