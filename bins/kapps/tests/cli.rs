//! kapps as a command, on a tree.
#![expect(clippy::unwrap_used, reason = "tests, and what they share")]

use std::collections::{BTreeMap, BTreeSet};

use kspec::state::{Apps, Artifacts, Cni, ControlPlaneState, State as _};
use ktest::Tree;
use serde_json::{Value, json};

const IMAGES: [(&str, &str); 4] = [
    ("coredns", "registry.k8s.io/coredns/coredns:v1.12.0"),
    (
        "cluster-proportional-autoscaler",
        "registry.k8s.io/cpa/cluster-proportional-autoscaler:v1.8.8",
    ),
    ("metrics-server", "registry.k8s.io/metrics-server/metrics-server:v0.8.0"),
    ("node-feature-discovery", "registry.k8s.io/nfd/node-feature-discovery:v0.16.4"),
];

/// A tree in which everything kapps reads is there.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kapps"), extra);
    tree.leave(&artifacts(&tree));
    tree.leave(&ktest::control_plane());
    tree.leave(&cni());
    tree
}

fn artifacts(tree: &Tree) -> Artifacts {
    let images = IMAGES.map(|(name, reference)| ktest::image(name, reference));
    ktest::artifacts([tree.store("helm", "3.18.4", &["helm"])], images)
}

fn cni() -> Cni {
    Cni {
        schema: 1,
        plugin: "flannel".into(),
        version: "v0.27.3".into(),
        network: "10.233.64.0/18".into(),
        subnet: "10.233.64.1/24".into(),
        mtu: 1450,
    }
}

/// What `kapps manifests ARGS` prints, by kind and name.
fn manifests(tree: &Tree, args: &[&str]) -> BTreeMap<String, Value> {
    let (yaml, _) = tree.run(&[&["manifests"][..], args].concat(), 0);
    let objects = kspec::from_yaml_documents(&yaml).unwrap();
    let all = objects.len();
    let named: BTreeMap<_, _> = objects
        .into_iter()
        .map(|object| {
            assert!(object["apiVersion"].is_string(), "{object}");
            let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
            let kind = text("/kind").unwrap();
            let namespace = text("/metadata/namespace").map(|name| format!("{name}/"));
            let name = text("/metadata/name").unwrap();
            (format!("{kind} {}{name}", namespace.unwrap_or_default()), object)
        })
        .collect();
    assert_eq!(named.len(), all, "two objects share a name");
    named
}

#[test]
fn other_nodes_are_no_work() {
    tree("").has_no_more_to_do_among_500_nodes(&[]);
}

#[test]
fn plan_apply_again_check_and_reset() {
    let tree = tree("");
    tree.lives_through_its_phase(|| {
        assert_eq!(tree.read("/usr/local/bin/helm"), "the helm");
        let apps: Apps = serde_json::from_str(&tree.read(Apps::PATH)).unwrap();
        let names: Vec<_> = apps.apps.keys().collect();
        assert_eq!(
            names,
            [
                "cluster-roles",
                "coredns",
                "dns-autoscaler",
                "helm",
                "metrics-server",
                "node-feature-discovery"
            ]
        );
        assert_eq!(apps.apps["helm"].version, "3.18.4");
        assert_eq!(apps.apps["coredns"].version, "registry.k8s.io/coredns/coredns:v1.12.0");
        assert!(apps.apps["coredns"].objects.contains(&"Service kube-system/coredns".to_owned()));
    });
}

