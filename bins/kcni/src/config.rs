//! What flanneld and the container runtime are told.

use khost::{Error, Result};
use kspec::{
    Cluster,
    cluster::{Backend, Flannel},
};
use serde_json::{Value, json};

/// flanneld's configuration (flannel, `Documentation/configuration.md` and `backends.md`).
///
/// # Errors
/// `pod-cidr-ipv6`.
pub(crate) fn network(cluster: &Cluster) -> Result<Value> {
    let pods = &cluster.network.pod_cidr;
    if !pods.is_v4() {
        return Err(Error::input("pod-cidr-ipv6", format!("{pods} is an IPv6 network"))
            .because("this version of kcni gives pods IPv4 addresses only")
            .hint("set `network.pod-cidr` to an IPv4 network such as 10.233.64.0/18"));
    }
    let flannel = &cluster.network.flannel;
    Ok(json!({
        "Network": pods,
        "EnableIPv4": true,
        "EnableNFTables": flannel.nftables,
        "Backend": backend(flannel),
    }))
}

fn backend(flannel: &Flannel) -> Value {
    if flannel.backend == Backend::HostGw {
        return json!({ "Type": "host-gw" });
    }
    let mut backend = json!({
        "Type": "vxlan",
        "VNI": flannel.vni,
        "Port": flannel.port,
        "DirectRouting": flannel.direct_routing,
    });
    if flannel.mtu != 0 {
        backend["MTU"] = flannel.mtu.into();
    }
    backend
}

/// The interface that carries pods' packets to other nodes; none where they go as they are.
pub(crate) fn tunnel(flannel: &Flannel) -> Option<String> {
    (flannel.backend == Backend::Vxlan).then(|| format!("flannel.{}", flannel.vni))
}

/// What the container runtime is told: flannel, and ports of the node for pods that ask for one.
pub(crate) fn runtime() -> Value {
    json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// flanneld's flags that choose the interface; none where it takes that of the default route.
///
/// # Errors
/// `interface-invalid`.
pub(crate) fn interface_flags(flannel: &Flannel) -> Result<Vec<String>> {
    let (name, regex) = (flannel.interface.as_str(), flannel.interface_regex.as_str());
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-@".contains(c);
    if name.len() >= 40 || !name.chars().all(fits) || name.starts_with('-') {
        return Err(invalid(name, "interface", "a name that `ip link` shows, or leave it empty"));
    }
    if regex.chars().any(char::is_control) {
        return Err(invalid(regex, "interface-regex", "an expression of one line"));
    }
    let flag = |flag: &str, value: &str| (!value.is_empty()).then(|| format!("--{flag}={value}"));
    Ok([flag("iface", name), flag("iface-regex", regex)].into_iter().flatten().collect())
}

fn invalid(value: &str, key: &str, remedy: &str) -> Error {
    Error::input("interface-invalid", format!("`{value}` cannot be a network interface"))
        .hint(format!("set `network.flannel.{key}` to {remedy}"))
}

#[cfg(test)]
mod tests {
    use kspec::{
        Cluster,
        cluster::{Backend, Flannel},
    };
    use serde_json::{Value, json};

    use super::{interface_flags, network, runtime, tunnel};

    fn cluster(change: impl FnOnce(&mut Flannel)) -> Cluster {
        let mut cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        change(&mut cluster.network.flannel);
        cluster
    }

    fn backend(change: impl FnOnce(&mut Flannel)) -> Value {
        network(&cluster(change)).unwrap()["Backend"].clone()
    }

    #[test]
    fn the_configuration_is_the_recorded_one() {
        insta::assert_snapshot!(format!("{:#}", network(&cluster(|_| {})).unwrap()), @r#"
        {
          "Network": "10.233.64.0/18",
          "EnableIPv4": true,
          "EnableNFTables": false,
          "Backend": {
            "Type": "vxlan",
            "VNI": 1,
            "Port": 8472,
            "DirectRouting": false
          }
        }
        "#);
        insta::assert_snapshot!(format!("{:#}", runtime()), @r#"
        {
          "name": "cbr0",
          "cniVersion": "0.3.1",
          "plugins": [
            {
              "type": "flannel",
              "delegate": {
                "hairpinMode": true,
                "isDefaultGateway": true
              }
            },
            {
              "type": "portmap",
              "capabilities": {
                "portMappings": true
              }
            }
          ]
        }
        "#);
    }

    #[test]
    fn every_choice_reaches_flanneld() {
        let chosen = backend(|flannel| {
            (flannel.vni, flannel.port, flannel.mtu) = (4096, 4789, 1400);
            flannel.direct_routing = true;
        });
        let expected = json!({
            "Type": "vxlan", "VNI": 4096, "Port": 4789, "DirectRouting": true, "MTU": 1400,
        });
        assert_eq!(chosen, expected);
        let nftables = network(&cluster(|flannel| flannel.nftables = true)).unwrap();
        assert_eq!(nftables["EnableNFTables"], true);
        assert_eq!(
            backend(|flannel| flannel.backend = Backend::HostGw),
            json!({"Type": "host-gw"})
        );
    }

    #[test]
    fn only_vxlan_has_an_interface_of_its_own() {
        let tunnel = |change: fn(&mut Flannel)| tunnel(&cluster(change).network.flannel);
        assert_eq!(tunnel(|flannel| flannel.vni = 7).as_deref(), Some("flannel.7"));
        assert_eq!(tunnel(|flannel| flannel.backend = Backend::HostGw), None);
    }

    #[test]
    fn an_interface_is_named_or_described() {
        let flags = |change: fn(&mut Flannel)| interface_flags(&cluster(change).network.flannel);
        assert_eq!(flags(|_| {}).unwrap(), [""; 0]);
        assert_eq!(flags(|f| f.interface = "eth1".into()).unwrap(), ["--iface=eth1"]);
        let regex = flags(|f| f.interface_regex = "^192\\.0\\.2\\.".into()).unwrap();
        assert_eq!(regex, ["--iface-regex=^192\\.0\\.2\\."]);
        for change in [(|f| f.interface = "--public-ip=1.2.3.4".into()) as fn(&mut Flannel), |f| {
            f.interface_regex = "a\nb".into();
        }] {
            assert_eq!(flags(change).unwrap_err().code(), "interface-invalid");
        }
    }
}
