//! kcni as a command, on a tree.

use std::os::unix::fs::PermissionsExt as _;

use kspec::state::{Artifacts, Cni, ControlPlaneState, State as _};
use ktest::Tree;
use serde_json::Value;

const PLUGINS: [&str; 3] = ["bridge", "host-local", "portmap"];

/// A tree in which everything kcni reads is there.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kcni"), extra);
    tree.leave(&artifacts(&tree));
    tree.leave(&ktest::control_plane());
    tree
}

fn artifacts(tree: &Tree) -> Artifacts {
    let programs = [&PLUGINS[..], &["LICENSE"]].concat();
    let flannel = ktest::image("flannel", "docker.io/flannel/flannel:v0.27.3");
    let layer = &[("./flannel", "the flannel")][..];
    let reference = "docker.io/flannel/flannel-cni-plugin:v1.7.1-flannel1";
    let images = [flannel, tree.store_image("flannel-cni-plugin", reference, &[layer])];
    ktest::artifacts([tree.store("cni-plugins", "1.8.0", &programs)], images)
}

#[test]
fn other_nodes_are_no_work() {
    tree("").has_no_more_to_do_among_500_nodes(&[]);
}

#[test]
fn plan_apply_again_check_and_reset() {
    let tree = tree("");
    let planned = tree.lives_through_its_phase(|| {
        for name in PLUGINS.iter().chain(&["flannel"]) {
            assert_eq!(tree.read(&format!("/opt/cni/bin/{name}")), format!("the {name}"));
            let program = tree.path(&format!("/opt/cni/bin/{name}")).metadata().unwrap();
            assert_eq!(program.permissions().mode() & 0o7777, 0o755, "{name}");
        }
        let at_boot = tree.read("/etc/tmpfiles.d/k8steps-flannel.conf");
        assert!(at_boot.ends_with("\nr! /etc/cni/net.d/10-flannel.conflist\n"), "{at_boot}");
    });
    let planned = planned.join("\n");
    assert!(planned.contains("/opt/cni/bin/portmap"), "{planned}");
    assert!(!planned.contains("LICENSE"), "{planned}");
}

#[test]
fn the_state_says_what_flanneld_wrote() {
    let tree = tree("");
    tree.write(
        "/run/flannel/subnet.env",
        "FLANNEL_NETWORK=10.233.64.0/18\nFLANNEL_SUBNET=10.233.64.1/24\nFLANNEL_MTU=1450\n",
    );
    tree.run(&["apply"], 0);
    let cni: Cni = serde_json::from_str(&tree.read(Cni::PATH)).unwrap();
    assert_eq!((cni.subnet.as_str(), cni.mtu), ("10.233.64.1/24", 1450));
    assert_eq!((cni.plugin.as_str(), cni.version.as_str()), ("flannel", "v0.27.3"));
    tree.run(&["plan"], 0);
}

#[test]
fn events_of_several_runs_are_kept_beside_what_people_are_told() {
    let tree = tree("");
    tree.write("/events", "");
    let file = tree.path("/events").display().to_string();
    let (_, said) = tree.run(&["apply", "--events", &file], 0);
    assert!(said.contains("changed") && !said.contains('{'), "{said}");
    let (told, _) = tree.run(&["check", "--json", "--events", &file], 0);

    let kept = tree.read("/events");
    let events: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("started", "ended"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "started").count(), 2);
    let at: Vec<_> = events.iter().map(|event| event["at"].as_f64().unwrap()).collect();
    assert!(at.is_sorted() && at[0] > 0.0, "{at:?}");
    let read = events.iter().find(|event| event["event"] == "read").unwrap();
    assert_eq!(read["made_by"], "kfetch apply");
    let ended = events.last().unwrap();
    assert_eq!(ended["code"], 0);
    assert!(ended["peak_kib"].as_u64().unwrap() > 1000, "{ended}");
    for line in told.lines() {
        assert!(kept.contains(line), "{line} is not in the file");
    }

    let nowhere = tree.path("/no/such/directory").display().to_string();
    tree.refuses(
        &["apply", "--events", &nowhere],
        2,
        "events-unwritable",
        "name a file in a directory",
    );
}

#[test]
fn a_program_that_was_changed_by_hand_is_found_and_mended() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    tree.write("/opt/cni/bin/bridge", "something else");
    tree.run(&["check"], 3);
    tree.run(&["apply"], 0);
    assert_eq!(tree.read("/opt/cni/bin/bridge"), "the bridge");
}

