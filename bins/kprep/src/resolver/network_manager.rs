//! `NetworkManager`: its hands off the interfaces that Kubernetes makes, and the servers it writes
//! into `/etc/resolv.conf`.

use std::{net::IpAddr, path::Path};

use khost::{
    Cmd, Host, Result, StepList, Thing, fs,
    steps::{file::File, reload::Reload},
};
use kspec::Cluster;

use super::{Told, conf};
use crate::facts::resolver::RESOLV_CONF;

const DIR: &str = "/etc/NetworkManager";
/// kubespray's files (`preinstall/tasks/0062-networkmanager-unmanaged-devices.yml`,
/// `0063-networkmanager-dns.yml`).
const DEVICES: &str = "/etc/NetworkManager/conf.d/k8s.conf";
const DNS: &str = "/etc/NetworkManager/conf.d/dns.conf";
const UNIT: &str = "NetworkManager.service";

/// First in a file of ours.
const SIGN: &str = "# kprep: ";

/// Its files where it is installed; where it is at work, it reads them. `told` when it is the one
/// that keeps the machine's resolver.
pub(super) fn set(
    steps: &mut StepList,
    host: &Host,
    cluster: &Cluster,
    told: Option<&Told>,
) -> Result<()> {
    if !fs::exists(&host.path(DIR)) {
        return Ok(());
    }
    steps.add(File::new(DEVICES).text(devices(cluster)));
    let mut reload = Reload::service(UNIT, [DEVICES, DNS]);
    if let Some(dns) = told.and_then(dns) {
        steps.add(File::new(DNS).mode(0o600).text(dns));
        if !is_told(host)? {
            reload = reload.leaves([Thing::File(RESOLV_CONF.into())]);
        }
    }
    steps.add(reload);
    Ok(())
}

/// `NetworkManager.conf(5)`, section `keyfile`; names may hold wildcards.
fn devices(cluster: &Cluster) -> String {
    let vxlan = format!("flannel.{}", cluster.network.flannel.vni);
    let names = ["cni0", &vxlan, "veth*", "kube-ipvs0", "nodelocaldns"];
    let devices = names.map(|name| format!("interface-name:{name}")).join(";");
    format!("{SIGN}interfaces of Kubernetes\n[keyfile]\nunmanaged-devices+={devices}\n")
}

/// `NetworkManager.conf(5)`, sections `global-dns`. They replace what connections bring, so all of
/// it is named; none without any server, which would leave the machine without.
fn dns(told: &Told) -> Option<String> {
    let all = told.all();
    if all.servers.is_empty() {
        return None;
    }
    let servers: Vec<_> = all.servers.iter().map(ToString::to_string).collect();
    Some(format!(
        "{SIGN}name lookups of this machine\n[global-dns]\nsearches={}\noptions={}\n\n\
         [global-dns-domain-*]\nservers={}\n",
        all.searches.join(","),
        all.options.join(","),
        servers.join(",")
    ))
}

/// Whether it was told servers by us, and so shows no others.
pub(super) fn is_told(host: &Host) -> Result<bool> {
    Ok(fs::read_text(&host.path(DNS))?.is_some_and(|text| text.starts_with(SIGN)))
}

/// The servers its devices were given, by DHCP or by hand; none where it cannot be asked.
pub(super) fn leased(host: &Host) -> Result<Option<Vec<IpAddr>>> {
    if !host.is_live() {
        return Ok(None);
    }
    let fields = ["--terse", "--escape", "no", "--fields", "IP4.DNS,IP6.DNS", "device", "show"];
    // 8: it does not run (nmcli(1)).
    match Cmd::new("nmcli").args(fields).accept(&[0, 8]).run() {
        Ok(output) if output.code == 0 => Ok(Some(servers(&output.stdout))),
        Ok(_) => Ok(None),
        Err(error) if error.code() == "program-missing" => Ok(None),
        Err(error) => Err(error),
    }
}

