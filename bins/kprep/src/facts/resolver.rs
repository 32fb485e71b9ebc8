//! Which resolver configuration pods inherit: resolv.conf(5).

use std::net::IpAddr;

/// The machine's resolver configuration.
pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";
/// systemd-resolved's list of the servers it asks itself (systemd-resolved.service(8)).
pub(crate) const UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// Where systemd-resolved listens, on this machine and for nobody else.
const STUBS: [&str; 2] = ["127.0.0.53", "127.0.0.54"];

/// The nameservers of `text`, a resolv.conf.
pub(crate) fn nameservers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        let address = (words.next()? == "nameserver").then(|| words.next())??;
        // An interface may follow a link-local address: fe80::1%eth0.
        address.split('%').next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

/// The file with nameservers that pods can reach. Pods have a loopback of their own, so a list
/// that names only systemd-resolved's stub is passed over for what the stub itself asks.
pub(crate) fn for_pods(resolv_conf: &str, upstream_exists: bool) -> &'static str {
    let servers = nameservers(resolv_conf);
    let is_stub = |server: &IpAddr| STUBS.contains(&server.to_string().as_str());
    let stub = !servers.is_empty() && servers.iter().all(is_stub);
    if stub && upstream_exists { UPSTREAM } else { RESOLV_CONF }
}

#[cfg(test)]
mod tests {
    use super::{RESOLV_CONF, UPSTREAM, for_pods, nameservers};

    #[test]
    fn only_valid_nameservers_count() {
        let text = "# nameserver 192.0.2.9\nnameserver 192.0.2.1\nnameserver  fe80::1%eth0\n\
                    nameserver somewhere\nnameserver\nsearch example.com\n";
        let found: Vec<_> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.1", "fe80::1"]);
    }

    #[test]
    fn the_stub_is_passed_over() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\n";
        for (text, upstream, expected) in [
            (stub, true, UPSTREAM),
            (stub, false, RESOLV_CONF),
            ("nameserver 192.0.2.1\n", true, RESOLV_CONF),
            ("nameserver 10.233.0.3\nnameserver 127.0.0.53\n", true, RESOLV_CONF),
            ("", true, RESOLV_CONF),
        ] {
            assert_eq!(for_pods(text, upstream), expected, "{text}");
        }
    }
}
