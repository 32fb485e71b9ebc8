//! systemd-resolved: a drop-in of ours (kubespray: `resolved.conf.j2`).

use std::{fmt::Write as _, net::IpAddr};

use khost::{
    Host, Result, StepList, fs,
    steps::{file::File, reload::Reload},
};
use kspec::Cluster;

use super::{Told, conf::ResolvConf, upstream::without_ours};
use crate::facts::resolver::UPSTREAM;

/// kubespray's is called `kubespray.conf`.
const PATH: &str = "/etc/systemd/resolved.conf.d/k8steps.conf";
const UNIT: &str = "systemd-resolved.service";

pub(super) fn tell(steps: &mut StepList, cluster: &Cluster, told: &Told) {
    steps.add(File::new(PATH).text(render(cluster, told)));
    steps.add(Reload::service(UNIT, [PATH]));
}

/// resolved.conf(5). What its links bring stays as it is; its file has no place for options.
fn render(cluster: &Cluster, told: &Told) -> String {
    let mut text = "# kprep: name lookups of this machine\n[Resolve]\n".to_owned();
    let mut set = |key: &str, words: &[String]| {
        if !words.is_empty() {
            let _ = writeln!(text, "{key}={}", words.join(" ")); // to a string: cannot fail
        }
    };
    let words = |servers: &[IpAddr]| servers.iter().map(ToString::to_string).collect::<Vec<_>>();
    let addons = &cluster.addons.upstream_dns;
    set("DNS", &words(&told.servers));
    set("FallbackDNS", &[&addons[..], &words(&cluster.host.resolver.nameservers)].concat());
    set("Domains", &told.searches);
    set("DNSSEC", &["no".into()]);
    set("Cache", &["no-negative".into()]);
    text
}

/// What it asks by itself: the list it keeps for others, without what it was told by us; while it
/// does not run, `present`.
pub(super) fn own(host: &Host, cluster: &Cluster, present: ResolvConf) -> Result<ResolvConf> {
    let listed = fs::read_text(&host.path(UPSTREAM))?;
    let mut own = without_ours(listed.map_or(present, |text| ResolvConf::parse(&text)), cluster);
    let fallback = |server: &IpAddr| cluster.addons.upstream_dns.contains(&server.to_string());
    own.servers.retain(|server| !fallback(server));
    Ok(own)
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::render;
    use crate::resolver::{Told, conf::ResolvConf, searches};

    #[test]
    fn early_and_once_the_cluster_answers() {
        let mut cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let told = |cluster: &Cluster, servers| Told {
            servers,
            searches: searches(cluster),
            options: Vec::new(),
            own: ResolvConf::default(),
        };
        insta::assert_snapshot!(render(&cluster, &told(&cluster, Vec::new())), @"
        # kprep: name lookups of this machine
        [Resolve]
        Domains=default.svc.cluster.local svc.cluster.local
        DNSSEC=no
        Cache=no-negative
        ");
        cluster.host.resolver.nameservers = vec!["192.0.2.54".parse().unwrap()];
        cluster.host.resolver.search_domains = vec!["corp.example".into()];
        cluster.addons.upstream_dns = vec!["192.0.2.53".into()];
        let servers = ["10.233.0.3", "192.0.2.54"].map(|server| server.parse().unwrap()).into();
        insta::assert_snapshot!(render(&cluster, &told(&cluster, servers)), @"
        # kprep: name lookups of this machine
        [Resolve]
        DNS=10.233.0.3 192.0.2.54
        FallbackDNS=192.0.2.53 192.0.2.54
        Domains=default.svc.cluster.local svc.cluster.local corp.example
        DNSSEC=no
        Cache=no-negative
        ");
    }
}
