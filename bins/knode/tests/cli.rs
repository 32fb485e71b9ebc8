//! knode as its user meets it, on a tree and as an ordinary user.

use std::collections::BTreeMap;

use kspec::{
    Arch, Sha256,
    state::{Artifacts, Facts, NodeState, State as _},
};
use ktest::Tree;

const KNODE: &str = env!("CARGO_BIN_EXE_knode");
const UNIT: &str = "/etc/systemd/system/containerd.service";
const PROGRAMS: [(&str, &[&str]); 5] = [
    ("runc", &["runc.amd64"]),
    ("containerd", &["containerd", "containerd-shim-runc-v2", "ctr"]),
    ("crictl", &["crictl"]),
    ("nerdctl", &["nerdctl"]),
    ("kubelet", &["kubelet"]),
];

/// What kfetch leaves, with the programs in the store of `tree`.
fn artifacts(tree: &Tree) -> Artifacts {
    let files = PROGRAMS.map(|(name, members)| tree.store(name, "1.2.3", members));
    ktest::artifacts(files, [ktest::image("pause", "registry.k8s.io/pause:3.10")])
}

/// A tree with everything the earlier phases leave.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KNODE, extra);
    tree.leave(&ktest::facts());
    tree.leave(&artifacts(&tree));
    tree
}

#[test]
fn plan_apply_again_check_and_back() {
    let tree = tree("");
    tree.lives_through_its_phase(|| {
        let applied = tree.listing();
        for line in [
            "usr/local/bin/runc 100755",
            "usr/local/bin/containerd-shim-runc-v2 100755",
            "usr/local/bin/kubelet 100755",
            "etc/containerd/config.toml 100640",
            "etc/containerd/certs.d/docker.io/hosts.toml 100640",
            "etc/containerd/cri-base.json 100644",
            "etc/crictl.yaml 100644",
            "etc/nerdctl/nerdctl.toml 100644",
            "etc/systemd/system/containerd.service 100644",
            "etc/systemd/system/kubelet.service 100600",
            "etc/kubernetes/kubelet.env 100600",
            "etc/kubernetes/kubelet-config.yaml 100600",
            "var/lib/cni 40755",
        ] {
            assert!(applied.contains(line), "{line} not in\n{applied}");
        }
        assert_eq!(tree.read("/usr/local/bin/runc"), "the runc.amd64");
        tree.write("/var/lib/cni/networks/cbr0/10.233.64.2", "a pod's address");
    });
}

#[test]
fn the_later_phases_learn_what_runs_here() {
    let tree = tree("[containerd]\nnofile = 30000");
    tree.run(&["apply"], 0);
    let state: NodeState = serde_json::from_str(&tree.read(NodeState::PATH)).unwrap();
    assert_eq!(state.cri_socket, "unix:///var/run/containerd/containerd.sock");
    assert_eq!((state.nofile, state.cgroup_driver.as_str()), (30000, "systemd"));
    assert_eq!(state.images["registry.k8s.io/pause:3.10"], Sha256::of("pause"));
}

#[test]
fn a_machine_that_withholds_things_gets_what_it_can_have() {
    let tree = tree("");
    let mut facts: Facts = ktest::facts();
    facts.capabilities.sys_resource = false;
    facts.limits.nofile = Some(20000);
    tree.leave(&facts);
    tree.run(&["apply"], 0);
    assert!(tree.read(UNIT).contains("LimitNOFILE=20000\n"));
    assert!(!tree.read(UNIT).contains("OOMScoreAdjust"));
    assert!(tree.read("/etc/containerd/config.toml").contains("restrict_oom_score_adj = true\n"));
    assert!(tree.read("/etc/containerd/cri-base.json").contains("\"hard\": 20000"));
    assert!(tree.read("/etc/kubernetes/kubelet-config.yaml").contains("oomScoreAdj: 0\n"));
}

#[test]
fn drift_is_shown_and_mended() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let applied = tree.listing();
    tree.write(UNIT, &tree.read(UNIT).replace("KillMode=process\n", ""));
    tree.write("/usr/local/bin/ctr", "another ctr");
    let (shown, _) = tree.run(&["check"], 3);
    assert!(shown.contains("+KillMode=process"), "{shown}");
    assert!(shown.contains("! replace /usr/local/bin/ctr"), "{shown}");
    tree.run(&["apply"], 0);
    assert_eq!(tree.listing(), applied);
}

