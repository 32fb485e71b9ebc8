//! How this machine looks names up without the cluster, in a file for the pods.
//!
//! The kubelet hands this file to pods (`resolvConf`), `CoreDNS` among them. It never names the
//! cluster's own DNS, so `CoreDNS` cannot forward to itself, and putting cluster DNS first on the
//! machine later changes nothing for the kubelet: nothing of the control plane is restarted.
//!
//! The file also remembers what is the machine's own, in comments. Once a resolver's owner was
//! told other servers it cannot say any more which it had before. A server that DHCP gave or took
//! since the file was written is added or taken out by the next apply.

use std::net::IpAddr;

use khost::{Host, Result, fs};
use kspec::{Cluster, state::Resolver};

use super::{
    conf::{self, ResolvConf},
    network_manager, resolvconf, resolved,
};
use crate::facts::resolver;

pub(crate) const PATH: &str = "/var/lib/k8steps/resolv.conf";

const OWN: &str = "# own: ";
const LEASED: &str = "# of devices: ";

/// The machine's lookups without the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Upstream {
    /// What the machine had, or was given since, by itself.
    pub(crate) own: ResolvConf,
    /// The servers that network devices had when this was found out, where that can be asked.
    leased: Vec<IpAddr>,
}

impl Upstream {
    /// Find out about `host`, whose lookups `owner` keeps.
    pub(crate) fn of(host: &Host, cluster: &Cluster, owner: Resolver) -> Result<Self> {
        let before = fs::read_text(&host.path(PATH))?.map(|text| Self::parse(&text));
        let present = ResolvConf::parse(&resolver::text(host)?);
        let mut found = match owner {
            Resolver::NetworkManager => {
                let leased = network_manager::leased(host)?;
                if network_manager::is_told(host)? {
                    before.clone().unwrap_or_default().led_by(leased)
                } else {
                    Self { own: present, leased: leased.unwrap_or_default() }
                }
            }
            Resolver::SystemdResolved => Self::from(resolved::own(host, cluster, present)?),
            Resolver::Resolvconf => Self::from(resolvconf::own(host, cluster, present)?),
            Resolver::Dhclient => Self::from(without_ours(present, cluster)),
            Resolver::File => Self::from(present),
        };
        found.own.servers.retain(|server| is_for_pods(*server, cluster));
        found.leased.retain(|server| is_for_pods(*server, cluster));
        if found.own.servers.is_empty() {
            // A local cache hides whom it asks; an owner that was told of ours may hide the rest.
            found.own.servers.clone_from(&found.leased);
            if let (true, Some(before)) = (found.leased.is_empty(), before)
                && owner != Resolver::File
            {
                found.own = before.own;
            }
        }
        Ok(found)
    }

    /// As it was, with what devices were given or lost since; `leased` is none where devices
    /// cannot be asked.
    fn led_by(mut self, leased: Option<Vec<IpAddr>>) -> Self {
        let Some(leased) = leased else { return self };
        let lost = |server: &IpAddr| self.leased.contains(server) && !leased.contains(server);
        self.own.servers.retain(|server| !lost(server));
        let new = leased.iter().filter(|server| !self.leased.contains(server));
        self.own.servers.extend(new);
        self.own.servers = conf::unique(self.own.servers);
        self.leased = leased;
        self
    }

    /// What pods go by: what the operator wants asked first, then the machine's own.
    pub(crate) fn for_pods(&self, cluster: &Cluster) -> ResolvConf {
        let wanted = &cluster.host.resolver;
        ResolvConf {
            servers: conf::unique([&wanted.nameservers[..], &self.own.servers].concat()),
            searches: conf::unique([&wanted.search_domains[..], &self.own.searches].concat()),
            options: conf::options(&wanted.options, &self.own.options),
        }
    }

    /// The file.
    pub(crate) fn render(&self, cluster: &Cluster) -> String {
        let mut text = "# kprep: how this machine looks names up without the cluster. The kubelet \
                        gives this to pods.\n"
            .to_owned();
        text += &self.own.lines(OWN);
        if !self.leased.is_empty() {
            let leased: Vec<_> = self.leased.iter().map(ToString::to_string).collect();
            text.extend([LEASED, &leased.join(" "), "\n"]);
        }
        text + &self.for_pods(cluster).lines("")
    }

