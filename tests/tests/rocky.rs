//! The recorded run's machine: a cluster on a Rocky-like node with `NetworkManager`, through a
//! reboot, and off again.

use pipeline_tests::{LEFT, node::Node};

/// What of the machine must be as before: packages, name lookups, the guard that was stopped.
const MACHINE: &str = "rpm -qa | sort; cat /etc/resolv.conf /etc/hosts; hostname; nmcli -t -f DEVICE,TYPE dev; \
    systemctl is-active fapolicyd; ls /etc/yum.repos.d /etc/pki/ca-trust/source/anchors; \
    sha256sum /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem";

/// Wait until everything is as it should be and works. Pods start in their own time after a boot.
const WORKS: &str = "for _ in $(seq 60); do \
    make -C /root/k8steps status >/run/status 2>&1 && exit 0; sleep 2; done; \
    cat /run/status; exit 1";

#[test]
fn a_rocky_node_comes_back_from_a_reboot() {
    let node = Node::boot("k8srocl", "rocky");
    let before = node.must(MACHINE);
    node.must("make -C /root/k8steps up");
    node.probe();
    // Cluster DNS comes first, in NetworkManager's own file, and outside names are still found.
    let lookups = "grep -v '^#' /etc/resolv.conf; getent hosts host.lab.example; \
                   getent ahosts kubernetes.default.svc.cluster.local | head -1";
    let looked_up = node.must(lookups);
    assert_eq!(
        looked_up,
        "search default.svc.cluster.local svc.cluster.local lab.example\n\
         nameserver 10.233.0.3\n\
         nameserver 10.99.0.1\n\
         options ndots:2 timeout:2 attempts:2\n\
         192.0.2.80      host.lab.example\n\
         10.233.0.1      STREAM kubernetes.default.svc.cluster.local\n"
    );
    let trusted = "diff <(openssl x509 -in /etc/ssl/etcd/ssl/ca.pem -noout -fingerprint) \
        <(openssl crl2pkcs7 -nocrl -certfile /etc/pki/tls/certs/ca-bundle.crt \
        | openssl pkcs7 -print_certs | grep -A99 -m1 'CN *= *etcd-ca' | openssl x509 -noout -fingerprint)";
    node.must(trusted);

    node.lab(&["reboot", "node1"]);
    node.must(WORKS);
    node.probe();
    node.must("make -C /root/k8steps plan");
    assert_eq!(node.must(lookups), looked_up, "after the reboot");

    node.must("make -C /root/k8steps down");
    assert_eq!(node.must(LEFT), "", "left behind by reset");
    assert_eq!(node.must(MACHINE), before, "not as it was");
    node.down();
}
