//! `kprep dns` on machines whose name lookups are kept by `NetworkManager`, systemd-resolved,
//! resolvconf and nobody, each the real one; the cluster's DNS is `CoreDNS`, without a cluster.

use pipeline_tests::node::Node;

const LIST: &str = "cat /etc/resolv.conf";

/// `CoreDNS` at the address of the cluster's. It knows the Service that every cluster has, and asks
/// the machine's own servers for the rest, as it does in a pod.
const SERVE: &str = "\
    ip address add 10.233.0.3/32 dev lo
    printf '.:53 {\n bind 10.233.0.3\n hosts {\n 10.233.0.1 kubernetes.default.svc.cluster.local\n \
            fallthrough\n }\n forward . /var/lib/k8steps/resolv.conf\n}\n' >/root/Corefile
    systemd-run --quiet --unit cluster-dns /root/coredns -conf /root/Corefile
    for try in $(seq 50); do ss -Hlun src 10.233.0.3 | grep -q . && exit 0; sleep 0.1; done
    exit 1";

#[test]
fn cluster_dns_is_first_once_it_answers_and_never_in_the_way() {
    for flavour in ["networkmanager", "resolved", "resolvconf", "plain"] {
        let node = Node::boot("k8sdns", flavour);
        let before = node.must(LIST);
        node.must("kprep apply");
        let early = node.must(LIST);
        assert!(early.contains("search default.svc.cluster.local") || flavour == "resolvconf");

        node.ends("kprep dns --timeout 1", 1, "error[timeout]: an answer from 10.233.0.3");
        assert_eq!(node.must(LIST), early, "refused, and changed all the same");

        let cache = std::env::var("K8STEPS_CACHE");
        let cache = cache.unwrap_or_else(|_| "/var/cache/k8steps-lab".into());
        node.lab(&["copy", "node1", &format!("{cache}/bin/coredns/coredns"), "/root/"]);
        node.must(SERVE);
        if flavour == "networkmanager" {
            it_is_taken_out_again_when_the_owner_does_not_write(&node, &early);
        }

        node.must("kprep dns");
        // As any program finds it: by its short name, too.
        for name in ["kubernetes.default.svc.cluster.local", "kubernetes.default"] {
            node.ends(&format!("getent ahosts {name}"), 0, "10.233.0.1 ");
        }
        node.must("! grep 10.233.0.3 /var/lib/k8steps/resolv.conf"); // what pods are given
        for again in ["kprep dns", "kprep apply", "kprep plan", "kprep dns --plan"] {
            node.ends(again, 0, "nothing to do");
        }
        node.must("kprep check");

        node.must("kprep dns --undo");
        assert_eq!(node.must(LIST), early, "it is not taken out");
        node.must("kprep dns");
        node.must("kprep reset --yes");
        assert_eq!(node.must(LIST), before, "reset leaves something");
        node.down();
    }
}

/// A mounted file is one that `NetworkManager` cannot replace, whatever it was told.
fn it_is_taken_out_again_when_the_owner_does_not_write(node: &Node, early: &str) {
    node.must("cp /etc/resolv.conf /root/fixed && mount --bind /root/fixed /etc/resolv.conf");
    node.ends("kprep dns --timeout 3", 1, "error[cluster-dns-taken-back]");
    node.must("umount /etc/resolv.conf && ! test -e /var/lib/k8steps/cluster-dns");
    node.ends("kprep plan", 0, "nothing to do");
    assert_eq!(node.must(LIST), early);
}
