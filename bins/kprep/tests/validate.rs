//! `kprep validate` as its user meets it: in trees, and on this machine, whatever it is.

use std::process::Command;

use ktest::Tree;
use serde_json::Value;

const KPREP: &str = env!("CARGO_BIN_EXE_kprep");

fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KPREP, extra);
    tree.write("/etc/resolv.conf", "nameserver 192.0.2.53\n");
    tree
}

/// The events of a run with `--json`.
fn events(tree: &Tree, args: &[&str], code: i32) -> Vec<Value> {
    let (stdout, _) = tree.run(&[&["validate", "--json"], args].concat(), code);
    stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn what_is_wrong_with_a_tree_reads_well() {
    let tree = tree("");
    tree.write("/etc/os-release", "ID=alpine\n");
    tree.write("/etc/hosts", "192.0.2.7 node1\n");
    tree.write("/etc/kubernetes/manifests/kube-apiserver.yaml", "");
    tree.write("/etc/sysctl.d/99-mine.conf", "net.ipv4.ip_forward = 0\n");
    let before = tree.listing();
    let (stdout, stderr) = tree.run(&["validate"], 1);
    insta::assert_snapshot!(stdout, @"
    problem[os-unsupported]: `alpine` is no operating system kprep can prepare
        seen: `/etc/os-release` names neither Debian nor Red Hat as its kind
        hint: use Debian, Ubuntu, Rocky, RHEL or Alma
    warning[name-elsewhere]: `node1` is 192.0.2.7 here, and 192.0.2.11 in cluster.toml
        seen: `/etc/hosts`, whose first line with a name counts
        hint: take `node1` out of that line
    warning[sysctl-overridden]: net.ipv4.ip_forward will not be 1 after the next boot
        seen: `/etc/sysctl.d/99-mine.conf` sets it to 0
        hint: remove net.ipv4.ip_forward from `/etc/sysctl.d/99-mine.conf`
    problem[leftovers]: an earlier Kubernetes left what this one would take for its own
        seen: /etc/kubernetes/manifests/kube-apiserver.yaml
        hint: keep what you need of it, then run `kubeadm reset` and remove /etc/kubernetes, /var/lib/etcd and /var/lib/kubelet
    ");
    insta::assert_snapshot!(stderr, @"
    kprep: 6 looked at, 2 problems, 2 warnings, 1 not looked at (`-v` says why)
    ");
    assert_eq!(tree.listing(), before, "validate writes something");
}

#[test]
fn an_unsupported_system_is_listed_once_and_stops_nothing() {
    let tree = tree("");
    tree.write("/etc/os-release", "ID=alpine\n");
    tree.write("/var/lib/etcd/member/wal/0", "");
    let events = events(&tree, &[], 1);
    let wrong: Vec<_> = events.iter().filter(|event| event["event"] == "problem").collect();
    let codes: Vec<_> = wrong.iter().map(|event| event["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["os-unsupported", "leftovers"]);
}

#[test]
fn every_check_is_one_json_line_at_least() {
    let tree = tree("");
    let events = events(&tree, &[], 0);
    let codes: Vec<_> = events.iter().map(|event| event["code"].as_str().unwrap()).collect();
    let expected = [
        "input-invalid",
        "os-unsupported",
        "name-elsewhere",
        "disk-slow",
        "sysctl-overridden",
        "selinux-mode",
        "leftovers",
    ];
    assert_eq!(codes, expected);
    for event in &events {
        assert_eq!((&event["schema"], &event["phase"]), (&1.into(), &"kprep".into()), "{event}");
        assert!(event["what"].is_string(), "{event}");
    }
    let disk = &events[3];
    assert_eq!(disk["event"], "skipped");
    assert!(disk["hint"].as_str().unwrap().contains("--probe-disk"), "{disk}");
}

#[test]
fn the_disk_is_written_to_only_when_asked_and_nothing_is_left() {
    let tree = tree("");
    tree.write("/var/lib/x", "");
    let before = tree.listing();
    // How fast the disk of this machine is, is not ours to say.
    let output = tree.tool().args(["validate", "-v", "--probe-disk"]).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("records of 2300 bytes synced in"), "{stdout}");
    assert_eq!(output.status.code(), Some(i32::from(stdout.contains("problem[disk-slow]"))));
    assert_eq!(tree.listing(), before);
}

#[test]
fn a_problem_stops_apply_unless_it_is_accepted() {
    let stale = |extra: &str| {
        let tree = tree(extra);
        tree.write("/etc/kubernetes/admin.conf", "theirs");
        tree
    };
    stale("").refuses_phase(1, "leftovers", "keep what you need of it");

    let tree = stale("[host]\naccept-problems = [\"leftovers\"]");
    let (stdout, _) = tree.run(&["validate"], 0);
    assert!(stdout.starts_with("warning[leftovers]: an earlier Kubernetes left"), "{stdout}");
    assert!(stdout.contains(", which [host] accept-problems accepts\n"), "{stdout}");
    let (_, stderr) = tree.run(&["plan"], 3);
    let warned = "warning: an earlier Kubernetes left what this one would take for its own, which";
    assert!(stderr.contains(warned), "{stderr}");
    tree.run(&["apply"], 0);
    let (stdout, _) = tree.run(&["validate"], 0);
    assert_eq!(stdout, "", "once prepared, what is there may be the node's own");
}

#[test]
fn what_cannot_be_accepted_is_refused() {
    for code in ["os-unsupported", "port-takn"] {
        tree(&format!("[host]\naccept-problems = [\"{code}\"]")).refuses_phase(
            2,
            "accept-problem-unknown",
            "host.accept-problems: choose among address-duplicate",
        );
    }
}

/// All checks of a live machine come to something, with the same codes each time.
#[test]
fn on_this_machine_every_check_comes_to_something() {
    let tree = tree("");
    let config = tree.path("/etc/k8steps/cluster.toml");
    let run = |args: &[&str]| {
        let mut kprep = tree.bare();
        kprep.args(["validate", "--node", "node1", "--config"]).arg(&config).args(args);
        kprep.output().unwrap()
    };
    let output = run(&["--json"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut codes: Vec<_> =
        events.map(|event| event["code"].as_str().unwrap().to_owned()).collect();
    codes.dedup();
    assert_eq!(codes.len(), 39, "the description's, 4 of any machine, 34 of a node: {codes:?}");
    assert!(codes.contains(&"network-device-missing".into()));
    for code in ["clock-behind", "space-too-little", "capability-missing", "chain-drops"] {
        assert!(codes.iter().any(|known| known == code), "{code}: {codes:?}");
    }
}

/// In a view of this machine that nobody, not even root, can write to, it finds the same.
#[test]
#[expect(clippy::disallowed_methods, reason = "the cage is not the tool's")]
fn a_machine_that_cannot_be_written_to_is_looked_at_all_the_same() {
    let tree = tree("");
    let kprep = tree.root().parent().unwrap().join("kprep");
    let caged = |command: &str| {
        let script = format!("mount -o remount,bind,ro / && {command}");
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
            .output()
            .unwrap()
    };
    let touched = caged(&format!("touch {}", tree.path("/etc/x").display()));
    let why = String::from_utf8_lossy(&touched.stderr).into_owned();
    assert!(why.contains("Read-only file system"), "the cage does not hold: {why}");

    let config = tree.path("/etc/k8steps/cluster.toml");
    let output = caged(&format!(
        "{} validate --json --node node1 --config {}",
        kprep.display(),
        config.display()
    ));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(stdout.contains("\"code\":\"leftovers\""), "{stdout}");
    assert!(!stdout.contains("ead-only"), "{stdout}");
}
