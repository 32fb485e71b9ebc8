//! flannel's objects in the cluster (kubespray: `network_plugin/flannel/templates`), and what its
//! pods bring about on the node.

use khost::{Result, Thing, steps::manifest::Manifest, template};
use kspec::{
    Cluster, Sha256,
    state::{Artifacts, ControlPlaneState},
};
use serde_json::{Value, json};

use crate::{config, endpoint, runtime};

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
    let flannel = &cluster.network.flannel;
    let mut causes = vec![
        Thing::Tree("/run/flannel".into()),
        Thing::File(runtime::PATH.into()),
        Thing::Routes(cluster.network.pod_cidr),
        Thing::Chains("CNI-".into()), // by the portmap program
        Thing::Chains(CHAINS.into()),
    ];
    if flannel.nftables {
        causes.extend(TABLES.map(|table| Thing::Table(table.into())));
    }
    causes.extend(config::tunnel(flannel).map(Thing::Interface));
    causes.push(Thing::Interface("cni0".into())); // by the bridge program
    Ok(Manifest::new("flannel", "kcni", objects).causing(causes))
}

/// What the names of flannel's chains begin with (`pkg/trafficmngr/iptables`).
pub(crate) const CHAINS: &str = "FLANNEL-";

/// flannel's own with `nftables = true`; it makes the second, too, without IPv6
/// (`pkg/trafficmngr/nftables`).
pub(crate) const TABLES: [&str; 2] = ["ip flannel-ipv4", "ip6 flannel-ipv6"];

/// All of it as YAML documents.
pub(crate) fn render(
    cluster: &Cluster,
    artifacts: &Artifacts,
    control_plane: &ControlPlaneState,
) -> Result<String> {
    let (api_host, api_port) = endpoint::split(control_plane)?;
    let (cni_conf, net_conf) = (pretty(&config::runtime()), pretty(&config::network(cluster)?));
    let config_digest = Sha256::of(format!("{cni_conf}\n{net_conf}")).hex();
    let values = json!({
        "image": image(artifacts, "flannel")?,
        "cni_conf": cni_conf,
        "net_conf": net_conf,
        "config_digest": config_digest,
        "interface_flags": config::interface_flags(&cluster.network.flannel)?,
        "cni_file": runtime::PATH,
        "service": cluster.service_address(),
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

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kspec::{Cluster, state::Artifacts};
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
        assert_eq!(images, ["\"docker.io/flannel/flannel:v0.27.3\"",]);
        assert_eq!(super::version(&artifacts()).unwrap(), "v0.27.3");
    }
}