#[test]
fn who_makes_pods_is_waited_for_first_and_whom_nobody_waits_for_is_applied_late() {
    let tree = tree("");
    tree.write(
        "/etc/k8steps/manifests/own.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: own }\n",
    );
    let order = tree.order(&[]);
    let at = |id: &str| {
        let found = order.iter().position(|step| step == id);
        found.unwrap_or_else(|| panic!("{id} not in {order:#?}"))
    };
    assert_eq!(at("wait:kube-controller-manager-listening"), 0);
    for ids in [
        &["manifest:coredns", "wait:pod-network", "kubelet-certificates", "wait:coredns-answers"],
        &["wait:coredns-available", "wait:coredns-answers", "manifest:node-feature-discovery"][..],
        &["manifest:metrics-server", "wait:pod-network"],
        &["manifest:node-feature-discovery", "wait:node-feature-discovery-available"],
        &["manifest:node-feature-discovery", "wait:pods-admitted", "manifest:own"],
    ] {
        assert!(ids.is_sorted_by_key(|id| at(id)), "{ids:?} are in another order in {order:#?}");
    }
}

#[test]
fn kubelets_requests_are_looked_at_by_a_timer_where_they_are_made() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let unit = |end: &str| format!("/etc/systemd/system/kapps-approve.{end}");
    let service = tree.read(&unit("service"));
    assert!(service.contains("\nExecStart=/usr/local/bin/kapps --quiet approve\n"), "{service}");
    assert!(tree.read(&unit("timer")).contains("\nOnUnitActiveSec=300\n"));
    let off =
        tree.read("/etc/k8steps/cluster.toml") + "[kubelet]\nrotate-server-certificates = false\n";
    tree.write("/etc/k8steps/cluster.toml", &off);
    tree.run(&["apply"], 0);
    assert!(!tree.path(&unit("service")).exists() && !tree.path(&unit("timer")).exists());
}

#[test]
fn the_completion_is_bash_and_asks_helm_itself() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    insta::assert_snapshot!(tree.read("/etc/bash_completion.d/helm.sh"), @r"
    # Written by kapps: helm's own completion, loaded on first use.
    _k8steps_load_helm() {
        source <(helm completion bash) && return 124
    }
    complete -o default -F _k8steps_load_helm helm
    ");
}

