//! A whole life of a node in the lab: install, prove, repeat without a change, take apart, install
//! again; up and down are asked for twice at the same moment. Everything in it is real: systemd,
//! etcd, containerd, kubelet, kubeadm, pods.
//!
//! Needs root and Debian 12; the first run on a machine builds the cluster's components.

use pipeline_tests::{LEFT, PHASES, node::Node};

/// Files that the phases keep, as one digest each, to see that a second run writes none.
const STATE: &str = "cd / && find etc/k8steps etc/kubernetes etc/ssl/etcd etc/etcd.env etc/containerd \
    etc/systemd/system etc/sysctl.d etc/hosts etc/hostname opt/cni usr/local/bin root/.kube \
    var/lib/k8steps run/k8steps -type f ! -name '*.lock' -printf '%p %m %U:%G %T@ %s\\n' | sort";

/// Two pipelines at the same moment: one is refused and names the other, in the middle of which
/// nobody else may change the machine; and that one ends well.
fn twice_at_once(target: &str) -> String {
    format!(
        r#"cd /root/k8steps
        trap 'tail -n 30 /tmp/{target}-[ab]' EXIT
        refused() {{ # CODE COMMAND...
          local code=0 said
          said=$("${{@:2}}" 2>&1) || code=$?
          [ $code = $1 ] && grep -qF "is at work (pid $pid)" <<<"$said" && return
          echo "$*: $code: $said"
          exit 1
        }}
        make {target} >/tmp/{target}-a 2>&1 & a=$!
        make {target} >/tmp/{target}-b 2>&1 & b=$!
        code=0
        wait -n -p first || code=$?
        if [ $first = $a ]; then second=$b file=/tmp/{target}-a; else second=$a file=/tmp/{target}-b; fi
        pid=$(sed -n 's/^error\[already-running\]: .* is at work (pid \([0-9]*\))$/\1/p' $file)
        [ $code = 2 ] && [ "$(cat /proc/$pid/comm)" = kprep ] || exit 1
        refused 2 make up
        refused 2 make down
        refused 1 kprep reset --yes
        refused 1 kapps apply
        wait $second"#
    )
}

#[test]
fn a_node_lives_and_dies_and_lives_again() {
    let node = Node::boot("k8stest", "plain");
    node.must(&twice_at_once("up"));
    node.probe();

    // A second run changes nothing: not a file, not a restart.
    let starts = "systemctl show -p ActiveEnterTimestampMonotonic etcd containerd kubelet; \
                  kubectl --kubeconfig /etc/kubernetes/admin.conf get pods -A -o \
                  'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{\"\\n\"}{end}'";
    let before = (node.must(STATE), node.must(starts));
    for phase in PHASES {
        let said = node.must(&format!("{phase} apply"));
        assert!(
            said.contains("nothing to do"),
            "the second `{phase} apply` did something:\n{said}"
        );
    }
    let said = node.must("kprep dns");
    assert!(said.contains("nothing to do"), "the second `kprep dns` did something:\n{said}");
    node.must("grep -m1 nameserver /etc/resolv.conf | grep -w 10.233.0.3");
    node.must("getent ahosts kubernetes.default.svc.cluster.local");
    assert_eq!((node.must(STATE), node.must(starts)), before, "the second run left a trace");
    node.must("make -C /root/k8steps plan");
    node.must("make -C /root/k8steps status");

    // Apart, and nothing of it runs or lies around.
    node.must(&twice_at_once("down"));
    assert_eq!(node.must(LEFT), "", "left behind by reset");
    node.must("test ! -e /run/k8steps");

    // And once more on the same node.
    node.must("make -C /root/k8steps up");
    node.probe();

    node.down();
}
