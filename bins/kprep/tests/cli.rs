//! kprep as its user meets it: on a tree, and bare, as an ordinary user.

use std::{fs, os::unix::fs::PermissionsExt as _};

use kspec::{
    Cluster,
    state::{CgroupVersion, Facts, Family, State as _},
};
use ktest::Tree;

const KPREP: &str = env!("CARGO_BIN_EXE_kprep");
const CONFIG: &str = "/etc/k8steps/cluster.toml";

/// A tree as a freshly installed machine has it.
fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KPREP, extra);
    fill(&tree);
    tree
}

fn fill(tree: &Tree) {
    tree.write("/var/lib/dpkg/status", "");
    tree.write("/etc/hostname", "debian\n");
    tree.write("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 debian\n");
    tree.write("/etc/fstab", "UUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n");
    tree.write("/etc/resolv.conf", "nameserver 192.0.2.53\n");
}

fn spoken(assert: &assert_cmd::assert::Assert) -> (String, String) {
    let output = assert.get_output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn other_nodes_are_no_work() {
    tree("").has_no_more_to_do_among_500_nodes(&["lines:/etc/hosts"]);
}

#[test]
fn plan_apply_again_check_and_back() {
    let tree = tree("");
    let planned = tree.lives_through_its_phase(|| {
        let applied = tree.listing();
        for line in [
            "etc/kubernetes 40755 ",
            "etc/kubernetes/pki 120777 /etc/kubernetes/ssl",
            "etc/systemd/system/swap.target 120777 /dev/null",
            "usr/libexec/kubernetes/kubelet-plugins/volume/exec 40755 ",
        ] {
            assert!(applied.contains(line), "{line} not in\n{applied}");
        }
        assert_eq!(tree.read("/etc/hostname"), "node1\n");
        assert_eq!(
            tree.read("/etc/hosts"),
            "127.0.0.1 localhost\n127.0.1.1 debian\n\
             # k8steps BEGIN\n192.0.2.11 node1\n# k8steps END\n"
        );
        assert_eq!(
            tree.read("/etc/fstab"),
            "UUID=1 / ext4 defaults 0 1\n#k8steps# UUID=2 none swap sw 0 0\n"
        );
    });
    insta::assert_snapshot!(planned.join("\n"), @"
    edit /etc/fstab
    link /etc/systemd/system/swap.target to /dev/null
    change /etc/hostname
    edit /etc/hosts
    make directory /etc/bash_completion.d (0755 root:root)
    make directory /usr/local/bin (0755 root:root)
    make directory /etc/kubernetes (0755 kube:root)
    make directory /etc/kubernetes/manifests (0755 kube:root)
    make directory /usr/local/bin/kubernetes-scripts (0755 kube:root)
    make directory /usr/libexec/kubernetes/kubelet-plugins/volume/exec (0755 kube:root)
    make directory /etc/kubernetes/ssl (0755 root:root)
    make directory /etc/cni/net.d (0755 kube:root)
    make directory /opt/cni/bin (0755 kube:root)
    link /etc/kubernetes/pki to /etc/kubernetes/ssl
    create /etc/sysctl.d/90-k8steps.conf (0644 root:root)
    create /var/lib/k8steps/resolv.conf (0644 root:root)
    edit /etc/resolv.conf
    create /var/lib/k8steps/facts.json (0644 root:root)
    ");
}

#[test]
fn facts_of_a_tree_are_those_of_an_ordinary_server() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let facts: Facts = serde_json::from_str(&tree.read(Facts::PATH)).unwrap();
    assert_eq!((&*facts.node, &*facts.address.to_string()), ("node1", "192.0.2.11"));
    assert_eq!((&*facts.os.id, facts.os.family), ("debian", Family::Debian));
    assert_eq!(facts.kernel.cgroup, CgroupVersion::V2);
    assert!(facts.kernel.overlay && facts.kernel.bridge_netfilter);
    assert!(facts.kernel.conntrack_writable && facts.capabilities.sys_resource);
    assert_eq!((facts.limits.nofile, facts.container, facts.swap), (None, false, false));
    assert_eq!(facts.resolv_conf, "/var/lib/k8steps/resolv.conf");

    let (printed, _) = tree.run(&["facts"], 0);
    assert_eq!(printed, tree.read(Facts::PATH));
}

#[test]
fn a_confined_machine_tells_so_and_its_swap_is_left_alone() {
    let tree = tree("");
    tree.write("/etc/os-release", "ID=rocky\nVERSION_ID=\"10.1\"\nPRETTY_NAME=Rocky\n");
    tree.write("/run/systemd/container", "systemd-nspawn");
    tree.write("/run/systemd/resolve/resolv.conf", "nameserver 192.0.2.53\n");
    tree.write("/etc/resolv.conf", "nameserver 127.0.0.53\n");
    tree.write("/proc/1/status", "CapBnd:\t000001fffeffffff\n");
    tree.write("/proc/1/limits", "Max open files  1024  20000  files\n");
    tree.write("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n");
    tree.write("/proc/filesystems", "nodev\toverlay\n");
    tree.write("/proc/meminfo", "MemTotal: 2097152 kB\n");
    tree.write("/proc/sys/kernel/osrelease", "6.12.0\n");
    tree.write("/sys/fs/cgroup/memory/tasks", "");
    tree.write("/sys/devices/system/cpu/online", "0-1\n");
    let (printed, _) = tree.run(&["facts"], 0);
    insta::assert_snapshot!(printed.replace("arm64", "amd64"), @r#"
{
  "schema": 1,
  "node": "node1",
  "os": {
    "id": "rocky",
    "version": "10.1",
    "name": "Rocky",
    "family": "red-hat"
  },
  "arch": "amd64",
  "cpus": 2,
  "memory-mib": 2048,
  "address": "192.0.2.11",
  "access-address": "192.0.2.11",
  "default-ipv4": null,
  "default-ipv6": null,
  "fallback-ipv4": "127.0.0.1",
  "fallback-ipv6": "::1",
  "kernel": {
    "release": "6.12.0",
    "cgroup": "v1",
    "overlay": true,
    "bridge-netfilter": false,
    "conntrack-writable": false
  },
  "capabilities": {
    "sys-resource": false
  },
  "limits": {
    "nofile": 20000
  },
  "container": true,
  "swap": true,
  "selinux": "disabled",
  "resolver": "systemd-resolved",
  "resolv-conf": "/var/lib/k8steps/resolv.conf"
}
"#);

    let fstab = tree.read("/etc/fstab");
    tree.run(&["apply"], 0);
    assert_eq!(tree.read("/etc/fstab"), fstab);
    assert!(!tree.listing().contains("swap.target"));
    assert!(!tree.read("/etc/sysctl.d/90-k8steps.conf").contains("net.bridge"));
}

#[test]
fn what_is_not_to_be_managed_is_left_alone() {
    let tree = tree("[host]\nmanage-hostname = false\nmanage-hosts = false\nswap = \"stays\"");
    let kept = || ["/etc/hostname", "/etc/hosts", "/etc/fstab"].map(|path| tree.read(path));
    let before = kept();
    tree.run(&["apply"], 0);
    assert_eq!(kept(), before);
}

#[test]
fn swap_is_off_wherever_it_comes_from() {
    let tree = tree("");
    let mine = "[Swap]\nWhat=/swapfile\n";
    tree.write("/etc/systemd/system/swapfile.swap", mine);
    tree.write("/usr/lib/systemd/system/dev-sdb.swap", "[Swap]\nWhat=/dev/sdb\n");
    // As systemd-gpt-auto-generator makes one, and as fstab's generator does.
    tree.write("/run/systemd/generator.late/dev-sda3.swap", "[Swap]\nWhat=/dev/sda3\n");
    tree.write("/run/systemd/generator/dev-sda2.swap", "[Swap]\nWhat=/dev/sda2\n");
    tree.write("/usr/lib/systemd/zram-generator.conf", "[zram0]\n");
    tree.write("/usr/lib/systemd/zram-generator.conf.d/10-more.conf", "[zram1]\n");
    tree.lives_through_its_phase(|| {
        let applied = tree.listing();
        for unit in ["swapfile.swap", "dev-sdb.swap", "dev-sda3.swap", "swap.target"] {
            let masked = format!("etc/systemd/system/{unit} 120777 /dev/null\n");
            assert!(applied.contains(&masked), "{unit} can be started:\n{applied}");
        }
        assert!(!applied.contains("system/dev-sda2.swap"), "it went with its line in fstab");
        for hidden in ["zram-generator.conf", "zram-generator.conf.d/10-more.conf"] {
            assert_eq!(tree.read(&format!("/etc/systemd/{hidden}")), "");
        }
    });
    assert_eq!(tree.read("/etc/systemd/system/swapfile.swap"), mine);
}

#[test]
fn reset_takes_out_its_lines_and_leaves_those_of_others() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    let hosts = tree.read("/etc/hosts") + "192.0.2.99 theirs\n";
    tree.write("/etc/hosts", &hosts);
    tree.run(&["plan"], 0);
    tree.run(&["reset", "--yes"], 0);
    let left = "127.0.0.1 localhost\n127.0.1.1 debian\n192.0.2.99 theirs\n";
    assert_eq!(tree.read("/etc/hosts"), left);
}

#[test]
fn a_renamed_node_is_a_diff() {
    let tree = tree("");
    tree.run(&["apply"], 0);
    tree.write(CONFIG, &tree.read(CONFIG).replace("node1", "node2"));
    let (stdout, _) = tree.run(&["check"], 3);
    assert!(stdout.contains("-192.0.2.11 node1") && stdout.contains("+192.0.2.11 node2"));
    tree.run(&["apply"], 0);
    assert!(!tree.read("/etc/hosts").contains("node1"));
}

#[test]
fn an_unknown_key_is_named_with_the_nearest() {
    tree("[network]\npod-cdir = \"10.0.0.0/16\"").refuses_phase(
        2,
        "input-invalid",
        "did you mean `pod-cidr`?",
    );
}

#[test]
fn a_wrong_type_and_host_bits_name_their_line() {
    for (extra, said) in [
        ("[network]\nnode-prefix = \"big\"", "line 3"),
        ("[network]\nnode-prefix = \"big\"", "invalid type: string"),
        ("[network]\npod-cidr = \"10.233.65.0/18\"", "the network is `10.233.64.0/18`"),
        ("[host]\nswap = \"on\"", "unknown variant `on`"),
    ] {
        let tree = tree(extra);
        tree.refuses_phase(2, "input-invalid", "correct `");
        let (_, stderr) = tree.run(&["plan"], 2);
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn what_describes_no_cluster_is_refused_by_key() {
    let second = |name: &str, roles: &str| {
        format!("[[node]]\nname = \"{name}\"\naddress = \"192.0.2.12\"\nroles = [{roles}]")
    };
    let release = "kubernetes.version: choose a release from 1.31.0 up to, not including, 1.36.0";
    for (extra, error, hint) in [
        ("[network]\npod-cidr = \"10.233.0.0/18\"".into(), "networks-overlap", "network.pod-cidr"),
        ("[network]\npod-cidr = \"10.233.0.0/16\"".into(), "networks-overlap", "network.pod-cidr"),
        (
            second("node2", "\"etcd\""),
            "etcd-even",
            "node: give the role etcd to one, three or five",
        ),
        (
            second("Node_2", "\"worker\""),
            "node-name-invalid",
            "node[0].name: use at most 253 lower-case letters",
        ),
        ("[kubernetes]\nversion = \"1.30.14\"".into(), "version-unsupported", release),
        ("[kubernetes]\nversion = \"1.36.0\"".into(), "version-unsupported", release),
    ] {
        let extra: String = extra;
        tree(&extra).refuses_phase(2, error, hint);
    }
}

#[test]
fn a_missing_description_names_the_command_that_makes_it() {
    let tree = Tree::new(KPREP);
    tree.refuses_phase(2, "input-missing", "run `kprep init`");
    let (stdout, _) = tree.run(&["validate"], 2);
    assert!(stdout.contains("problem[input-missing]"), "{stdout}");
}

#[test]
fn an_unsupported_system_is_refused() {
    let tree = tree("");
    tree.write("/etc/os-release", "ID=alpine\n");
    tree.refuses_phase(1, "os-unsupported", "use Debian, Ubuntu, Rocky, RHEL or Alma");
}

#[test]
fn something_in_the_way_is_named_and_stays() {
    let tree = tree("");
    tree.write("/etc/kubernetes/pki/ca.crt", "theirs");
    let (_, stderr) = tree.run(&["plan"], 1);
    assert!(stderr.contains("error[not-a-link]: `/etc/kubernetes/pki`"), "{stderr}");
    tree.run(&["apply"], 1);
    assert_eq!(tree.read("/etc/kubernetes/pki/ca.crt"), "theirs");
    tree.run(&["reset", "--yes"], 0);
}

#[test]
fn an_ordinary_user_is_told_to_be_root() {
    let tree = tree("");
    let config = tree.path(CONFIG);
    for verb in [&["apply"][..], &["reset", "--yes"], &["dns"], &["dns", "--undo"]] {
        let assert = tree.bare().args(verb).arg("--config").arg(&config).assert().code(2);
        let (_, stderr) = spoken(&assert);
        assert!(stderr.contains("error[not-root]"), "{stderr}");
        assert!(stderr.contains(&format!("hint: run `sudo kprep {}`", verb[0])), "{stderr}");
    }
}

#[test]
fn a_read_only_tree_is_left_without_a_trace() {
    let tree = tree("");
    let before = tree.listing();
    let closed = |mode| {
        for dir in ["", "/etc", "/run", "/var", "/var/lib"] {
            let mode = fs::Permissions::from_mode(mode);
            fs::set_permissions(tree.path(dir), mode).unwrap();
        }
    };
    closed(0o555);
    let (_, stderr) = tree.run(&["apply"], 1);
    closed(0o755);
    assert!(stderr.contains("error[write-failed]"), "{stderr}");
    assert!(stderr.contains("--root DIR"), "{stderr}");
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_failed_write_leaves_the_old_file() {
    let tree = tree("");
    let etc = tree.path("/etc");
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o555)).unwrap();
    let (_, stderr) = tree.run(&["apply"], 1);
    assert!(stderr.contains("error[write-failed]"), "{stderr}");
    fs::set_permissions(&etc, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(tree.read("/etc/fstab").contains("\nUUID=2 none swap"));
    tree.run(&["apply"], 0); // and again, now that it can
    tree.run(&["check"], 0);
}

#[test]
fn an_address_of_another_machine_is_a_host_problem() {
    let tree = tree("");
    let validate = |args: &[&str], code| {
        let config = tree.path(CONFIG);
        spoken(
            &tree.bare().arg("validate").arg("--config").arg(config).args(args).assert().code(code),
        )
    };
    let (stdout, _) = validate(&["--node", "node1"], 1);
    assert!(
        stdout.contains(
            "problem[address-not-here]: 192.0.2.11 of node `node1` is not an address of this machine"
        ),
        "{stdout}"
    );
    assert!(stdout.contains("hint: correct the address of [[node]] `node1`"), "{stdout}");

    // Neither name nor address fit: it is the description that is wrong.
    let (stdout, _) = validate(&[], 2);
    assert!(stdout.contains("problem[node-not-here]: node: "), "{stdout}");

    let mut plan = tree.bare();
    plan.args(["plan", "--node", "node1", "--config"]).arg(tree.path(CONFIG)).assert().code(1);
}

#[test]
fn validate_lists_everything_and_stops_at_nothing() {
    let tree = tree("[network]\npod-cidr = \"10.233.0.0/18\"\nnode-ports = \"x\"");
    let before = tree.listing();
    let (stdout, stderr) = tree.run(&["validate"], 2);
    assert!(stdout.contains("problem[networks-overlap]: network.pod-cidr: "), "{stdout}");
    assert!(stdout.contains("problem[node-ports-invalid]: network.node-ports: "), "{stdout}");
    assert!(stderr.contains("2 problems"), "{stderr}");

    let (stdout, _) = tree.run(&["validate", "--json"], 2);
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let codes: Vec<_> = lines.iter().map(|line| line["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["networks-overlap", "node-ports-invalid", "os-unsupported"]);
    assert_eq!(lines[0]["event"], "problem");
    assert_eq!(lines[0]["key"], "network.pod-cidr");
    assert!(lines[0]["hint"].as_str().unwrap().contains("neither contains the other"));
    assert_eq!(lines[2]["event"], "passed");
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_sound_description_of_a_tree_is_valid() {
    let (stdout, stderr) = tree("").run(&["validate"], 0);
    assert_eq!(stdout, "");
    assert!(stderr.contains("0 problems"), "{stderr}");
    let (stdout, _) = tree("").run(&["validate", "-v"], 0);
    assert!(stdout.contains("good[input-invalid]: the description is sound"), "{stdout}");
}

#[test]
fn init_writes_a_sound_description_and_never_over_another() {
    let tree = Tree::new(KPREP);
    let before = tree.listing();
    let (printed, _) = tree.run(&["init", "--stdout"], 0);
    let (same, _) = tree.run(&["init", "--config", "-"], 0);
    assert_eq!(printed, same);
    assert_eq!(tree.listing(), before, "--stdout wrote something");

    tree.run(&["init"], 0);
    let written = tree.read(CONFIG);
    assert_eq!(written, printed);
    assert!(written.contains("# Addresses of Pods"), "{written}");
    let cluster = Cluster::parse(&written).unwrap();
    assert_eq!(cluster.problems(), []);
    assert_eq!(cluster.nodes.len(), 1);
    tree.run(&["validate"], 0);

    tree.write(CONFIG, "mine\n");
    let (_, stderr) = tree.run(&["init"], 2);
    assert!(stderr.contains("error[config-exists]"), "{stderr}");
    assert!(stderr.contains("kprep init --stdout"), "{stderr}");
    assert_eq!(tree.read(CONFIG), "mine\n");

    let elsewhere = tree.path("/etc/other.toml");
    let config = elsewhere.to_str().unwrap();
    tree.run(&["init", "--config", config, "--node", "edge-7"], 0);
    assert!(tree.read("/etc/other.toml").contains("name = \"edge-7\""));
}

#[test]
fn help_tells_what_it_is_for() {
    insta::assert_snapshot!(Tree::new(KPREP).help(), @"
    Prepare the operating system of this machine to be a Kubernetes node

    Installs packages, makes the user `kube` and the directories Kubernetes lives
    in, switches swap off, sets the host name, /etc/hosts, kernel modules and
    kernel parameters. What the machine cannot give stops it before anything is
    changed.

    Reads cluster.toml; leaves facts.json, what the other tools go by. In a tree
    (`--root`) only files are made, and facts that the tree does not tell are those
    of an ordinary Debian 12 server.

    Example: describe a cluster of this machine, see what is wrong, prepare it

        kprep init
        kprep validate
        kprep apply

    Usage: kprep [OPTIONS] <COMMAND>

    Commands:
      plan      Show what apply would change; exits 3 when there is something
      apply     Make it so; a second run changes nothing
      check     Is it still so, and does it work? Exits 3 when it drifted, 1 when it
                does not work
      reset     Put back exactly what apply changed
      init      Write a cluster.toml for this machine, with every default and what
                it means
      validate  List everything wrong with cluster.toml and with this machine;
                changes nothing
      facts     Print what facts.json would say of this machine, as JSON
      dns       Put the cluster's DNS first in this machine's name lookups, once it
                answers
      alone     Run a row of tools that no other comes between, as `make up` does
      help      Print this message or the help of the given subcommand(s)

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
    tree("").survives_faults("kprep");
}