#[test]
fn everything_is_named_as_kubespray_names_it() {
    let titles: Vec<_> = manifests(&tree(""), &[]).into_keys().collect();
    insta::assert_snapshot!(titles.join("\n"), @r"
    APIService v1beta1.metrics.k8s.io
    ClusterRole node-feature-discovery
    ClusterRole node-feature-discovery-gc
    ClusterRole system:coredns
    ClusterRole system:dns-autoscaler
    ClusterRole system:metrics-server
    ClusterRoleBinding kubespray:system:node
    ClusterRoleBinding metrics-server:system:auth-delegator
    ClusterRoleBinding node-feature-discovery
    ClusterRoleBinding node-feature-discovery-gc
    ClusterRoleBinding system:coredns
    ClusterRoleBinding system:dns-autoscaler
    ClusterRoleBinding system:metrics-server
    ConfigMap kube-system/coredns
    ConfigMap node-feature-discovery/node-feature-discovery-master-conf
    ConfigMap node-feature-discovery/node-feature-discovery-topology-updater-conf
    ConfigMap node-feature-discovery/node-feature-discovery-worker-conf
    CustomResourceDefinition nodefeaturegroups.nfd.k8s-sigs.io
    CustomResourceDefinition nodefeaturerules.nfd.k8s-sigs.io
    CustomResourceDefinition nodefeatures.nfd.k8s-sigs.io
    DaemonSet node-feature-discovery/node-feature-discovery-worker
    Deployment kube-system/coredns
    Deployment kube-system/dns-autoscaler
    Deployment kube-system/metrics-server
    Deployment node-feature-discovery/node-feature-discovery-gc
    Deployment node-feature-discovery/node-feature-discovery-master
    Namespace node-feature-discovery
    PriorityClass k8s-cluster-critical
    Role node-feature-discovery/node-feature-discovery-worker
    RoleBinding kube-system/metrics-server-auth-reader
    RoleBinding node-feature-discovery/node-feature-discovery-worker
    Service kube-system/coredns
    Service kube-system/metrics-server
    Service node-feature-discovery/node-feature-discovery-master
    ServiceAccount kube-system/coredns
    ServiceAccount kube-system/dns-autoscaler
    ServiceAccount kube-system/metrics-server
    ServiceAccount node-feature-discovery/node-feature-discovery
    ServiceAccount node-feature-discovery/node-feature-discovery-gc
    ServiceAccount node-feature-discovery/node-feature-discovery-worker
    ");
}

#[test]
fn an_add_on_that_is_switched_off_is_nowhere() {
    let tree = tree(
        "[addons]\nmetrics-server.enabled = false\ncoredns.enabled = false\n\
         node-feature-discovery.enabled = false\nhelm.enabled = false\n",
    );
    let titles: Vec<_> = manifests(&tree, &[]).into_keys().collect();
    assert_eq!(
        titles,
        ["ClusterRoleBinding kubespray:system:node", "PriorityClass k8s-cluster-critical"],
        "without CoreDNS there is nothing to scale either"
    );
    tree.run(&["apply"], 0);
    assert!(!tree.path("/usr/local/bin/helm").exists());
    assert!(!tree.path("/etc/bash_completion.d").exists());
    tree.refuses(&["manifests", "coredns"], 2, "addon-unknown", "choose one of: cluster-roles");
}

#[test]
fn helm_goes_when_it_is_switched_off_and_others_helm_stays() {
    let tree = tree("");
    tree.write("/etc/bash_completion.d/helm.sh", "somebody's");
    tree.run(&["apply"], 0);
    let off = tree.read("/etc/k8steps/cluster.toml") + "[addons.helm]\nenabled = false\n";
    tree.write("/etc/k8steps/cluster.toml", &off);
    let (planned, _) = tree.run(&["plan"], 3);
    assert!(planned.contains("remove /usr/local/bin/helm"), "{planned}");
    tree.run(&["apply"], 0);
    assert!(!tree.path("/usr/local/bin/helm").exists());
    assert_eq!(tree.read("/etc/bash_completion.d/helm.sh"), "somebody's");
    tree.run(&["plan"], 0);
}

#[test]
fn version_and_image_can_be_chosen() {
    let tree = tree(
        "[addons.coredns]\nversion = \"v1.12.1\"\n\
         [addons.metrics-server]\nimage = \"registry.example:5000/metrics:7\"\n",
    );
    let all = manifests(&tree, &[]);
    let image = |title: &str| all[title].pointer("/spec/template/spec/containers/0/image").cloned();
    assert_eq!(
        image("Deployment kube-system/coredns"),
        Some("registry.k8s.io/coredns/coredns:v1.12.1".into())
    );
    assert_eq!(
        image("Deployment kube-system/metrics-server"),
        Some("registry.example:5000/metrics:7".into())
    );
    tree.run(&["apply"], 0);
    let apps: Apps = serde_json::from_str(&tree.read(Apps::PATH)).unwrap();
    assert_eq!(apps.apps["metrics-server"].version, "registry.example:5000/metrics:7");

    self::tree("[download]\noffline = true\n[addons.coredns]\nversion = \"v1.12.1\"\n").refuses(
        &["plan"],
        2,
        "image-not-in-store",
        "give it an [[image]] section in artifacts.lock",
    );
    for (toml, code, hint) in [
        ("coredns.version = \"v 1\"", "addon-version-invalid", "addons.coredns.version: write"),
        ("coredns.image = \"dns:1\"", "addon-image-invalid", "addons.coredns.image: write"),
        ("helm.version = \"3\"", "input-invalid", "correct"),
        ("upstream-dns = [\"10.233.0.3\"]", "upstream-dns-loops", "addons.upstream-dns: name"),
    ] {
        self::tree(&format!("[addons]\n{toml}\n")).refuses(&["plan"], 2, code, hint);
    }
}

const OWN: &str = "/etc/k8steps/manifests";

#[test]
fn own_manifests_are_read_by_name_and_told_in_the_state() {
    let tree = tree("");
    let map = |name: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: web}}\n")
    };
    tree.write(&format!("{OWN}/20-b.yaml"), &map("b"));
    tree.write(&format!("{OWN}/10-a.yml"), &format!("# two\n---\n{}---\n{}", map("a"), map("c")));
    tree.write(&format!("{OWN}/README.md"), "not a manifest");
    tree.write(&format!("{OWN}/.b.yaml.swp.yaml"), "an editor's");
    tree.run(&["apply"], 0);
    let apps: Apps = serde_json::from_str(&tree.read(Apps::PATH)).unwrap();
    assert_eq!(apps.apps["manifests"].version, OWN);
    assert_eq!(
        apps.apps["manifests"].objects,
        ["ConfigMap web/a", "ConfigMap web/c", "ConfigMap web/b"]
    );
}

