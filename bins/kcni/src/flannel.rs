//! flannel's objects in the cluster (kubespray: `network_plugin/flannel/templates`), and what its
//! pods bring about on the node.

use khost::{Error, Result, Thing, steps::manifest::Manifest, template};
use kspec::{
    Cluster, Sha256,
    cluster::{Backend, Flannel},
    paths::{CNI_BIN_DIR, CNI_CONF_DIR},
    state::{Artifacts, ControlPlaneState},
};
use serde_json::{Value, json};

use crate::endpoint;

const TEMPLATE: &str = include_str!("../templates/flannel.yaml");

/// Everything in the cluster. Reset deletes the objects first, which ends flanneld; only then
/// does nobody make the interfaces and chains anew.
pub(crate) fn applied(
    cluster: &Cluster,
    artifacts: &Artifacts,
    control_plane: &ControlPlaneState,
) -> Result<Manifest> {
    let yaml = render(cluster, artifacts, control_plane)?;
    let objects = template::objects("flannel.yaml", &yaml)?;
    Ok(Manifest::new("flannel", "kcni", objects).causing([
        Thing::Tree("/run/flannel".into()),
        Thing::File(format!("{CNI_BIN_DIR}/flannel").into()),
        Thing::File(format!("{CNI_CONF_DIR}/10-flannel.conflist").into()),
        Thing::Chains("CNI-".into()), // by the portmap program
        Thing::Chains("FLANNEL-".into()),
        Thing::Interface(format!("flannel.{}", cluster.network.flannel.vni)),
        Thing::Interface("cni0".into()), // by the bridge program
    ]))
}

/// All of it as YAML documents.
pub(crate) fn render(
    cluster: &Cluster,
    artifacts: &Artifacts,
    control_plane: &ControlPlaneState,
) -> Result<String> {
    let flannel = &cluster.network.flannel;
    let (api_host, api_port) = endpoint::split(control_plane)?;
    let (cni_conf, net_conf) = (pretty(&cni_conf()), pretty(&net_conf(cluster)?));
    let config_digest = Sha256::of(format!("{cni_conf}\n{net_conf}")).hex();
    let values = json!({
        "image": image(artifacts, "flannel")?,
        "cni_plugin_image": image(artifacts, "flannel-cni-plugin")?,
        "cni_conf": cni_conf,
        "net_conf": net_conf,
        "config_digest": config_digest,
        "interface": interface(flannel)?,
        "api_host": api_host,
        "api_port": api_port,
    });
    template::render("flannel.yaml", TEMPLATE, &values)
}

/// The version of flannel: the tag of its image.
pub(crate) fn version(artifacts: &Artifacts) -> Result<String> {
    let image = image(artifacts, "flannel")?;
    Ok(image.rsplit(':').next().unwrap_or(image).to_owned())
}

fn image<'a>(artifacts: &'a Artifacts, name: &str) -> Result<&'a str> {
    Ok(&khost::artifacts::image(artifacts, name)?.reference)
}

/// flanneld's configuration.
fn net_conf(cluster: &Cluster) -> Result<Value> {
    let pods = &cluster.network.pod_cidr;
    if !pods.is_v4() {
        return Err(Error::input("pod-cidr-ipv6", format!("{pods} is an IPv6 network"))
            .because("this version of kcni gives pods IPv4 addresses only")
            .hint("set `network.pod-cidr` to an IPv4 network such as 10.233.64.0/18"));
    }
    let flannel = &cluster.network.flannel;
    let backend = match flannel.backend {
        Backend::HostGw => json!({ "Type": "host-gw" }),
        Backend::Vxlan => json!({
            "Type": "vxlan",
            "VNI": flannel.vni,
            "Port": flannel.port,
            "DirectRouting": flannel.direct_routing,
        }),
    };
    Ok(json!({
        "Network": pods,
        "EnableIPv4": true,
        "EnableNFTables": false, // kube-proxy and the portmap program use iptables, too
        "Backend": backend,
    }))
}

