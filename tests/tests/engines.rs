//! knode on a machine where Docker runs: Debian's own docker.io, containerd and runc.

use pipeline_tests::node::Node;

/// How the other engine is: its units, packages, configuration, and whether it answers.
const THEIRS: &str = "systemctl is-active docker.socket docker.service containerd.service; \
    systemctl is-enabled docker.socket docker.service containerd.service; \
    systemctl show -p FragmentPath containerd.service; dpkg-query -W docker.io containerd runc; \
    sha256sum /etc/containerd/config.toml; ls -l /usr/sbin/runc; docker ps";

#[test]
fn docker_gives_way_with_consent_and_comes_back() {
    let node = Node::boot("k8seng", "docker");
    node.must("kprep apply && kfetch apply");
    let before = node.must(THEIRS);

    let said = node.ends("knode apply", 2, "error[engine-foreign]");
    assert!(said.contains("docker.service (package docker.io, process "), "{said}");
    assert!(said.contains("containerd.service (package containerd, process "), "{said}");
    node.describe("[containerd]\nstop-other-engines = true");
    node.ends("knode apply", 2, "(package runc)");
    assert_eq!(node.must(THEIRS), before, "refused, and something changed");
    node.must("! ls /usr/local/bin/containerd 2>/dev/null");

    // A kubelet that works through it is not this tool's to move, whatever is allowed.
    node.must("systemd-run --quiet --unit=kubelet sleep 600");
    node.ends("knode apply", 2, "error[engine-in-use]: this node's kubelet works through docker");
    node.must("systemctl stop kubelet");

    node.must(
        "sed -i 's/^stop-other-engines.*/&\\nremove-distribution-runc = true/' \
         /etc/k8steps/cluster.toml",
    );
    let planned = node.ends("knode plan", 3, "remove packages: runc, and 2 that need them");
    for package in ["docker.io", "containerd", "runc"] {
        assert!(planned.contains(&format!("\n    -{package}\n")), "{planned}");
    }
    node.must("knode apply");
    node.must("knode plan && knode check");
    let now = node.must("systemctl show -p FragmentPath,ActiveState containerd; which -a runc");
    assert_eq!(
        now,
        "ActiveState=active\nFragmentPath=/etc/systemd/system/containerd.service\n\
         /usr/local/bin/runc\n"
    );

    node.must("knode reset --yes");
    assert_eq!(node.must(THEIRS), before, "not as it was");
}
