//! firewalld, by what `firewall-cmd --list-all-zones` prints (firewall-cmd(1)).

use khost::{Host, Result, fs};
use kspec::Cidr;

use super::{super::Outcome, Opening};

const CONF: &str = "/etc/firewalld/firewalld.conf";
/// Definitions of services, those that win first (firewalld.service(5)).
const SERVICES: [&str; 2] = ["/etc/firewalld/services", "/usr/lib/firewalld/services"];
/// How deep services may include others.
const DEPTH: u8 = 4;

#[derive(Debug, Default)]
struct Zone {
    name: String,
    accepts: bool,
    interfaces: Vec<String>,
    sources: Vec<String>,
    services: Vec<String>,
    ports: Vec<String>,
}

/// `interface` has the node's address, `default` is the zone of interfaces that are in no other,
/// `ports_of` knows the ports of a service.
pub(super) fn judge(
    listed: &str,
    interface: Option<&str>,
    default: &str,
    needed: &[Opening],
    pods: &Cidr,
    ports_of: &dyn Fn(&str) -> Vec<String>,
) -> Outcome {
    let zones = zones(listed);
    let has =
        |zone: &&Zone| interface.is_some_and(|own| zone.interfaces.iter().any(|at| at == own));
    let ours = zones.iter().find(has).or(zones.iter().find(|zone| zone.name == default));
    let Some(zone) = ours else {
        return unseen(needed, pods, "it lists no zone with the node's interface");
    };
    let closed: Vec<_> = needed
        .iter()
        .copied()
        .filter(|opening| !zone.accepts && !opens(zone, opening, ports_of))
        .collect();
    let trusts = |zone: &Zone| {
        let covers = |source: &String| {
            source
                .parse::<Cidr>()
                .is_ok_and(|net| net.overlaps(pods) && net.prefix() <= pods.prefix())
        };
        zone.accepts
            && (zone.sources.iter().any(covers) || zone.interfaces.iter().any(|at| at == "cni0"))
    };
    let trusted = zone.accepts || zones.iter().any(trusts);
    let name = &zone.name;
    if closed.is_empty() && trusted {
        return Outcome::passed("firewalld lets the node's traffic through")
            .seen(format!("zone {name} applies to the node's interface"));
    }
    let mut dropped: Vec<_> = closed.iter().map(ToString::to_string).collect();
    if !trusted {
        dropped.push(format!("what pods send ({pods})"));
    }
    Outcome::problem(format!("firewalld drops {}", dropped.join(", ")))
        .seen(format!("zone {name} applies to the node's interface"))
        .remedy(commands(name, &closed, (!trusted).then_some(pods)))
}

pub(super) fn unseen(needed: &[Opening], pods: &Cidr, why: &str) -> Outcome {
    Outcome::warning("firewalld is at work, and may drop the node's traffic")
        .seen(why)
        .remedy(format!("what a node needs: {}", commands("public", needed, Some(pods))))
}

fn commands(zone: &str, closed: &[Opening], pods: Option<&Cidr>) -> String {
    let mut commands = Vec::new();
    if !closed.is_empty() {
        let ports: Vec<_> = closed.iter().map(|opening| format!("--add-port={opening}")).collect();
        commands.push(format!("firewall-cmd --permanent --zone={zone} {}", ports.join(" ")));
    }
    commands.extend(
        pods.map(|pods| format!("firewall-cmd --permanent --zone=trusted --add-source={pods}")),
    );
    commands.push("firewall-cmd --reload".into());
    format!("`{}`", commands.join(" && "))
}

fn opens(zone: &Zone, opening: &Opening, ports_of: &dyn Fn(&str) -> Vec<String>) -> bool {
    let of_services = zone.services.iter().flat_map(|service| ports_of(service));
    zone.ports.iter().cloned().chain(of_services).any(|port| covers(&port, opening))
}

/// Whether `PORT/PROTOCOL` or `FIRST-LAST/PROTOCOL` has all of `opening`.
fn covers(port: &str, opening: &Opening) -> bool {
    let Some((range, protocol)) = port.split_once('/') else { return false };
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) else { return false };
    protocol == opening.protocol && first <= opening.first && opening.last <= last
}

/// Zones: a line with the name, and what is more in brackets, then one indented line a setting.
fn zones(listed: &str) -> Vec<Zone> {
    let mut zones = Vec::new();
    for line in listed.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with([' ', '\t']) {
            let name = line.split(' ').next().unwrap_or_default().to_owned();
            zones.push(Zone { name, ..Zone::default() });
            continue;
        }
        let (Some(zone), Some((key, value))) = (zones.last_mut(), line.trim().split_once(':'))
        else {
            continue;
        };
        let words = || value.split_whitespace().map(str::to_owned).collect();
        match key {
            "target" => zone.accepts = value.trim() == "ACCEPT",
            "interfaces" => zone.interfaces = words(),
            "sources" => zone.sources = words(),
            "services" => zone.services = words(),
            "ports" => zone.ports = words(),
            _ => {}
        }
    }
    zones
}

/// The zone of interfaces that are in no other (firewalld.conf(5)).
pub(super) fn default_zone(host: &Host) -> Result<String> {
    let conf = fs::read_text(&host.path(CONF))?.unwrap_or_default();
    let zone = conf.lines().find_map(|line| line.trim().strip_prefix("DefaultZone="));
    Ok(zone.unwrap_or("public").trim().to_owned())
}

/// The ports of a service, with those of the services it includes.
pub(super) fn ports_of(host: &Host, service: &str) -> Vec<String> {
    ports_to(host, service, DEPTH)
}