    fn parse(text: &str) -> Self {
        let own: String = text
            .lines()
            .filter_map(|line| line.strip_prefix(OWN))
            .flat_map(|l| [l, "\n"])
            .collect();
        let leased = text.lines().filter_map(|line| line.strip_prefix(LEASED));
        let leased = leased.flat_map(str::split_whitespace).filter_map(conf::address).collect();
        Self { own: ResolvConf::parse(&own), leased }
    }
}

impl From<ResolvConf> for Upstream {
    fn from(own: ResolvConf) -> Self {
        Self { own, leased: Vec::new() }
    }
}

/// Whether a pod can ask `server`, and should: it has a loopback and links of its own, and the
/// cluster's DNS would ask itself.
fn is_for_pods(server: IpAddr, cluster: &Cluster) -> bool {
    let local = match server {
        IpAddr::V4(_) => false,
        IpAddr::V6(server) => server.is_unicast_link_local(),
    };
    let clusters =
        cluster.cluster_dns() == Some(server) || cluster.network.service_cidr.contains(server);
    !(local || clusters || server.is_loopback() || server.is_unspecified())
}

/// `conf` without what kprep told the owner that wrote it.
pub(super) fn without_ours(mut conf: ResolvConf, cluster: &Cluster) -> ResolvConf {
    let ours = &cluster.host.resolver;
    let searches = super::searches(cluster);
    conf.servers.retain(|server| !ours.nameservers.contains(server));
    conf.searches.retain(|name| !searches.contains(name));
    conf.options.retain(|option| !ours.options.contains(option));
    conf
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::{Upstream, is_for_pods};

    const TEXT: &str = "# own: nameserver 192.0.2.1\n# own: nameserver 192.0.2.2\n\
                        # own: search corp\n# of devices: 192.0.2.2\nnameserver 192.0.2.9\n";

    fn servers(upstream: &Upstream) -> String {
        let servers: Vec<_> = upstream.own.servers.iter().map(ToString::to_string).collect();
        servers.join(" ")
    }

    fn leased(server: &str) -> Option<Vec<std::net::IpAddr>> {
        server.parse().ok().map(|server| vec![server])
    }

    #[test]
    fn it_remembers_what_is_the_machines_own() {
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let upstream = Upstream::parse(TEXT);
        assert_eq!(servers(&upstream), "192.0.2.1 192.0.2.2");
        assert_eq!(Upstream::parse(&upstream.render(&cluster)), upstream);
        insta::assert_snapshot!(upstream.render(&cluster), @"
        # kprep: how this machine looks names up without the cluster. The kubelet gives this to pods.
        # own: nameserver 192.0.2.1
        # own: nameserver 192.0.2.2
        # own: search corp
        # of devices: 192.0.2.2
        nameserver 192.0.2.1
        nameserver 192.0.2.2
        search corp
        options ndots:2 timeout:2 attempts:2
        ");
    }

    #[test]
    fn a_server_that_dhcp_took_goes_and_one_that_it_gave_comes() {
        let upstream = || Upstream::parse(TEXT);
        assert_eq!(servers(&upstream().led_by(None)), "192.0.2.1 192.0.2.2");
        assert_eq!(upstream().led_by(leased("192.0.2.2")), upstream());
        let moved = upstream().led_by(leased("192.0.2.3"));
        assert_eq!(servers(&moved), "192.0.2.1 192.0.2.3");
        assert_eq!(moved.clone().led_by(leased("192.0.2.3")), moved);
    }

    #[test]
    fn pods_are_not_sent_to_themselves() {
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let fits = |server: &str| is_for_pods(server.parse().unwrap(), &cluster);
        for server in ["127.0.0.53", "::1", "0.0.0.0", "fe80::1", "10.233.0.3", "10.233.1.7"] {
            assert!(!fits(server), "{server}");
        }
        assert!(fits("192.0.2.53") && fits("2001:db8::53") && fits("169.254.169.253"));
    }
}