#[test]
fn images_are_listed_for_people_and_programs() {
    let tree = tree("");
    let (text, _) = tree.run(&["images"], 0);
    let short = Sha256::of("pause").short();
    assert_eq!(text, format!("missing {short}  registry.k8s.io/pause:3.10\n"));
    let (json, _) = tree.run(&["images", "--json"], 0);
    let image: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(image["ref"], "registry.k8s.io/pause:3.10");
    assert_eq!(image["state"], "missing");
}

#[test]
fn missing_inputs_name_the_command_that_makes_them() {
    let tree = Tree::new(KNODE);
    tree.refuses_phase(2, "input-missing", "run `kprep init`");
    let tree = Tree::with_cluster(KNODE, "");
    tree.refuses_phase(2, "input-missing", "run `kprep apply`");
    tree.leave(&ktest::facts());
    tree.refuses_phase(2, "input-missing", "run `kfetch apply`");
    tree.write(Artifacts::PATH, "{}");
    tree.refuses_phase(2, "input-invalid", "run `kfetch apply`");

    let whole = artifacts(&tree);
    for (name, _) in PROGRAMS {
        let mut artifacts = whole.clone();
        artifacts.files.remove(name);
        tree.leave(&artifacts);
        tree.refuses_phase(2, "artifact-missing", "name it in artifacts.lock");
    }
    let none = BTreeMap::new();
    tree.leave(&Artifacts { images: none, ..whole.clone() });
    tree.refuses_phase(2, "artifact-missing", "name it in artifacts.lock");
    tree.leave(&Artifacts { arch: Arch::Arm64, ..whole });
    tree.refuses_phase(2, "arch-mismatch", "run `kfetch apply` on this machine");
}

#[test]
fn a_registry_that_is_a_path_is_refused() {
    let tree = tree("[[containerd.registry]]\nprefix = \"../../etc\"\n");
    tree.refuses_phase(2, "registry-prefix-invalid", "write it as image references do");
}

#[test]
fn a_damaged_program_is_never_installed() {
    let tree = tree("");
    let stored = artifacts(&tree).files["runc"].members["runc.amd64"].path.clone();
    tree.write(&stored, "not what kfetch fetched");
    let before = tree.listing();
    let (_, stderr) = tree.run(&["apply"], 1);
    assert!(stderr.contains("error[digest-mismatch]"), "{stderr}");
    assert!(stderr.contains("hint: run `kfetch apply`"), "{stderr}");
    let made = |line: &&str| !before.contains(*line);
    let listing = tree.listing();
    let made: Vec<_> = listing.lines().filter(made).filter(|line| !line.contains(" 40")).collect();
    assert!(made.is_empty(), "half-written: {made:?}");

    tree.run(&["reset", "--yes"], 0);
    assert_eq!(tree.listing(), before);
}

#[test]
fn help_tells_what_it_is_for() {
    insta::assert_snapshot!(Tree::new(KNODE).help(), @"
    Run containers and the kubelet on this node

    Installs runc, containerd, crictl, nerdctl and the kubelet, configures them for
    what this machine allows, starts containerd, imports the images of the store
    into it, and prepares the kubelet: its unit is enabled but waits until kcp has
    made the node part of a cluster.

    Reads cluster.toml, facts.json and artifacts.json; leaves node.json.

    Example: show what would change, do it, and see which images pods will find here

        knode plan
        knode apply
        knode images

    Usage: knode [OPTIONS] <COMMAND>

    Commands:
      plan    Show what apply would change; exits 3 when there is something
      apply   Make it so; a second run changes nothing
      check   Is it still so, and does it work? Exits 3 when it drifted, 1 when it
              does not work
      reset   Put back exactly what apply changed
      images  List the images pods will find here, and whether containerd has them
      help    Print this message or the help of the given subcommand(s)

    Options:
      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Shared options:
          --config <FILE>
              Cluster description
              
              [env: K8STEPS_CONFIG=]

          --node <NAME>
              Which [[node]] of the description this machine is; without it, told by
              name or address
              
              [env: K8STEPS_NODE=]

          --root <DIR>
              Act on the tree DIR instead of on this machine; only files are made
              there

          --json
              One JSON event a line on standard output

      -v, --verbose...
              Say more; twice, also the programs that are run

      -q, --quiet
              Say nothing but errors

          --timeout <SECONDS>
              Longest time to wait for any one thing

    Exit codes: 0 done, 1 the host or cluster failed, 2 bad input or usage, 3
    differs
    Files:      /etc/k8steps/cluster.toml, /var/lib/k8steps; see docs/contract.md
    ");
}