/// What the container runtime is told: flannel, and ports of the node for pods that ask for one.
fn cni_conf() -> Value {
    json!({
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            { "type": "flannel", "delegate": { "hairpinMode": true, "isDefaultGateway": true } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// The interface the operator names; flanneld takes an address as well.
fn interface(flannel: &Flannel) -> Result<&str> {
    let name = flannel.interface.as_str();
    let fits = |c: char| c.is_ascii_alphanumeric() || "._:-@".contains(c);
    if name.len() < 40 && name.chars().all(fits) && !name.starts_with('-') {
        return Ok(name);
    }
    Err(Error::input("interface-invalid", format!("`{name}` cannot be a network interface"))
        .hint("set `network.flannel.interface` to a name that `ip link` shows, or leave it empty"))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kspec::{Cluster, cluster::Backend, state::Artifacts};
    use serde_json::{Value, json};

    use super::render;
    use crate::endpoint::tests::control_plane;

    fn artifacts() -> Artifacts {
        let images = [
            ktest::image("flannel", "docker.io/flannel/flannel:v0.27.3"),
            ktest::image(
                "flannel-cni-plugin",
                "docker.io/flannel/flannel-cni-plugin:v1.7.1-flannel1",
            ),
        ];
        ktest::artifacts([], images)
    }

    fn cluster() -> Cluster {
        Cluster::example("node1", [192, 0, 2, 11].into())
    }

    fn rendered(cluster: &Cluster) -> String {
        render(cluster, &artifacts(), &control_plane("https://192.0.2.11:6443")).unwrap()
    }

    fn objects(cluster: &Cluster) -> BTreeMap<String, Value> {
        khost::template::objects("flannel.yaml", &rendered(cluster))
            .unwrap()
            .into_iter()
            .map(|object| (khost::steps::manifest::title(&object), object))
            .collect()
    }

    #[test]
    fn everything_is_named_as_kubespray_names_it() {
        let titles: Vec<_> = objects(&cluster()).into_keys().collect();
        assert_eq!(
            titles,
            [
                "ClusterRole flannel",
                "ClusterRoleBinding flannel",
                "ConfigMap kube-system/kube-flannel-cfg",
                "DaemonSet kube-system/kube-flannel",
                "ServiceAccount kube-system/flannel",
            ]
        );
    }

    #[test]
    fn the_configuration_is_the_recorded_one() {
        let config = &objects(&cluster())["ConfigMap kube-system/kube-flannel-cfg"]["data"];
        insta::assert_snapshot!(config["net-conf.json"].as_str().unwrap(), @r#"
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
        insta::assert_snapshot!(config["cni-conf.json"].as_str().unwrap(), @r#"
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
    fn host_gw_has_no_tunnel() {
        let mut cluster = cluster();
        cluster.network.flannel.backend = Backend::HostGw;
        let config = &objects(&cluster)["ConfigMap kube-system/kube-flannel-cfg"]["data"];
        let net_conf: Value =
            serde_json::from_str(config["net-conf.json"].as_str().unwrap()).unwrap();
        assert_eq!(net_conf["Backend"], json!({ "Type": "host-gw" }));
    }

    #[test]
    fn another_configuration_makes_new_pods() {
        let digest = |cluster: &Cluster| {
            objects(cluster)["DaemonSet kube-system/kube-flannel"]
                .pointer("/spec/template/metadata/annotations/checksum~1config")
                .cloned()
                .unwrap()
        };
        let mut other = cluster();
        other.network.flannel.vni = 2;
        assert_ne!(digest(&cluster()), digest(&other));
        assert_eq!(digest(&cluster()), digest(&cluster()));
    }

    #[test]
    fn flanneld_goes_to_the_api_server_itself_without_privilege() {
        let mut cluster = cluster();
        cluster.network.flannel.interface = "eth1".into();
        let all = objects(&cluster);
        let container =
            &all["DaemonSet kube-system/kube-flannel"]["spec"]["template"]["spec"]["containers"][0];
        let env = |name: &str| {
            let env = container["env"].as_array().unwrap();
            env.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
        };
        assert_eq!(env("KUBERNETES_SERVICE_HOST"), "192.0.2.11");
        assert_eq!(env("KUBERNETES_SERVICE_PORT"), "6443");
        assert_eq!(container["args"], json!(["--ip-masq", "--kube-subnet-mgr", "--iface=eth1"]));
        assert_eq!(
            container["securityContext"],
            json!({ "privileged": false, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } })
        );
    }

    #[test]
    fn images_are_those_of_the_lock() {
        let yaml = rendered(&cluster());
        let images: Vec<_> =
            yaml.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
        assert_eq!(
            images,
            [
                "\"docker.io/flannel/flannel-cni-plugin:v1.7.1-flannel1\"",
                "\"docker.io/flannel/flannel:v0.27.3\"",
            ]
        );
        assert_eq!(super::version(&artifacts()).unwrap(), "v0.27.3");
    }

    #[test]
    fn a_name_that_is_no_interface_is_refused() {
        let mut cluster = cluster();
        cluster.network.flannel.interface = "--public-ip=1.2.3.4".into();
        let error = render(&cluster, &artifacts(), &control_plane("https://h:1")).unwrap_err();
        assert_eq!(error.code(), "interface-invalid");
    }
}
