//! kcni as a command, on a tree.

use std::collections::BTreeMap;

use kspec::{
    Arch, Sha256,
    state::{Artifacts, Cni, ControlPlaneState, FileArtifact, ImageArtifact, Member, State as _},
};
use ktest::Tree;

const PLUGINS: [&str; 3] = ["bridge", "host-local", "portmap"];

/// A tree in which everything kcni reads is there.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kcni"), extra);
    tree.leave(&artifacts(&tree));
    tree.leave(&control_plane());
    tree.write("/run/utmp", ""); // every machine has a /run
    tree
}

fn artifacts(tree: &Tree) -> Artifacts {
    let mut members = BTreeMap::new();
    for name in PLUGINS.into_iter().chain(["LICENSE"]) {
        let path = format!("/var/lib/k8steps/store/unpacked/cni-plugins/{name}");
        tree.write(&path, name);
        members.insert(name.to_owned(), Member { path, sha256: Sha256::of(name) });
    }
    let file = FileArtifact { version: "1.8.0".into(), members };
    let image = |name: &str| {
        let reference = format!("docker.io/flannel/{name}:v0.27.3");
        (name.to_owned(), ImageArtifact { reference, digest: Sha256::of(name) })
    };
    Artifacts {
        schema: 1,
        arch: Arch::Amd64,
        files: [("cni-plugins".to_owned(), file)].into(),
        images: [image("flannel"), image("flannel-cni-plugin")].into(),
    }
}

fn control_plane() -> ControlPlaneState {
    ControlPlaneState {
        schema: 1,
        version: "1.33.3".into(),
        local_endpoint: "https://127.0.0.1:6443".into(),
        endpoint: "https://192.0.2.11:6443".into(),
        kubeconfig: "/etc/kubernetes/admin.conf".into(),
        ca_sha256: Sha256::of("ca"),
        cluster_dns: [10, 233, 0, 3].into(),
    }
}

#[test]
fn plan_apply_again_check_and_reset() {
    let tree = tree("");
    let before = tree.listing();
    let plan = tree.tool().arg("plan").assert().code(3);
    let said = String::from_utf8_lossy(&plan.get_output().stderr).into_owned()
        + &String::from_utf8_lossy(&plan.get_output().stdout);
    assert!(said.contains("/opt/cni/bin/portmap"), "{said}");
    assert!(!said.contains("LICENSE"), "{said}");
    assert_eq!(tree.listing(), before, "a plan writes nothing");

    tree.tool().arg("apply").assert().code(0);
    for name in PLUGINS {
        assert_eq!(tree.read(&format!("/opt/cni/bin/{name}")), name);
    }
    let applied = tree.listing();
    let again = tree.tool().arg("apply").assert().code(0);
    let said = String::from_utf8_lossy(&again.get_output().stderr).into_owned()
        + &String::from_utf8_lossy(&again.get_output().stdout);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(tree.listing(), applied);
    tree.tool().arg("check").assert().code(0);
    tree.tool().arg("plan").assert().code(0);

    tree.tool().args(["reset", "--yes"]).assert().code(0);
    assert_eq!(tree.listing(), before);
}

#[test]
fn the_state_says_what_flanneld_wrote() {
    let tree = tree("");
    tree.write(
        "/run/flannel/subnet.env",
        "FLANNEL_NETWORK=10.233.64.0/18\nFLANNEL_SUBNET=10.233.64.1/24\nFLANNEL_MTU=1450\n",
    );
    tree.tool().arg("apply").assert().code(0);
    let cni: Cni = serde_json::from_str(&tree.read(Cni::PATH)).unwrap();
    assert_eq!((cni.subnet.as_str(), cni.mtu), ("10.233.64.1/24", 1450));
    assert_eq!((cni.plugin.as_str(), cni.version.as_str()), ("flannel", "v0.27.3"));
    tree.tool().arg("plan").assert().code(0);
}

#[test]
fn a_program_that_was_changed_by_hand_is_found_and_mended() {
    let tree = tree("");
    tree.tool().arg("apply").assert().code(0);
    tree.write("/opt/cni/bin/bridge", "something else");
    tree.tool().arg("check").assert().code(3);
    tree.tool().arg("apply").assert().code(0);
    assert_eq!(tree.read("/opt/cni/bin/bridge"), "bridge");
}