#[test]
fn manifests_are_for_kubectl_and_write_nothing() {
    let tree = tree("[network.flannel]\nport = 4789\n");
    let before = tree.listing();
    let (yaml, _) = tree.run(&["manifests"], 0);
    let objects = kspec::from_yaml_documents(&yaml).unwrap();
    assert_eq!(objects.len(), 5);
    for object in &objects {
        assert!(object["apiVersion"].is_string() && object["metadata"]["name"].is_string());
    }
    let config = objects.iter().find(|object| object["kind"] == "ConfigMap").unwrap();
    assert!(config["data"]["net-conf.json"].as_str().unwrap().contains("\"Port\": 4789"));
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_missing_input_is_named_with_the_command_that_makes_it() {
    let tree = Tree::with_cluster(env!("CARGO_BIN_EXE_kcni"), "");
    tree.refuses(&["apply"], 2, "input-missing", "run `kfetch apply`");
    tree.leave(&artifacts(&tree));
    tree.refuses(&["apply"], 2, "input-missing", "run `kcp apply`");
    tree.refuses(&["manifests"], 2, "input-missing", "run `kcp apply`");
}

#[test]
fn an_artifact_the_lock_does_not_name_is_named() {
    let tree = tree("");
    let mut artifacts = artifacts(&tree);
    artifacts.images.remove("flannel-cni-plugin");
    tree.leave(&artifacts);
    tree.refuses(&["apply"], 2, "artifact-missing", "name it in artifacts.lock");
    artifacts.files.clear();
    tree.leave(&artifacts);
    tree.refuses(&["plan"], 2, "artifact-missing", "name it in artifacts.lock");
}

#[test]
fn an_endpoint_without_a_port_is_refused() {
    let tree = tree("");
    tree.leave(&ControlPlaneState {
        endpoint: "https://api.example".into(),
        ..ktest::control_plane()
    });
    tree.refuses(&["apply"], 2, "input-invalid", "run `kcp apply`");
}

#[test]
fn what_flannel_cannot_do_is_refused() {
    tree("[network]\npod-cidr = \"fd85::/112\"\nnode-prefix = 120\n").refuses(
        &["apply"],
        2,
        "pod-cidr-ipv6",
        "set `network.pod-cidr`",
    );
    tree("[network.flannel]\ninterface = \"eth0 --public-ip=1.2.3.4\"\n").refuses(
        &["apply"],
        2,
        "interface-invalid",
        "set `network.flannel.interface`",
    );
    for (toml, code, remedy) in [
        (
            "vni = 10000000\n",
            "flannel-vni-invalid",
            "network.flannel.vni: choose a number from 1 to 9999999",
        ),
        ("mtu = 100\n", "flannel-mtu-invalid", "network.flannel.mtu: choose a size from 626"),
        (
            "mtu = 1400\nbackend = \"host-gw\"\n",
            "flannel-needs-vxlan",
            "network.flannel.mtu: take mtu out",
        ),
        (
            "interface = \"a\"\ninterface-regex = \"b\"\n",
            "flannel-interface-twice",
            "network.flannel.interface-regex: keep one",
        ),
    ] {
        tree(&format!("[network.flannel]\n{toml}")).refuses(&["plan"], 2, code, remedy);
    }
    let overlap = tree("[network]\npod-cidr = \"10.233.0.0/16\"\n");
    overlap.refuses(&["plan"], 2, "networks-overlap", "network.pod-cidr: give them networks");
}

#[test]
fn help() {
    let help = Tree::new(env!("CARGO_BIN_EXE_kcni")).help();
    insta::assert_snapshot!(help.split("\nShared options:").next().unwrap(), @r"
    Give this node a pod network

    Installs the CNI programs, runs flannel on every node of the cluster as a
    DaemonSet, and waits until flannel has given this node its share of the pod
    network and the node is Ready. A worker waits for what a control plane applied.

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

#[test]
fn a_worker_waits_for_what_a_control_plane_applied() {
    let tree = tree("");
    let config = tree.read("/etc/k8steps/cluster.toml");
    let worker = "\n[[node]]\nname = \"w\"\naddress = \"192.0.2.19\"\nroles = [\"worker\"]\n";
    tree.write("/etc/k8steps/cluster.toml", &(config + worker));
    let skipped = |node: &str| tree.run(&["plan", "-v", "--node", node], 3).1;
    assert!(skipped("node1").contains("manifest:flannel"), "{}", skipped("node1"));
    assert!(!skipped("w").contains("manifest:flannel"), "{}", skipped("w"));
    assert!(skipped("w").contains("wait:node-ready"), "{}", skipped("w"));
}

#[test]
fn two_at_once_do_not_tear_its_work() {
    tree("").is_alone_with_its_phase();
}

#[test]
fn faults_at_any_system_call_lose_nothing() {
    tree("").survives_faults("kcni");
}

#[test]
fn that_nobody_can_be_told_stops_nothing() {
    let tree = tree("");
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = tree.tool_with_streams().args(["apply", "-vv"]).stderr(full).status().unwrap();
    assert!(status.success(), "{status}");
    tree.run(&["plan"], 0);
}
