//! `[host]` and `[proxy]`: what is done to, and with, the operating system.

use super::{
    super::Cluster,
    Found,
    syntax::{is_dns_name, is_package, is_proxy, is_sysctl},
};

/// Problems of a machine that an operator may accept (`host.accept-problems`): those where the
/// operator may know better. Left out are those that one of kprep's own steps is bound to fail at
/// (`os-unsupported`, `arch-unsupported`, `init-not-systemd`, `cgroup-missing`,
/// `programs-missing`, `sysctl-missing`), and `cluster-foreign`, which knode refuses.
pub const ACCEPTABLE: [&str; 18] = [
    "address-duplicate",
    "address-not-here",
    "address-of-another",
    "capability-missing",
    "cgroup-controller-missing",
    "clock-behind",
    "disk-slow",
    "firewall-drops",
    "kernel-too-old",
    "leftovers",
    "memory-too-small",
    "nameserver-missing",
    "network-device-missing",
    "overlay-missing",
    "packet-filter-missing",
    "port-taken",
    "space-pressure",
    "space-too-little",
];

/// What resolv.conf(5) knows, and which of it takes a number up to which.
const OPTIONS: [(&str, Option<u8>); 14] = [
    ("attempts", Some(5)),
    ("debug", None),
    ("edns0", None),
    ("inet6", None),
    ("ndots", Some(15)),
    ("no-aaaa", None),
    ("no-reload", None),
    ("no-tld-query", None),
    ("rotate", None),
    ("single-request", None),
    ("single-request-reopen", None),
    ("timeout", Some(30)),
    ("trust-ad", None),
    ("use-vc", None),
];
/// resolv.conf(5): `MAXNS`.
const NAMESERVERS: usize = 3;

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    check_proxy(cluster, found);
    let host = &cluster.host;
    for code in host.accept_problems.iter().filter(|code| !ACCEPTABLE.contains(&code.as_str())) {
        found.add(
            "accept-problem-unknown",
            "host.accept-problems",
            format!("`{code}` is not a problem that can be accepted"),
            format!("choose among {}", ACCEPTABLE.join(", ")),
        );
    }
    for name in host.packages.iter().filter(|name| !is_package(name)) {
        found.add(
            "package-invalid",
            "host.packages",
            format!("`{name}` cannot be the name of a package"),
            "write the names of packages alone, without versions and options",
        );
    }
    for (key, value) in &host.sysctls {
        if !is_sysctl(key) || value.chars().any(char::is_control) {
            found.add(
                "sysctl-invalid",
                "host.sysctls",
                format!("`{key}` cannot be a kernel parameter with its value on one line"),
                "write it with dots, such as \"net.ipv4.ip_forward\" = \"1\"",
            );
        }
    }
    check_resolver(cluster, found);
}

fn check_proxy(cluster: &Cluster, found: &mut Found) {
    let proxy = &cluster.proxy;
    for (key, url) in [("http", &proxy.http), ("https", &proxy.https)] {
        if url.is_empty() || is_proxy(url) {
            continue;
        }
        found.add(
            "proxy-invalid",
            format!("proxy.{key}"),
            "this is not the address of a proxy", // it may hold a password
            "write http://HOST:PORT, without a user or password: \
             every user of the node can read where it goes",
        );
    }
    let whole = |entry: &str| entry.chars().all(|at| at.is_ascii_graphic() && at != ',');
    for entry in proxy.no_proxy.iter().filter(|entry| entry.is_empty() || !whole(entry)) {
        found.add(
            "no-proxy-invalid",
            "proxy.no-proxy",
            format!("`{entry}` is not one name, domain, address or network"),
            "write each as an entry of its own",
        );
    }
}

fn check_resolver(cluster: &Cluster, found: &mut Found) {
    let resolver = &cluster.host.resolver;
    for server in &resolver.nameservers {
        let own = cluster.network.service_cidr.contains(*server);
        if own || server.is_unspecified() || server.is_multicast() {
            found.add(
                "nameserver-invalid",
                "host.resolver.nameservers",
                if own {
                    format!("{server} is an address of the cluster's services")
                } else {
                    format!("{server} is not the address of a nameserver")
                },
                "name servers that answer before there is a cluster; \
                 its own is added once it answers",
            );
        }
    }
    if resolver.nameservers.len() > NAMESERVERS {
        found.add(
            "nameservers-too-many",
            "host.resolver.nameservers",
            format!(
                "{} nameservers: a resolver asks no more than three",
                resolver.nameservers.len()
            ),
            "name three at most",
        );
    }
    for domain in resolver.search_domains.iter().filter(|domain| !is_dns_name(domain)) {
        found.add(
            "search-domain-invalid",
            "host.resolver.search-domains",
            format!("`{domain}` is not a DNS name"),
            "use lower-case letters, digits, dashes and dots",
        );
    }
    for option in resolver.options.iter().filter(|option| !is_option(option)) {
        found.add(
            "resolver-option-invalid",
            "host.resolver.options",
            format!("`{option}` is not an option of resolv.conf(5)"),
            "write such as \"ndots:2\" or \"rotate\"",
        );
    }
}

fn is_option(option: &str) -> bool {
    let (name, number) = match option.split_once(':') {
        Some((name, number)) => (name, Some(number.parse::<u8>())),
        None => (option, None),
    };
    OPTIONS.iter().any(|(known, most)| {
        *known == name
            && match (most, &number) {
                (Some(most), Some(Ok(number))) => number <= most,
                (None, None) => true,
                _ => false,
            }
    })
}