#[test]
fn an_own_manifest_that_is_none_is_refused_by_file_and_document() {
    let role = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";
    let dns =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: coredns, namespace: kube-system}\n";
    for (text, code, hint, place) in [
        ("a: [", "manifest-invalid", "correct it", "`/etc/k8steps/manifests/a.yaml`".to_owned()),
        ("kind: X\n", "manifest-invalid", "give each", "document 1, has no `apiVersion`".into()),
        (
            &format!("{role}---\napiVersion: v1\nkind: Pod\n"),
            "manifest-invalid",
            "give each document",
            "document 2, has no `metadata.name`".into(),
        ),
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: no}\n",
            "manifest-invalid",
            "give each document",
            "document 1, has no `metadata.namespace` that is text".into(),
        ),
        (&format!("{role}---\n{role}"), "manifest-twice", "keep one", "document 2".into()),
        (dns, "manifest-twice", "keep one of them", "the add-on `coredns`".into()),
    ] {
        let tree = tree("");
        tree.write(&format!("{OWN}/a.yaml"), text);
        tree.refuses(&["plan"], 2, code, hint);
        let (_, said) = tree.run(&["apply"], 2);
        assert!(said.contains(&place), "{said}");
    }
}

#[test]
fn images_are_those_of_the_lock_and_pulled_only_when_missing() {
    let mut used = BTreeSet::new();
    for (title, object) in manifests(&tree(""), &[]) {
        let containers = object.pointer("/spec/template/spec/containers");
        for container in containers.and_then(Value::as_array).into_iter().flatten() {
            used.insert(container["image"].as_str().unwrap().to_owned());
            assert_eq!(container["imagePullPolicy"], "IfNotPresent", "{title}");
        }
    }
    assert_eq!(used, IMAGES.map(|(_, reference)| reference.to_owned()).into());
}

#[test]
fn dns_has_the_address_that_kubelets_know() {
    let tree = tree("[network]\ncluster-dns = \"10.233.0.53\"\n");
    tree.leave(&ControlPlaneState {
        cluster_dns: [10, 233, 0, 53].into(),
        ..ktest::control_plane()
    });
    let all = manifests(&tree, &["coredns"]);
    assert_eq!(all["Service kube-system/coredns"]["spec"]["clusterIP"], "10.233.0.53");
    assert_eq!(
        all["Deployment kube-system/coredns"]["spec"]["template"]["spec"]["dnsPolicy"],
        "Default"
    );
    let replicas = |all: &BTreeMap<String, Value>| {
        all["Deployment kube-system/coredns"]["spec"].get("replicas").cloned()
    };
    assert_eq!(replicas(&all), None, "dns-autoscaler owns it");
    let alone = self::tree("[addons]\ndns-autoscaler.enabled = false\n");
    assert_eq!(replicas(&manifests(&alone, &["coredns"])), Some(1.into()));
}

