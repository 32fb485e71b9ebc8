//! knode on machines that have engines of others: Debian with its docker.io, containerd and runc, and
//! one with dnf.

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
    let planned = node.ends("knode plan", 3, "remove packages: runc, with 2 more");
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

/// A runc that needs one package and is needed by another, as Rocky's is.
const SPEC: &str = "
Name: engines
Version: 20
Release: 1
BuildArch: noarch
Summary: Packages around runc
License: MIT
%description
Packages around runc.
%package -n runc
Summary: A runc
Requires: container-selinux
%description -n runc
A runc.
%files -n runc
/usr/bin/runc
%package -n podman-with-a-name-that-is-long-enough-for-a-line-of-its-own-in-a-table
Summary: Needs runc
Requires: runc
%description -n podman-with-a-name-that-is-long-enough-for-a-line-of-its-own-in-a-table
Needs runc.
%files -n podman-with-a-name-that-is-long-enough-for-a-line-of-its-own-in-a-table
%install
install -d %{buildroot}/usr/bin
echo distribution >%{buildroot}/usr/bin/runc";

#[test]
fn dnf_takes_runc_away_with_what_needs_it_and_nothing_else() {
    let node = Node::boot("k8srpm", "rocky");
    node.must("kprep apply && kfetch apply");
    node.must(&format!(
        "mkdir repo && cat >engines.spec <<'END'{SPEC}\nEND
rpmbuild --quiet -bb --define '_rpmdir /root/repo' engines.spec
createrepo_c --quiet repo
printf '[own]\\nname=own\\nbaseurl=file:///root/repo\\ngpgcheck=0\\n' >/etc/yum.repos.d/own.repo
dnf --quiet --assumeyes install 'podman-with*' runc-20"
    ));
    let theirs = "rpm -q runc container-selinux; rpm -qa 'podman-with*'; cat /usr/bin/runc";
    let before = node.must(theirs);

    node.ends("knode apply", 2, "error[runc-foreign]");
    node.describe("[containerd]\nremove-distribution-runc = true");
    let planned = node.ends("knode plan", 3, "remove packages: runc, with 1 more");
    assert!(planned.contains("\n    -podman-with-a-name"), "{planned}");
    node.must("knode apply && knode plan");
    node.must("! rpm -q runc && rpm -q container-selinux && ! ls /usr/bin/runc");

    node.must("knode reset --yes");
    assert_eq!(node.must(theirs), before, "not as it was");
}
