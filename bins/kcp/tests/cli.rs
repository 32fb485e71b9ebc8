//! kcp as its user meets it, on a tree and as an ordinary user.

mod common;

use std::os::unix::fs::PermissionsExt as _;

use kspec::{
    Sha256,
    state::{ControlPlaneState, EtcdState, NodeState, PkiState, SelinuxMode, State as _},
};
use ktest::Tree;

use common::{KCP, fill, tree};

const CONFIG: &str = "/etc/kubernetes/kubeadm-config.yaml";

#[test]
fn other_nodes_are_no_work() {
    tree("").has_no_more_to_do_among_500_nodes(&[]);
}

#[test]
fn plan_apply_again_check_and_back() {
    let tree = tree("");
    let planned = tree.lives_through_its_phase(|| {
        assert_eq!(tree.read("/usr/local/bin/kubectl"), "the kubectl");
        assert!(tree.read(CONFIG).contains("kubernetesVersion: v1.33.3"));
        let applied = tree.listing();
        for line in [
            "etc/kubernetes/kubeadm-config.yaml 100640",
            "etc/kubernetes/kubescheduler-config.yaml 100644",
            "usr/local/bin/kubectl 100755",
            "root/.kube 40700",
        ] {
            assert!(applied.contains(line), "{line} not in\n{applied}");
        }
    });
    assert_eq!(planned.len(), 6, "{planned:#?}");
}

#[test]
fn where_selinux_forbids_the_static_pods_are_part_of_the_machine() {
    let tree = tree("");
    let mut facts = ktest::facts();
    facts.selinux = SelinuxMode::Enforcing;
    tree.leave(&facts);
    tree.lives_through_its_phase(|| {
        assert!(tree.read(CONFIG).contains("\npatches:\n  directory: /etc/kubernetes/patches\n"));
        for pod in ["kube-apiserver", "kube-controller-manager", "kube-scheduler"] {
            let patch = tree.read(&format!("/etc/kubernetes/patches/{pod}+strategic.yaml"));
            assert!(patch.ends_with("seLinuxOptions:\n      type: spc_t\n"), "{patch}");
        }
    });
}

#[test]
fn kubeconfigs_are_pointed_at_the_node_and_their_keys_are_never_shown() {
    let tree = tree("");
    let kubeconfig = "apiVersion: v1\nclusters:\n- cluster:\n    server: https://192.0.2.11:6443\n\
                      users:\n- user:\n    client-key-data: U0VDUkVU\n";
    for name in ["admin", "super-admin", "kubelet", "controller-manager", "scheduler"] {
        tree.write(&format!("/etc/kubernetes/{name}.conf"), kubeconfig);
    }
    tree.write("/etc/kubernetes/ssl/ca.crt", "the authority");
    let before = tree.listing();

    for json in [&["plan"][..], &["plan", "--json"], &["plan", "-vv"]] {
        let (stdout, stderr) = tree.run(json, 3);
        assert!(stdout.contains("server: https://127.0.0.1:6443"), "{stdout}");
        assert!(!(stdout + &stderr).contains("U0VDUkVU"), "a key is shown");
    }
    tree.run(&["apply"], 0);

    let own = kubeconfig.replace("192.0.2.11", "127.0.0.1");
    for name in ["admin", "kubelet", "controller-manager", "scheduler"] {
        assert_eq!(tree.read(&format!("/etc/kubernetes/{name}.conf")), own, "{name}");
    }
    assert_eq!(tree.read("/etc/kubernetes/super-admin.conf"), kubeconfig);
    assert_eq!(tree.read("/root/.kube/config"), own);
    assert!(tree.listing().contains("root/.kube/config 100600"));

    let state: ControlPlaneState =
        serde_json::from_str(&tree.read(ControlPlaneState::PATH)).unwrap();
    assert_eq!(state.ca_sha256, Sha256::of("the authority"));
    assert_eq!(state.local_endpoint, "https://127.0.0.1:6443");
    assert_eq!(state.endpoint, "https://192.0.2.11:6443");

    tree.run(&["plan"], 0);
    let admin = tree.path("/etc/kubernetes/admin.conf");
    std::fs::set_permissions(&admin, std::fs::Permissions::from_mode(0o644)).unwrap();
    let (stdout, _) = tree.run(&["plan"], 3);
    assert!(stdout.contains("/etc/kubernetes/admin.conf"), "{stdout}");
    tree.run(&["apply"], 0);
    assert!(tree.listing().contains("etc/kubernetes/admin.conf 100600"));
    tree.run(&["plan"], 0);

    tree.run(&["reset", "--yes"], 0);
    let kept = |listing: &str| -> Vec<String> {
        let private = |line: &str| line.replace(".conf 100600", ".conf 100644");
        listing.lines().map(private).collect()
    };
    assert_eq!(kept(&tree.listing()), kept(&before));
}

