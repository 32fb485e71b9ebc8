//! A whole life of a node in the lab: install, prove, repeat without a change, take apart, install
//! again. Everything in it is real: systemd, etcd, containerd, kubelet, kubeadm, pods.
//!
//! Needs root and Debian 12; the first run on a machine builds the cluster's components.

#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test drives programs")]
#![expect(clippy::print_stderr, reason = "long work shows its progress")]

use std::{
    path::Path,
    process::{Command, Output},
    time::Instant,
};

const NODE: &str = "node1";
const PHASES: [&str; 8] = ["kprep", "kfetch", "kpki", "ketcd", "knode", "kcp", "kcni", "kapps"];

/// A lab of this test's own, taken down again whatever happens.
struct Lab;

impl Lab {
    fn command(args: &[&str]) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut command = Command::new(root.join("tests/lab").join(args[0]));
        command.args(&args[1..]).env("LAB", "k8stest");
        command
    }

    fn run(args: &[&str]) -> Output {
        Self::command(args).output().unwrap()
    }

    /// Run, and show everything it said when it fails.
    fn must(args: &[&str]) -> String {
        let began = Instant::now();
        let output = Self::run(args);
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let took = began.elapsed().as_secs_f32();
        assert!(output.status.success(), "{args:?} ({}):\n{stdout}\n{stderr}", output.status);
        eprintln!("{took:6.1} s  {}", args.join(" "));
        stdout.into_owned() + &stderr
    }

    /// Run something that may take half an hour: what it says is seen while it works.
    fn watch(args: &[&str]) {
        let status = Self::command(args).status().unwrap();
        assert!(status.success(), "{args:?} ({status})");
    }

    /// A command in the node: exit code and everything it said.
    fn node(command: &str) -> (i32, String) {
        let output = Self::run(&["lab", "exec", NODE, "--", "bash", "-c", command]);
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&said).into_owned())
    }

    fn node_must(command: &str) -> String {
        let began = Instant::now();
        let (code, said) = Self::node(command);
        assert_eq!(code, 0, "`{command}` in the node:\n{said}");
        eprintln!("{:6.1} s  {command}", began.elapsed().as_secs_f32());
        said
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (_, journal) = Self::node("journalctl --no-pager -n 60 -p warning");
            eprintln!("the node's last warnings:\n{journal}");
        }
        let _ = Self::run(&["lab", "down"]);
    }
}

/// Files that the phases keep, as one digest each, to see that a second run writes none.
const STATE: &str = "cd / && find etc/k8steps etc/kubernetes etc/ssl/etcd etc/etcd.env etc/containerd \
    etc/systemd/system etc/sysctl.d etc/hosts etc/hostname opt/cni usr/local/bin root/.kube \
    var/lib/k8steps run/k8steps -type f ! -name '*.lock' -printf '%p %m %U:%G %T@ %s\\n' | sort";

#[test]
fn a_node_lives_and_dies_and_lives_again() {
    let _lab = Lab;
    Lab::must(&["lab", "down"]); // what an interrupted run left
    Lab::watch(&["lab", "up", NODE]);
    Lab::must(&["install", NODE]);

    Lab::node_must("make -C /root/k8steps up");
    eprintln!("{}", Lab::must(&["lab", "probe", NODE]));

    // A second run changes nothing: not a file, not a restart.
    let starts = "systemctl show -p ActiveEnterTimestampMonotonic etcd containerd kubelet; \
                  kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A -o \
                  'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}'";
    let before = (Lab::node_must(STATE), Lab::node_must(starts));
    for phase in PHASES {
        let said = Lab::node_must(&format!("{phase} apply"));
        assert!(
            said.contains("nothing to do"),
            "the second `{phase} apply` did something:\n{said}"
        );
    }
    let said = Lab::node_must("kprep dns");
    assert!(said.contains("nothing to do"), "the second `kprep dns` did something:\n{said}");
    Lab::node_must("grep -m1 nameserver /etc/resolv.conf | grep -w 10.233.0.3");
    Lab::node_must("getent ahosts kubernetes.default.svc.cluster.local");
    assert_eq!(
        (Lab::node_must(STATE), Lab::node_must(starts)),
        before,
        "the second run left a trace"
    );
    Lab::node_must("make -C /root/k8steps plan");
    Lab::node_must("make -C /root/k8steps status");

    // Apart, and nothing of it runs or lies around.
    Lab::node_must("make -C /root/k8steps down");
    let left = "ls -d /etc/kubernetes /var/lib/etcd /var/lib/kubelet /var/lib/containerd /var/lib/k8steps \
                /etc/ssl/etcd /opt/cni /etc/cni /usr/local/bin/kubelet 2>/dev/null; \
                ps -eo comm= | grep -E '^(etcd|kube|containerd|flannel|coredns|pause)'; \
                ip -o link | grep -E 'cni0|flannel|veth'; \
                iptables-save | grep -E 'KUBE-|FLANNEL|CNI-'; getent passwd kube etcd; true";
    assert_eq!(Lab::node_must(left), "", "left behind by reset");

    // And once more on the same node.
    Lab::node_must("make -C /root/k8steps up");
    eprintln!("{}", Lab::must(&["lab", "probe", NODE]));

    Lab::must(&["lab", "down"]);
    Lab::must(&["lab", "leftovers"]);
}