fn ports_to(host: &Host, service: &str, depth: u8) -> Vec<String> {
    let file = |dir: &str| fs::read_text(&host.path(format!("{dir}/{service}.xml"))).ok().flatten();
    let Some(text) = SERVICES.iter().find_map(|dir| file(dir)) else { return Vec::new() };
    let mut ports = Vec::new();
    for tag in text.split('<') {
        let value = |key: &str| {
            let (_, rest) = tag.split_once(&format!("{key}=\""))?;
            rest.split('"').next()
        };
        if tag.starts_with("port ") {
            ports.extend(
                value("port").zip(value("protocol")).map(|(port, of)| format!("{port}/{of}")),
            );
        } else if tag.starts_with("include ")
            && depth > 0
            && let Some(other) = value("service")
        {
            ports.extend(ports_to(host, other, depth - 1));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use kspec::{Cluster, Node};

    use super::{
        super::{
            super::{Verdict, sample::Sample},
            openings,
        },
        Opening, covers, default_zone, judge, ports_of, unseen,
    };
    use crate::validate::text;

    fn zones(public: &str, trusted: &str) -> String {
        format!(
            "block\n  target: %%REJECT%%\n  interfaces: \n  ports: \n  rich rules: \n\n\
             public (active)\n  target: default\n  icmp-block-inversion: no\n  interfaces: eth0\n  \
             sources: \n{public}  forward: yes\n  rich rules: \n\trule family=\"ipv4\" accept\n\n\
             trusted\n  target: ACCEPT\n  interfaces: \n{trusted}  services: \n"
        )
    }

    fn cluster() -> (Cluster, Node) {
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let node = cluster.nodes[0].clone();
        (cluster, node)
    }

    #[test]
    fn what_is_dropped_comes_with_the_commands_that_open_it() {
        let (cluster, node) = cluster();
        let (needed, pods) = (openings(&cluster, &node), &cluster.network.pod_cidr);
        let none = |_: &str| Vec::new();
        let listed = zones("  services: ssh\n  ports: 10250/tcp\n", "  sources: \n");
        let outcome = judge(&listed, Some("eth0"), "home", &needed, pods, &none);
        insta::assert_snapshot!(text(&outcome.called("firewall-drops")), @"
        problem[firewall-drops]: firewalld drops 6443/tcp, what pods send (10.233.64.0/18)
            seen: zone public applies to the node's interface
            hint: `firewall-cmd --permanent --zone=public --add-port=6443/tcp && firewall-cmd --permanent --zone=trusted --add-source=10.233.64.0/18 && firewall-cmd --reload`
        ");

        let listed = zones("  ports: 6000-7000/tcp 10250/tcp\n", "  sources: 10.233.0.0/16\n");
        let outcome = judge(&listed, Some("eth0"), "home", &needed, pods, &none);
        assert_eq!(outcome.verdict, Verdict::Passed, "{outcome:?}");
        let outcome = judge(&listed, None, "public", &needed, pods, &none);
        assert_eq!(outcome.verdict, Verdict::Passed, "the default zone: {outcome:?}");
    }

    #[test]
    fn services_have_ports_and_include_others() {
        let sample = Sample::new(&[
            (
                "/usr/lib/firewalld/services/a.xml",
                "<service>\n  <include service=\"b\"/>\n</service>",
            ),
            (
                "/usr/lib/firewalld/services/b.xml",
                "<service><port protocol=\"tcp\" port=\"6443\"/><port port=\"10250\" protocol=\"tcp\"/></service>",
            ),
        ]);
        let host = Host::new(sample.path("/"));
        assert_eq!(ports_of(&host, "a"), ["6443/tcp", "10250/tcp"]);
        let (cluster, node) = cluster();
        let (needed, pods) = (openings(&cluster, &node), &cluster.network.pod_cidr);
        let listed = zones("  services: a\n  ports: \n", "  sources: 10.233.64.0/18\n");
        let ports = |service: &str| ports_of(&host, service);
        assert_eq!(
            judge(&listed, Some("eth0"), "home", &needed, pods, &ports).verdict,
            Verdict::Passed
        );
    }

    #[test]
    fn a_port_opens_its_protocol_and_its_range() {
        let opening = Opening { first: 2379, last: 2380, protocol: "tcp" };
        for (port, opens) in [
            ("2379-2380/tcp", true),
            ("1-65535/tcp", true),
            ("2379-2380/udp", false),
            ("2379/tcp", false),
            ("2380-2390/tcp", false),
            ("all", false),
        ] {
            assert_eq!(covers(port, &opening), opens, "{port}");
        }
    }

    #[test]
    fn the_default_zone_is_the_operators() {
        let conf = "# x\nDefaultZone=home\nLogDenied=off\n";
        let sample = Sample::new(&[("/etc/firewalld/firewalld.conf", conf)]);
        assert_eq!(default_zone(&Host::new(sample.path("/"))).unwrap(), "home");
        let none = Sample::new(&[]);
        assert_eq!(default_zone(&Host::new(none.path("/"))).unwrap(), "public");
    }

    #[test]
    fn what_only_root_sees_is_a_warning() {
        let (cluster, node) = cluster();
        let outcome = unseen(&openings(&cluster, &node), &cluster.network.pod_cidr, "why");
        assert_eq!(outcome.verdict, Verdict::Warning);
        assert!(outcome.remedy.contains("--add-port=6443/tcp"), "{outcome:?}");
    }
}
