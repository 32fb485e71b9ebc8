//! knode as its user meets it, on a tree and as an ordinary user.

use std::collections::BTreeMap;

use kspec::{
    Arch, Sha256,
    paths::JOIN_DOCUMENT,
    state::{Artifacts, Facts, NodeState, State as _},
};
use ktest::Tree;

const KNODE: &str = env!("CARGO_BIN_EXE_knode");
const UNIT: &str = "/etc/systemd/system/containerd.service";
const PROGRAMS: [(&str, &[&str]); 6] = [
    ("runc", &["runc.amd64"]),
    ("containerd", &["containerd", "containerd-shim-runc-v2", "ctr"]),
    ("crictl", &["crictl"]),
    ("nerdctl", &["nerdctl"]),
    ("kubelet", &["kubelet"]),
    ("kubeadm", &["kubeadm"]),
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

/// Another `cluster.toml` for the same machine.
fn describe(tree: &Tree, extra: &str) {
    let fresh = Tree::with_cluster(KNODE, extra);
    tree.write("/etc/k8steps/cluster.toml", &fresh.read("/etc/k8steps/cluster.toml"));
}

#[test]
fn other_nodes_are_no_work() {
    tree("").has_no_more_to_do_among_500_nodes(&[]);
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
            "etc/bash_completion.d/crictl 100644",
            "etc/bash_completion.d/nerdctl 100644",
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
fn a_milestone_is_the_beginning_of_the_same_list() {
    let tree = tree("");
    tree.run(&["apply", "--until", "runtime"], 0);
    let begun = tree.listing();
    assert!(begun.contains("var/lib/k8steps/node.json"), "{begun}");
    assert!(!begun.contains("kubelet.service"), "{begun}");
    tree.run(&["plan", "--until", "runtime"], 0);
    let (planned, _) = tree.run(&["plan"], 3);
    assert!(planned.contains("kubelet.service"), "{planned}");
    let (_, said) = tree.run(&["apply", "--until", "begin"], 2);
    assert!(said.contains("choose one of: runtime, kubelet"), "{said}");
    tree.run(&["apply"], 0);
    tree.run(&["plan"], 0);
}

#[test]
fn a_kubelet_finds_all_images_where_its_node_joins_and_those_of_init_where_it_makes_the_cluster() {
    let tree = tree("[[node]]\nname = \"node0\"\naddress = \"192.0.2.10\"\nroles = [\"worker\"]\n");
    let images = |node: &str, until: &[&str]| {
        let steps = tree.order(&[&["--node", node], until].concat()).into_iter();
        steps.filter(|step| step.starts_with("images")).collect::<Vec<_>>()
    };
    let before_the_kubelet = |node: &str| images(node, &["--until", "kubelet"]);
    assert_eq!(images("node1", &[]), ["images:init", "images"]);
    assert_eq!(before_the_kubelet("node1"), ["images:init"]);
    assert_eq!([before_the_kubelet("node0"), images("node0", &[])], [["images"], ["images"]]);
    tree.write(JOIN_DOCUMENT, "{}"); // the first control plane is being replaced
    assert_eq!([before_the_kubelet("node1"), images("node1", &[])], [["images"], ["images"]]);
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
fn a_date_and_a_number_that_is_none_are_no_settings() {
    let tree = tree("[containerd.extra.plugins.x]\nshare = nan\n");
    let hint = "containerd.extra.plugins.x.share: write a number";
    tree.refuses_phase(2, "extra-invalid", hint);
    let tree = self::tree("[kubelet.extra]\nsince = 2026-01-31\n");
    let hint = "kubelet.extra.since: write it as text: \"2026-01-31\"";
    tree.refuses_phase(2, "extra-invalid", hint);
}

#[test]
fn a_registry_that_is_a_path_is_refused() {
    let tree = tree("[[containerd.registry]]\nprefix = \"../../etc\"\n");
    let hint = "containerd.registry.prefix: write it as image references do";
    tree.refuses_phase(2, "registry-prefix-invalid", hint);
}

#[test]
fn a_registry_taken_out_of_the_description_is_forgotten_and_others_are_not() {
    let tree = tree("[[containerd.registry]]\nprefix = \"old.example\"\n");
    tree.run(&["apply"], 0);
    let others = "/etc/containerd/certs.d/others.example/hosts.toml";
    tree.write(others, "server = \"https://others.example\"\n");
    let ours = "/etc/containerd/certs.d/old.example/hosts.toml";
    assert!(tree.path(ours).exists());

    describe(&tree, "[[containerd.registry]]\nprefix = \"new.example\"\n");
    let (shown, _) = tree.run(&["plan"], 3);
    assert!(shown.contains(&format!("~ remove {ours}")), "{shown}");
    tree.run(&["apply"], 0);
    assert!(!tree.path(ours).exists() && tree.path(others).exists());
    tree.run(&["plan"], 0);
}

#[test]
fn a_registrys_authority_must_be_there() {
    let host = "host = [{ url = \"https://m.example\", ca = \"/etc/ca.pem\" }]\n";
    let tree = tree(&format!("[[containerd.registry]]\nprefix = \"r.example\"\n{host}"));
    tree.refuses_phase(2, "registry-ca-missing", "put the file there, or correct `ca`");
    tree.write("/etc/ca.pem", "a certificate");
    tree.run(&["apply"], 0);
    let hosts = tree.read("/etc/containerd/certs.d/r.example/hosts.toml");
    assert!(hosts.contains("  ca = \"/etc/ca.pem\"\n"), "{hosts}");
}

#[test]
fn a_certificate_for_a_registry_must_be_there_and_its_key_be_private() {
    let host = "host = [{ url = \"https://m.example\", \
                client = [{ certificate = \"/etc/c.pem\", key = \"/etc/c.key\" }] }]\n";
    let tree = tree(&format!("[[containerd.registry]]\nprefix = \"r.example\"\n{host}"));
    let correct = "put the file there, or correct `client`";
    tree.refuses_phase(2, "registry-client-missing", correct);
    tree.write("/etc/c.key", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n");
    let path = tree.path("/etc/c.key");
    let mend = format!("run `chmod 600 {}`", path.display());
    tree.refuses_phase(2, "registry-client-exposed", &mend);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    tree.refuses_phase(2, "registry-client-missing", correct);
    tree.write("/etc/c.pem", "a certificate");
    tree.refuses_phase(2, "registry-client-invalid", "write both in PEM");
    tree.write("/etc/c.pem", "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
    let (stdout, stderr) = tree.run(&["apply", "-vv"], 0);
    assert!(!(stdout + &stderr).contains("hunter2"));
    let hosts = tree.read("/etc/containerd/certs.d/r.example/hosts.toml");
    assert!(hosts.contains("  client = [[\"/etc/c.pem\", \"/etc/c.key\"]]\n"), "{hosts}");
}

#[test]
fn a_secret_header_is_for_a_file_that_nobody_else_reads() {
    let host = "host = [{ url = \"https://m.example\", \
                headers = { Authorization = [\"Basic bWU6aHVudGVyMg==\"] } }]\n";
    let tree = tree(&format!("[[containerd.registry]]\nprefix = \"r.example\"\n{host}"));
    let (_, said) = tree.run(&["plan"], 2);
    assert!(!said.contains("bWU6aHVudGVyMg"), "{said}");
    let hint = "containerd.registry.host.headers: let `docker-config` of [download]";
    tree.refuses_phase(2, "registry-header-secret", hint);
}

#[test]
fn credentials_go_to_containerd_alone_and_go_again() {
    let tree = tree("[download]\ndocker-config = \"/root/docker.json\"\n");
    tree.refuses_phase(2, "docker-config-invalid", "name a file that `docker --config DIR login");
    tree.write("/root/docker.json", r#"{"auths":{"r.example":{"auth":"bWU6aHVudGVyMg=="}}}"#);
    let path = tree.path("/root/docker.json");
    let mend = format!("run `chmod 600 {}`", path.display());
    tree.refuses_phase(2, "docker-config-exposed", &mend);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    let mut said = String::new();
    for args in [&["plan"][..], &["plan", "--json"]] {
        said += &tree.run(args, 3).0;
    }
    let (stdout, stderr) = tree.run(&["apply", "-vv"], 0);
    said += &(stdout + &stderr);
    assert!(!said.contains("bWU6aHVudGVyMg") && !said.contains("hunter2"), "{said}");
    assert!(tree.listing().contains("etc/containerd/conf.d/credentials.toml 100600"));
    let file = tree.read("/etc/containerd/conf.d/credentials.toml");
    assert!(file.contains("username = \"me\"\npassword = \"hunter2\"\n"), "{file}");
    let imports = "imports = [\"/etc/containerd/conf.d/credentials.toml\"]\n";
    assert!(tree.read("/etc/containerd/config.toml").contains(imports));

    describe(&tree, "");
    tree.run(&["apply"], 0);
    assert!(!tree.path("/etc/containerd/conf.d/credentials.toml").exists());
    assert!(!tree.read("/etc/containerd/config.toml").contains("imports"));
    tree.run(&["reset", "--yes"], 0);
}

#[test]
fn all_agree_on_who_makes_control_groups() {
    for (said, driver) in [("auto", "systemd"), ("cgroupfs", "cgroupfs")] {
        let tree = tree(&format!("[kubelet]\ncgroup-driver = \"{said}\"\n"));
        tree.run(&["apply"], 0);
        let kubelet = tree.read("/etc/kubernetes/kubelet-config.yaml");
        assert!(kubelet.contains(&format!("\ncgroupDriver: {driver}\n")), "{kubelet}");
        let containerd = tree.read("/etc/containerd/config.toml");
        let systemd = format!("\nSystemdCgroup = {}\n", driver == "systemd");
        assert!(containerd.contains(&systemd), "{containerd}");
        let nerdctl = tree.read("/etc/nerdctl/nerdctl.toml");
        assert!(nerdctl.contains(&format!("cgroup_manager    = \"{driver}\"\n")), "{nerdctl}");
        assert!(tree.read(NodeState::PATH).contains(&format!("\"cgroup-driver\": \"{driver}\"")));
    }
}

#[test]
fn containers_get_labels_where_selinux_forbids() {
    let tree = tree("");
    let mut facts: Facts = ktest::facts();
    facts.selinux = kspec::state::SelinuxMode::Enforcing;
    tree.leave(&facts);
    tree.run(&["apply"], 0);
    assert!(tree.read("/etc/containerd/config.toml").contains("\nenable_selinux = true\n"));
}

#[test]
fn another_engine_is_refused_until_it_may_be_stopped() {
    let tree = tree("");
    tree.write("/usr/lib/systemd/system/docker.service", "[Service]\n");
    tree.write("/usr/lib/systemd/system/containerd.service", "[Service]\n");
    tree.run(&["plan"], 3); // installed, and neither runs nor starts at boot
    let wants = "/etc/systemd/system/multi-user.target.wants";
    tree.write(&format!("{wants}/docker.service"), "");
    tree.refuses_phase(2, "engine-foreign", "set `stop-other-engines = true` in [containerd]");
    let (_, said) = tree.run(&["plan"], 2);
    assert!(
        said.contains("another container engine is on this machine: docker.service\n"),
        "{said}"
    );
    tree.write(&format!("{wants}/containerd.service"), "");
    let (_, said) = tree.run(&["plan"], 2);
    assert!(said.contains("docker.service, containerd.service\n"), "{said}");
    assert!(said.contains("`systemctl disable --now docker.service containerd.service`"), "{said}");

    describe(&tree, "[containerd]\nstop-other-engines = true\n");
    let (_, said) = tree.run(&["plan", "-v"], 3);
    assert!(said.contains("not in a tree: give-way:docker.service,containerd.service"), "{said}");
}

#[test]
fn ours_under_the_name_of_theirs_is_not_theirs() {
    let tree = tree("");
    tree.write("/usr/lib/systemd/system/containerd.service", "[Service]\n");
    tree.run(&["apply"], 0);
    tree.write("/etc/systemd/system/multi-user.target.wants/containerd.service", "");
    tree.run(&["plan"], 0);
}

#[test]
fn another_kubernetes_is_refused_whatever_is_allowed() {
    let tree = tree("[containerd]\nstop-other-engines = true\n");
    tree.write("/etc/systemd/system/k3s.service", "[Service]\n");
    tree.write("/etc/systemd/system/multi-user.target.wants/k3s.service", "");
    tree.refuses_phase(2, "cluster-foreign", "remove it with `k3s-uninstall.sh`");
}

#[test]
fn the_distributions_runc_is_refused_until_it_may_be_removed() {
    let tree = tree("");
    tree.write("/usr/sbin/runc", "theirs");
    tree.refuses_phase(2, "runc-foreign", "set `remove-distribution-runc = true` in [containerd]");
    describe(&tree, "[containerd]\nremove-distribution-runc = true\n");
    tree.run(&["apply"], 0);
    assert!(!tree.path("/usr/sbin/runc").exists());
    tree.run(&["plan"], 0);
    tree.run(&["reset", "--yes"], 0);
    assert_eq!(tree.read("/usr/sbin/runc"), "theirs");
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

    Installs runc, containerd, crictl, nerdctl, kubeadm and the kubelet, configures
    them for what this machine allows, starts containerd, imports the images of the
    store into it, and prepares the kubelet: its unit is enabled but waits until kcp
    has made the node part of a cluster.

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

          --events <FILE>
              Also add every event to the end of FILE, and each program that is run
              
              [env: K8STEPS_EVENTS=]

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

#[test]
fn two_at_once_do_not_tear_its_work() {
    tree("").is_alone_with_its_phase();
}

#[test]
fn faults_at_any_system_call_lose_nothing() {
    tree("").survives_faults("knode");
}
