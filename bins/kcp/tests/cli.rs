//! kcp as its user meets it, on a tree and as an ordinary user.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use kspec::{
    Arch, Sha256,
    state::{
        Artifacts, Capabilities, Certificate, CgroupVersion, ControlPlaneState, EtcdState, Facts,
        Family, FileArtifact, Kernel, Limits, Member, Os, PkiState, State as _,
    },
};
use ktest::Tree;

const KCP: &str = env!("CARGO_BIN_EXE_kcp");
const CONFIG: &str = "/etc/kubernetes/kubeadm-config.yaml";

/// A tree with everything the earlier phases leave.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KCP, extra);
    fill(&tree);
    tree
}

fn fill(tree: &Tree) {
    tree.write("/run/user", ""); // every machine has /run, and the lock in it comes and goes
    let mut files = BTreeMap::new();
    for name in ["kubeadm", "kubectl"] {
        let member = Member {
            path: format!("/var/lib/k8steps/store/{name}"),
            sha256: Sha256::of(format!("the {name}")),
        };
        tree.write(&member.path, &format!("the {name}"));
        let members = [(name.to_owned(), member)].into();
        files.insert(name.to_owned(), FileArtifact { version: "1.33.3".into(), members });
    }
    tree.leave(&Artifacts { schema: 1, arch: Arch::Amd64, files, images: BTreeMap::new() });
    tree.leave(&facts());
    tree.leave(&pki());
    tree.leave(&EtcdState {
        schema: 1,
        version: Some("3.5.25".into()),
        member: Some("etcd1".into()),
        endpoints: vec!["https://192.0.2.11:2379".into()],
        data_dir: "/var/lib/etcd".into(),
    });
}

fn facts() -> Facts {
    let address = "192.0.2.11".parse().unwrap();
    let [id, version, name, release, resolv_conf] =
        ["debian", "12", "Debian 12", "6.1.0", "/etc/resolv.conf"].map(Into::into);
    Facts {
        schema: 1,
        node: "node1".into(),
        os: Os { id, version, name, family: Family::Debian },
        arch: Arch::Amd64,
        cpus: 2,
        memory_mib: 4096,
        address,
        default_address: Some(address),
        kernel: Kernel {
            release,
            cgroup: CgroupVersion::V2,
            overlay: true,
            bridge_netfilter: true,
            conntrack_writable: true,
        },
        capabilities: Capabilities { sys_resource: true },
        limits: Limits { nofile: None },
        container: false,
        swap: false,
        resolv_conf,
    }
}

fn pki() -> PkiState {
    let certificate = |name: &str| Certificate {
        cert: format!("/etc/ssl/etcd/ssl/{name}.pem"),
        key: format!("/etc/ssl/etcd/ssl/{name}-key.pem"),
        sha256: Sha256::of(name),
        subject: format!("CN=etcd-{name}"),
        not_after: "2126-01-01T00:00:00Z".into(),
    };
    let node = Some(certificate("node-node1"));
    PkiState { schema: 1, ca: certificate("ca"), member: None, admin: None, node }
}

/// Run `args`, which must end with `code`; standard output and error.
fn run(tree: &Tree, args: &[&str], code: i32) -> (String, String) {
    let output = tree.tool().args(args).assert().code(code).get_output().clone();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// `kcp apply` must refuse with exactly this and leave the tree as it was.
fn refused(tree: &Tree, code: i32, error: &str, hint: &str) {
    let before = tree.listing();
    for verb in ["plan", "apply"] {
        let (_, stderr) = run(tree, &[verb], code);
        assert!(stderr.contains(&format!("error[{error}]")), "{stderr}");
        assert!(stderr.contains(&format!("hint: {hint}")), "{stderr}");
    }
    assert_eq!(tree.listing(), before);
}

#[test]
fn plan_apply_again_check_and_back() {
    let tree = tree("");
    let before = tree.listing();

    let (planned, _) = run(&tree, &["plan"], 3);
    let planned: Vec<_> = planned.lines().filter(|line| line.starts_with("~ ")).collect();
    assert_eq!(planned.len(), 6, "{planned:#?}");
    assert_eq!(tree.listing(), before, "plan wrote something");

    run(&tree, &["apply"], 0);
    let applied = tree.listing();
    assert_eq!(tree.read("/usr/local/bin/kubectl"), "the kubectl");
    assert!(tree.read(CONFIG).contains("kubernetesVersion: v1.33.3"));
    for line in [
        "etc/kubernetes/kubeadm-config.yaml 100640",
        "etc/kubernetes/kubescheduler-config.yaml 100644",
        "usr/local/bin/kubeadm 100755",
        "root/.kube 40700",
    ] {
        assert!(applied.contains(line), "{line} not in\n{applied}");
    }

    let (_, said) = run(&tree, &["apply"], 0);
    assert!(said.contains("nothing to do"), "{said}");
    assert_eq!(tree.listing(), applied);
    run(&tree, &["plan"], 0);
    run(&tree, &["check"], 0);

    run(&tree, &["reset", "--yes"], 0);
    assert_eq!(tree.listing(), before);
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
        let (stdout, stderr) = run(&tree, json, 3);
        assert!(stdout.contains("server: https://127.0.0.1:6443"), "{stdout}");
        assert!(!(stdout + &stderr).contains("U0VDUkVU"), "a key is shown");
    }
    run(&tree, &["apply"], 0);

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

    run(&tree, &["plan"], 0);
    run(&tree, &["reset", "--yes"], 0);
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
    run(&tree, &["apply"], 0);
    let path = "/var/lib/kubelet/pki/kubelet-client-current.pem";
    assert_eq!(
        tree.read("/etc/kubernetes/kubelet.conf"),
        format!("users:\n- user:\n    client-certificate: {path}\n    client-key: {path}\n")
    );
}