/// Addresses out of lines like `IP4.DNS[1]:192.0.2.53`.
fn servers(listed: &str) -> Vec<IpAddr> {
    let server = |line: &str| conf::address(line.split_once("]:")?.1.trim());
    conf::unique(listed.lines().filter_map(server).collect())
}

/// Whether it is told to leave `/etc/resolv.conf` to others (`dns`, `rc-manager`). Its files are
/// read in this order, and the last one counts.
pub(crate) fn leaves_resolv_conf(host: &Host) -> Result<bool> {
    let mut texts = Vec::new();
    for dir in ["/usr/lib/NetworkManager/conf.d", "/run/NetworkManager/conf.d"] {
        texts.extend(in_dir(host, dir)?);
    }
    texts.extend(fs::read_text(&host.path("/etc/NetworkManager/NetworkManager.conf"))?);
    texts.extend(in_dir(host, "/etc/NetworkManager/conf.d")?);
    let all: Vec<_> = texts.iter().map(String::as_str).collect();
    Ok(last(&all, "dns") == Some("none") || last(&all, "rc-manager") == Some("unmanaged"))
}

fn in_dir(host: &Host, dir: &str) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    for name in fs::names(&host.path(dir))? {
        if Path::new(&name).extension().is_some_and(|extension| extension == "conf") {
            texts.extend(fs::read_text(&host.path(dir).join(name))?);
        }
    }
    Ok(texts)
}

/// The value that `key` of section `main` has in the last of `texts` that sets it.
fn last<'a>(texts: &[&'a str], key: &str) -> Option<&'a str> {
    let mut found = None;
    for text in texts {
        let mut main = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                main = line == "[main]";
            } else if let Some((name, value)) = line.split_once('=')
                && main
                && name.trim() == key
            {
                found = Some(value.trim());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::{devices, dns, last, servers};
    use crate::resolver::{Told, conf::ResolvConf};

    #[test]
    fn all_interfaces_of_kubernetes_are_named() {
        insta::assert_snapshot!(devices(&Cluster::default()), @"
        # kprep: interfaces of Kubernetes
        [keyfile]
        unmanaged-devices+=interface-name:cni0;interface-name:flannel.1;interface-name:veth*;interface-name:kube-ipvs0;interface-name:nodelocaldns
        ");
    }

    #[test]
    fn ours_come_before_its_own_which_it_would_forget() {
        let own = "nameserver 192.0.2.53\nnameserver 2001:db8::53\nsearch corp.example\n\
                   options edns0 ndots:5\n";
        let told = |servers: &[&str], own: &str| Told {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            searches: vec!["svc.cluster.local".into()],
            options: vec!["ndots:2".into()],
            own: ResolvConf::parse(own),
        };
        insta::assert_snapshot!(dns(&told(&["10.233.0.3"], own)).unwrap(), @"
        # kprep: name lookups of this machine
        [global-dns]
        searches=svc.cluster.local,corp.example
        options=ndots:2,edns0

        [global-dns-domain-*]
        servers=10.233.0.3,192.0.2.53,2001:db8::53
        ");
        assert_eq!(dns(&told(&[], "")), None);
    }

    #[test]
    fn devices_name_their_servers() {
        let listed = "IP4.DNS[1]:192.0.2.53\nIP4.DNS[2]:192.0.2.54\n\nIP4.DNS[1]:192.0.2.53\n\
                      IP6.DNS[1]:2001:db8::53\nIP6.DNS[2]:--\n";
        let found: Vec<_> = servers(listed).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.53", "192.0.2.54", "2001:db8::53"]);
    }

    #[test]
    fn the_last_file_counts_and_only_its_main_section() {
        let texts = ["[main]\ndns=default\n", "[main]\n#dns=x\n dns = none\n[x]\ndns=y\n", "[x]\n"];
        assert_eq!(last(&texts, "dns"), Some("none"));
        assert_eq!(last(&texts, "rc-manager"), None);
    }
}
