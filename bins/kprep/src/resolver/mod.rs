//! Name lookups of the machine itself (kubespray: `preinstall/tasks/0060` to `0063`, `0100`).
//!
//! Whoever keeps `/etc/resolv.conf` is told, in the file it has for that: the cluster's search
//! domains and the operator's servers from the first apply on; the cluster's DNS as the first
//! server only once `kprep dns` has seen it answer, or the machine could look nothing up until then
//! (`dns_early` of kubespray).

pub(crate) mod conf;
mod dhclient;
pub(crate) mod network_manager;
mod plain;
mod resolvconf;
mod resolved;
pub(crate) mod upstream;

use std::net::IpAddr;

use khost::{Host, Result, StepList, fs, steps::file::File};
use kspec::{
    Cluster,
    state::{Facts, Resolver},
};

use self::{conf::ResolvConf, upstream::Upstream};

/// Exists once cluster DNS was put first, and says where it is: `kprep dns` writes it.
pub(crate) const CLUSTER_FIRST: &str = "/var/lib/k8steps/cluster-dns";

/// What the owner of the machine's resolver is told.
#[derive(Debug)]
pub(crate) struct Told {
    /// Servers to ask before its own: the cluster's, the operator's.
    servers: Vec<IpAddr>,
    /// Domains before its own: the cluster's, the operator's.
    searches: Vec<String>,
    options: Vec<String>,
    /// What it has by itself, for an owner that forgets its own when it is told something.
    own: ResolvConf,
}

impl Told {
    /// Ours, then its own.
    fn all(&self) -> ResolvConf {
        ResolvConf {
            servers: conf::unique([&self.servers[..], &self.own.servers].concat()),
            searches: conf::unique([&self.searches[..], &self.own.searches].concat()),
            options: conf::options(&self.options, &self.own.options),
        }
    }
}

/// The file for pods, and the owner told; with `NetworkManager`'s hands off Kubernetes'
/// interfaces.
pub(crate) fn set(
    steps: &mut StepList,
    host: &Host,
    cluster: &Cluster,
    facts: &Facts,
    cluster_first: Option<IpAddr>,
) -> Result<()> {
    if !cluster.host.resolver.manage {
        return network_manager::set(steps, host, cluster, None);
    }
    let upstream = Upstream::of(host, cluster, facts.resolver)?;
    steps.add(File::new(upstream::PATH).text(upstream.render(cluster)));
    let told = Told {
        servers: conf::unique(
            cluster_first.into_iter().chain(cluster.host.resolver.nameservers.clone()).collect(),
        ),
        searches: searches(cluster),
        options: cluster.host.resolver.options.clone(),
        own: upstream.own,
    };
    let by_network_manager = facts.resolver == Resolver::NetworkManager;
    network_manager::set(steps, host, cluster, by_network_manager.then_some(&told))?;
    match facts.resolver {
        Resolver::NetworkManager => {}
        Resolver::SystemdResolved => resolved::tell(steps, cluster, &told),
        Resolver::Resolvconf => resolvconf::tell(steps, host, &told),
        Resolver::Dhclient => dhclient::tell(steps, host, &told)?,
        Resolver::File => plain::tell(steps, host, &told)?,
    }
    Ok(())
}

/// The cluster's DNS, if `kprep dns` has put it first.
pub(crate) fn cluster_first(host: &Host, cluster: &Cluster) -> Option<IpAddr> {
    fs::exists(&host.path(CLUSTER_FIRST)).then(|| cluster.cluster_dns()).flatten()
}

/// The cluster's search domains (`default_searchdomains`), then the operator's.
pub(crate) fn searches(cluster: &Cluster) -> Vec<String> {
    let domain = &cluster.kubernetes.dns_domain;
    let clusters = [format!("default.svc.{domain}"), format!("svc.{domain}")];
    conf::unique(clusters.into_iter().chain(cluster.host.resolver.search_domains.clone()).collect())
}