#[test]
fn a_changed_setting_is_a_diff() {
    let tree = tree("");
    run(&tree, &["apply"], 0);
    tree.write(
        "/etc/k8steps/cluster.toml",
        &tree
            .read("/etc/k8steps/cluster.toml")
            .replace("schema = 1\n", "schema = 1\n[kube-proxy]\nmode = \"ipvs\"\n"),
    );
    let (stdout, _) = run(&tree, &["plan"], 3);
    assert!(stdout.contains("-mode: iptables") && stdout.contains("+mode: ipvs"), "{stdout}");
    let (stdout, _) = run(&tree, &["check"], 3);
    assert!(stdout.contains(CONFIG), "{stdout}");
}

#[test]
fn missing_inputs_name_the_command_that_makes_them() {
    let bare = Tree::new(KCP);
    refused(&bare, 2, "input-missing", "run `kprep init`");
    let bare = Tree::with_cluster(KCP, "");
    refused(&bare, 2, "input-missing", "run `kprep apply`");
    bare.leave(&facts());
    refused(&bare, 2, "input-missing", "run `kfetch apply`");
    let none = BTreeMap::new();
    bare.leave(&Artifacts { schema: 1, arch: Arch::Amd64, files: none, images: BTreeMap::new() });
    refused(&bare, 2, "input-missing", "run `kpki apply`");
    bare.leave(&pki());
    refused(&bare, 2, "artifact-missing", "name it in artifacts.lock");
    fill(&bare);
    bare.write(EtcdState::PATH, "{}");
    refused(&bare, 2, "input-invalid", "run `ketcd apply`");
}

#[test]
fn a_control_plane_needs_its_etcd_certificate() {
    let tree = tree("");
    tree.leave(&PkiState { node: None, ..pki() });
    refused(&tree, 2, "etcd-client-missing", "run `kpki apply`");
}

#[test]
fn only_the_first_control_plane_is_made() {
    let worker = "[[node]]\nname = \"node0\"\naddress = \"192.0.2.10\"\nroles = [\"worker\"]\n";
    let tree = tree(worker);
    let output = tree.tool().args(["apply", "--node", "node0"]).assert().code(2);
    let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(stderr.contains("error[not-control-plane]"), "{stderr}");

    let further = worker.replace("worker", "control-plane");
    let tree = self::tree(&further);
    let output = tree.tool().args(["apply", "--node", "node1"]).assert().code(2);
    let stderr = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(stderr.contains("error[join-unsupported]"), "{stderr}");
    assert!(stderr.contains("run kcp on `node0`"), "{stderr}");
}

#[test]
fn what_a_running_cluster_cannot_take_is_refused() {
    let tree = tree("");
    run(&tree, &["apply"], 0);
    let made = "names sha256:1\nconfig sha256:2\n";
    let written = tree.read("/etc/k8steps/cluster.toml");
    for (extra, error, key) in [
        ("[kubernetes]\nversion = \"1.33.4\"", "upgrade-unsupported", "kubernetes.version"),
        ("[network]\npod-cidr = \"10.234.0.0/18\"", "cluster-fixed", "network.pod-cidr"),
        ("[control-plane]\nendpoint = \"api.example\"", "cluster-fixed", "control-plane.endpoint"),
    ] {
        let changed = written.replace("schema = 1\n", &format!("schema = 1\n{extra}\n"));
        tree.write("/etc/k8steps/cluster.toml", &changed);
        let plan = tree.tool().arg("plan").assert().code(3); // before `kubeadm init`: as you like
        drop(plan);
        tree.write("/var/lib/k8steps/control-plane-made-with", made);
        refused(&tree, 2, error, &format!("put `{key}`"));
        tree.write("/var/lib/k8steps/control-plane-made-with", "");
    }
}

#[test]
fn help_tells_what_it_is_for() {
    let tree = Tree::new(KCP);
    let help = tree.bare().arg("--help").assert().success().get_output().stdout.clone();
    insta::assert_snapshot!(String::from_utf8(help).unwrap(), @r#"
    Make this node a control plane, with kubeadm

    Installs kubeadm and kubectl, writes kubeadm's configuration, runs
    `kubeadm init` against the etcd that ketcd runs, points this node's own
    kubeconfigs at its own API server, and waits until the API server, the
    controller manager and the scheduler work and pods can be admitted. The node
    is Ready only once kcni has given it a network.

    Reads cluster.toml, facts.json, artifacts.json, pki.json and etcd.json; leaves
    control-plane.json.

    Example: show what would change, then do it

        kcp plan
        kcp apply

    Usage: kcp [OPTIONS] <COMMAND>

    Commands:
      plan   Show what apply would change; exits 3 when there is something
      apply  Make it so; a second run changes nothing
      check  Is it still so, and does it work? Exits 3 when it drifted, 1 when it
             does not work
      reset  Put back exactly what apply changed
      help   Print this message or the help of the given subcommand(s)

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
    "#);
}