#[test]
fn a_renewed_kubelet_certificate_is_used_by_its_path() {
    let tree = tree("");
    tree.write(
        "/etc/kubernetes/kubelet.conf",
        "users:\n- user:\n    client-certificate-data: Q0VSVA==\n    client-key-data: S0VZ\n",
    );
    tree.write("/var/lib/kubelet/pki/kubelet-client-current.pem", "newest");
    tree.run(&["apply"], 0);
    let path = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    assert_eq!(
        tree.read("/etc/kubernetes/kubelet.conf"),
        format!("users:\n- user:\n    client-certificate: {path}\n    client-key: {path}\n")
    );
}

#[test]
fn a_changed_setting_is_a_diff() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    tree.write(
        "/etc/k8steps/cluster.toml",
        &tree
            .read("/etc/k8steps/cluster.toml")
            .replace("schema = 1\n", "schema = 1\n[kube-proxy]\nmode = \"ipvs\"\n"),
    );
    let (stdout, _) = tree.run(&["plan"], 3);
    assert!(stdout.contains("-mode: iptables") && stdout.contains("+mode: ipvs"), "{stdout}");
    let (stdout, _) = tree.run(&["check"], 3);
    assert!(stdout.contains(CONFIG), "{stdout}");
}

#[test]
fn missing_inputs_name_the_command_that_makes_them() {
    let bare = Tree::new(KCP);
    bare.refuses_phase(2, "input-missing", "run `kprep init`");
    let bare = Tree::with_cluster(KCP, "");
    bare.refuses_phase(2, "input-missing", "run `kprep apply`");
    bare.leave(&ktest::facts());
    bare.refuses_phase(2, "input-missing", "run `kfetch apply`");
    bare.leave(&ktest::artifacts([], []));
    bare.refuses_phase(2, "input-missing", "run `kpki apply`");
    bare.leave(&ktest::pki());
    bare.refuses_phase(2, "artifact-missing", "name it in artifacts.lock");
    fill(&bare);
    bare.write(NodeState::PATH, "{}");
    bare.refuses_phase(2, "input-invalid", "run `knode apply`");
    bare.write(EtcdState::PATH, "{}");
    bare.refuses_phase(2, "input-invalid", "run `ketcd apply`");
}

#[test]
fn a_control_plane_needs_its_etcd_certificate() {
    let tree = tree("");
    tree.leave(&PkiState { node: None, ..ktest::pki() });
    tree.refuses_phase(2, "etcd-client-missing", "run `kpki apply`");
}

#[test]
fn what_a_running_cluster_cannot_take_is_refused() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let made = "names sha256:1\nconfig sha256:2\n";
    let written = tree.read("/etc/k8steps/cluster.toml");
    for (extra, error, key) in [
        ("[kubernetes]\nversion = \"1.33.4\"", "upgrade-unsupported", "kubernetes.version"),
        ("[network]\npod-cidr = \"10.234.0.0/18\"", "cluster-fixed", "network.pod-cidr"),
        ("[control-plane]\nendpoint = \"api.example\"", "cluster-fixed", "control-plane.endpoint"),
    ] {
        let changed = written.replace("schema = 1\n", &format!("schema = 1\n{extra}\n"));
        tree.write("/etc/k8steps/cluster.toml", &changed);
        tree.run(&["plan"], 3); // before `kubeadm init`: as you like
        tree.write("/var/lib/k8steps/control-plane-made-with", made);
        tree.refuses_phase(2, error, &format!("put `{key}`"));
        tree.write("/var/lib/k8steps/control-plane-made-with", "");
    }
}

#[test]
fn help_tells_what_it_is_for() {
    insta::assert_snapshot!(Tree::new(KCP).help(), @r"
    Make this node a control plane, with kubeadm

    Installs kubectl, writes kubeadm's configuration, runs
    `kubeadm init` against the etcd that ketcd runs, points this node's own
    kubeconfigs at its own API server, and waits until the API server, the
    controller manager and the scheduler work and the cluster knows the node. It
    is Ready only once kcni has given it a network.

    The first control plane of cluster.toml makes the cluster. Every other node
    joins it, as a control plane or as a worker, once it was brought what it needs:

        kcp join-command node2 | ssh node2 kcp join -

    Reads cluster.toml, facts.json, artifacts.json, pki.json, etcd.json and
    node.json; leaves control-plane.json.

    Example: show what would change, then do it

        kcp plan
        kcp apply

    Usage: kcp [OPTIONS] <COMMAND>

    Commands:
      plan          Show what apply would change; exits 3 when there is something
      apply         Make it so; a second run changes nothing
      check         Is it still so, and does it work? Exits 3 when it drifted, 1
                    when it does not work
      reset         Put back exactly what apply changed
      join-command  Print what another node needs to join, for `kcp join` there
      join          Take what `join-command` made for this node; `apply` then joins
      remove        Take a node out of the cluster: move its pods away, and forget
                    it
      rotate-key    Encrypt with a new key what etcd stores, and drop the old one
      help          Print this message or the help of the given subcommand(s)

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
    tree("").survives_faults("kcp");
}