#[test]
fn node_feature_discovery_gets_the_flags_of_its_version() {
    let tree = tree("");
    let args = |all: &BTreeMap<String, Value>, title: &str| {
        let container = all[title].pointer("/spec/template/spec/containers/0").unwrap();
        container["args"].to_string()
    };
    let (master, worker) = (
        "Deployment node-feature-discovery/node-feature-discovery-master",
        "DaemonSet node-feature-discovery/node-feature-discovery-worker",
    );
    let old = manifests(&tree, &["node-feature-discovery"]);
    assert_eq!(args(&old, master), r#"["-port=8080","-crd-controller=true","-metrics=8081"]"#);
    assert_eq!(
        args(&old, worker),
        r#"["-server=node-feature-discovery-master:8080","-metrics=8081"]"#
    );
    let service = "Service node-feature-discovery/node-feature-discovery-master";
    assert!(old.contains_key(service));

    let mut artifacts = artifacts(&tree);
    let image = artifacts.images.get_mut("node-feature-discovery").unwrap();
    image.reference = image.reference.replace("v0.16.4", "v0.17.3");
    tree.leave(&artifacts);
    let new = manifests(&tree, &["node-feature-discovery"]);
    assert_eq!(args(&new, master), r#"["-metrics=8081"]"#);
    assert_eq!(args(&new, worker), r#"["-metrics=8081"]"#);
    assert!(!new.contains_key(service));
}

#[test]
fn the_programs_run_as_kubespray_runs_them() {
    let all = manifests(&tree(""), &[]);
    let container =
        |title: &str| all[title].pointer("/spec/template/spec/containers/0").unwrap().clone();
    let coredns = container("Deployment kube-system/coredns");
    assert_eq!(coredns["args"], json!(["-conf", "/etc/coredns/Corefile"]));
    assert_eq!(
        coredns["resources"],
        json!({ "limits": { "memory": "300Mi" }, "requests": { "cpu": "100m", "memory": "70Mi" } })
    );
    assert_eq!(
        container("Deployment kube-system/dns-autoscaler")["command"][2],
        "--default-params={\"linear\":{\"preventSinglePointFailure\":false,\
         \"coresPerReplica\":256,\"nodesPerReplica\":16,\"min\":1}}"
    );
    assert_eq!(
        container("Deployment kube-system/metrics-server")["args"],
        json!([
            "--cert-dir=/tmp",
            "--secure-port=10250",
            "--kubelet-preferred-address-types=InternalIP,ExternalIP,Hostname",
            "--kubelet-use-node-status-port",
            "--metric-resolution=15s",
        ])
    );
    let trusting = tree("[kubelet]\nrotate-server-certificates = false\n");
    let trusting =
        &manifests(&trusting, &["metrics-server"])["Deployment kube-system/metrics-server"];
    let args = trusting.pointer("/spec/template/spec/containers/0/args").unwrap();
    assert_eq!(args[4], "--kubelet-insecure-tls=true", "kubespray's choice");
    let worker = "DaemonSet node-feature-discovery/node-feature-discovery-worker";
    let paths: Vec<_> = all[worker]
        .pointer("/spec/template/spec/volumes")
        .and_then(Value::as_array)
        .unwrap()
        .iter()
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .collect();
    assert_eq!(
        paths.join(" "),
        "/boot /etc/os-release /sys /usr/lib /lib \
         /etc/kubernetes/node-feature-discovery/source.d/ \
         /etc/kubernetes/node-feature-discovery/features.d/"
    );
    assert_eq!(all["PriorityClass k8s-cluster-critical"]["value"], 1_000_000_000);
    assert_eq!(all["APIService v1beta1.metrics.k8s.io"]["spec"]["groupPriorityMinimum"], 100);
}

#[test]
fn manifests_are_the_same_every_time() {
    let tree = tree("");
    let print = || tree.run(&["manifests"], 0).0;
    let before = tree.listing();
    assert_eq!(print(), print());
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_missing_input_is_named_with_the_command_that_makes_it() {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kapps"), "");
    tree.refuses(&["apply"], 2, "input-missing", "run `kfetch apply`");
    tree.leave(&artifacts(&tree));
    tree.refuses(&["apply"], 2, "input-missing", "run `kcp apply`");
    tree.leave(&ktest::control_plane());
    tree.refuses(&["apply"], 2, "input-missing", "run `kcni apply`");
    manifests(&tree, &[]); // printing needs no network
}

#[test]
fn an_artifact_the_lock_does_not_name_is_named() {
    for (name, _) in IMAGES {
        let tree = tree("");
        let mut artifacts = artifacts(&tree);
        artifacts.images.remove(name);
        tree.leave(&artifacts);
        tree.refuses(&["apply"], 2, "artifact-missing", "name it in artifacts.lock");
    }
    let tree = tree("");
    tree.leave(&Artifacts { files: BTreeMap::new(), ..artifacts(&tree) });
    tree.refuses(&["plan"], 2, "artifact-missing", "name it in artifacts.lock");
}

#[test]
fn a_dns_server_that_is_no_address_is_refused() {
    let tree = tree("[addons]\nupstream-dns = [\"dns.example\"]\n");
    tree.refuses(&["apply"], 2, "upstream-dns-invalid", "addons.upstream-dns: write addresses");
}

#[test]
fn help() {
    let help = Tree::new(env!("CARGO_BIN_EXE_kapps")).help();
    insta::assert_snapshot!(help.split("\nShared options:").next().unwrap(), @r"
    Install what runs on top of the cluster

    CoreDNS, dns-autoscaler, metrics-server, Node Feature Discovery and helm, each
    switched on or off in [addons] of cluster.toml, and the roles and priority class
    that they and the nodes rely on; then your own manifests, those of
    addons.manifests-dir. What is switched off or taken out is deleted. Waits until
    all of it works.

    Reads cluster.toml, artifacts.json, control-plane.json and cni.json; leaves
    apps.json.

    Example: show what would be applied to the cluster for CoreDNS, then do it all

        kapps manifests coredns
        kapps apply

    Usage: kapps [OPTIONS] <COMMAND>

    Commands:
      plan       Show what apply would change; exits 3 when there is something
      apply      Make it so; a second run changes nothing
      check      Is it still so, and does it work? Exits 3 when it drifted, 1 when
                 it does not work
      reset      Put back exactly what apply changed
      manifests  Print the manifests as YAML, for `kubectl apply -f -`
      approve    Approve the certificates that kubelets ask for, as its timer does
      help       Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version
    ");
}

#[test]
fn a_worker_has_nothing_to_install() {
    let tree = Tree::with_cluster(
        env!("CARGO_BIN_EXE_kapps"),
        "[[node]]\nname = \"w\"\naddress = \"192.0.2.19\"\nroles = [\"worker\"]\n",
    );
    let (_, said) = tree.run(&["apply", "--node", "w"], 0);
    assert!(said.contains("node w is a worker") && said.contains("nothing to do"), "{said}");
}

#[test]
fn two_at_once_do_not_tear_its_work() {
    tree("").is_alone_with_its_phase();
}

#[test]
fn faults_at_any_system_call_lose_nothing() {
    tree("").survives_faults("kapps");
}

#[test]
fn ten_thousand_manifests_of_ones_own() {
    let tree = tree("");
    for number in 0..10_000 {
        let name = format!("m{number}");
        let config = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name },
            "data": { "key": "a value", "other": name } });
        tree.write(&format!("/etc/k8steps/manifests/{name}.json"), &config.to_string());
    }
    tree.run_in_little_memory(&["plan"], 3);
    tree.write("/etc/k8steps/manifests/z.json", &tree.read("/etc/k8steps/manifests/m9999.json"));
    let hint = "keep one of them; an add-on is switched off in [addons] of cluster.toml";
    let (_, said) = tree.run(&["plan"], 2);
    assert!(said.contains("error[manifest-twice]") && said.contains(hint), "{said}");
}