#[test]
fn manifests_are_for_kubectl_and_write_nothing() {
    let tree = tree("[network.flannel]\nport = 4789\n");
    let before = tree.listing();
    let output = tree.tool().arg("manifests").assert().code(0).get_output().clone();
    let objects = kspec::from_yaml_documents(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert_eq!(objects.len(), 5);
    for object in &objects {
        assert!(object["apiVersion"].is_string() && object["metadata"]["name"].is_string());
    }
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    assert!(config["data"]["net-conf.json"].as_str().unwrap().contains("\"Port\": 4789"));
    assert_eq!(tree.listing(), before);
}

/// The tool refuses with this code and hint, and leaves the tree as it was.
fn refused(tree: &Tree, verb: &str, code: &str, hint: &str) {
    let before = tree.listing();
    let assert = tree.tool().arg(verb).assert().code(2);
    let said = String::from_utf8_lossy(&assert.get_output().stderr).into_owned();
    assert!(said.contains(&format!("error[{code}]")), "{said}");
    assert!(said.lines().any(|line| line.starts_with("hint: ") && line.contains(hint)), "{said}");
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_missing_input_is_named_with_the_command_that_makes_it() {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kcni"), "");
    refused(&tree, "apply", "input-missing", "kfetch apply");
    tree.leave(&artifacts(&tree));
    refused(&tree, "apply", "input-missing", "kcp apply");
    refused(&tree, "manifests", "input-missing", "kcp apply");
}

#[test]
fn an_artifact_the_lock_does_not_name_is_named() {
    let tree = tree("");
    let mut artifacts = artifacts(&tree);
    artifacts.images.remove("flannel-cni-plugin");
    tree.leave(&artifacts);
    refused(&tree, "apply", "artifact-missing", "artifacts.lock");
    artifacts.files.clear();
    tree.leave(&artifacts);
    refused(&tree, "plan", "artifact-missing", "artifacts.lock");
}

#[test]
fn an_endpoint_without_a_port_is_refused() {
    let tree = tree("");
    tree.leave(&ControlPlaneState { endpoint: "https://api.example".into(), ..control_plane() });
    refused(&tree, "apply", "input-invalid", "kcp apply");
}

#[test]
fn what_flannel_cannot_do_is_refused() {
    refused(
        &tree("[network]\npod-cidr = \"fd85::/112\"\nnode-prefix = 120\n"),
        "apply",
        "pod-cidr-ipv6",
        "network.pod-cidr",
    );
    refused(
        &tree("[network.flannel]\ninterface = \"eth0 --public-ip=1.2.3.4\"\n"),
        "apply",
        "interface-invalid",
        "network.flannel.interface",
    );
}

#[test]
fn help() {
    let tree = Tree::new(env!("CARGO_BIN_EXE_kcni"));
    let output = tree.bare().arg("--help").assert().code(0).get_output().clone();
    let help = String::from_utf8(output.stdout).unwrap();
    insta::assert_snapshot!(help.split("\nShared options:").next().unwrap(), @r"
Give this node a pod network

Installs the CNI programs, runs flannel on every node of the cluster as a
DaemonSet, and waits until flannel has given this node its share of the pod
network and the node is Ready.

Reads cluster.toml, artifacts.json and control-plane.json; leaves cni.json.

Example: show what would be applied to the cluster, then do it

    kcni manifests
    kcni apply

Usage: kcni [OPTIONS] <COMMAND>

Commands:
  plan       Show what apply would change; exits 3 when there is something
  apply      Make it so; a second run changes nothing
  check      Is it still so, and does it work? Exits 3 when it drifted, 1 when
             it does not work
  reset      Put back exactly what apply changed
  manifests  Print flannel's manifests as YAML, for `kubectl apply -f -`
  help       Print this message or the help of the given subcommand(s)

Options:
  -h, --help
          Print help (see a summary with '-h')

  -V, --version
          Print version
");
}
