//! kprep on machines of several kinds, with the programs that really keep them: dnf and rpm,
//! `NetworkManager`, systemd-resolved, resolvconf. Each is prepared, rebooted, and put back.

#![expect(clippy::unwrap_used, reason = "a test drives programs")]

use pipeline_tests::{events, node::Node};

/// Everything on the disk that is somebody's: kind, mode, owner, size, target; and what is in /etc.
/// Without what programs write for themselves: databases, caches, and the copies useradd(8) leaves.
const LISTING: &str = "cd / && find etc usr opt root var/lib -xdev \
    \\( -path etc/machine-id -o -path 'usr/lib/sysimage/rpm' -o -name __pycache__ -o -path 'etc/*-' \
       -o -path var/lib/dnf -o -path var/lib/systemd -o -path var/lib/NetworkManager \\) -prune \
    -o -type d -printf 'd %m %U:%G %p\\n' -o -printf '%y %m %U:%G %s %p %l\\n' | sort; \
    find etc -type f ! -name '*-' ! -name machine-id -exec sha256sum {} + | sort -k2";

/// What was written after /run/before-it.
const WRITTEN: &str = "cd / && find etc usr opt root var/lib/k8steps -xdev -newer /run/before-it \
    ! -name '*.sqlite-*'";

/// How a machine that kprep prepared is, whatever its kind.
const PREPARED: &[(&str, &str)] = &[
    ("hostname; cat /etc/hostname", "node1\nnode1"),
    ("getent hosts node1", "10.99.0.11      node1"),
    ("getent passwd kube | cut -d: -f5-7", "Kubernetes user:/home/kube:/sbin/nologin"),
    ("id -gn kube", "kube-cert"),
    (
        "stat -c '%a %U:%G' /etc/kubernetes /etc/kubernetes/ssl /etc/cni/net.d /opt/cni/bin",
        "755 kube:root\n755 root:root\n755 kube:root\n755 kube:root",
    ),
    ("readlink /etc/kubernetes/pki", "/etc/kubernetes/ssl"),
    (
        "sysctl -n kernel.panic vm.overcommit_memory net.ipv4.ip_local_reserved_ports",
        "10\n1\n30000-32767",
    ),
    ("getent hosts host.lab.example", "192.0.2.80      host.lab.example"),
    ("! getent hosts nowhere.example", ""),
];

/// resolv.conf without its comments, where the lab's own search domain was before.
const RESOLV_CONF: (&str, &str) = (
    "grep '^[a-z]' /etc/resolv.conf",
    "search default.svc.cluster.local svc.cluster.local lab.example\n\
     nameserver 10.99.0.1\n\
     options ndots:2 timeout:2 attempts:2",
);

/// `NetworkManager` leaves a bridge of Kubernetes' name alone, and others not.
const HANDS_OFF: (&str, &str) = (
    "ip link add cni0 type bridge; ip link set cni0 up; \
     for _ in $(seq 50); do \
     nmcli -t -f DEVICE,STATE dev | grep cni0 && break; sleep 0.1; done; \
     ip link del cni0; nmcli -t -f DEVICE,STATE dev | grep -c dns0:conn",
    "cni0:unmanaged\n1",
);

/// A machine of one kind.
struct Machine {
    lab: &'static str,
    flavour: &'static str,
    /// What facts.json says of it: distribution, family, who keeps the resolver configuration.
    facts: [&'static str; 3],
    /// How it is once prepared, beside [`PREPARED`].
    prepared: &'static [(&'static str, &'static str)],
    /// What of it must be as before, beside [`LISTING`].
    untouched: &'static str,
}

impl Machine {
    /// Prepared as planned, twice, through a reboot, and back.
    fn lives(&self) {
        let node = Node::boot(self.lab, self.flavour);
        let before = self.state(&node);
        let validated = node.must("kprep validate --json");
        assert!(!validated.contains("\"verdict\":\"problem\""), "{validated}");
        assert!(validated.contains("\"code\":\"os-unsupported\""), "{validated}");

        let planned = events(&node.ends("kprep plan --json", 3, ""), "planned");
        assert!(!planned.is_empty(), "nothing is planned");
        similar(&self.state(&node), &before); // plan writes nothing
        let changed = events(&node.must("kprep apply --json"), "changed");
        assert_eq!(changed, planned, "apply does something else than planned");
        self.is_prepared(&node);

        node.must("touch /run/before-it");
        node.ends("kprep apply", 0, "nothing to do");
        assert_eq!(node.must(WRITTEN), "", "a second apply writes");
        node.must("kprep check");

        node.lab(&["reboot", "node1"]);
        node.must("kprep check && kprep plan");
        self.is_prepared(&node);

        node.must("kprep reset --yes");
        similar(&self.state(&node), &before);
        node.down();
    }

    fn state(&self, node: &Node) -> String {
        node.must(LISTING) + &node.must(self.untouched)
    }

    fn is_prepared(&self, node: &Node) {
        let facts = node.must("cat /var/lib/k8steps/facts.json");
        let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
        let found = [&facts["os"]["id"], &facts["os"]["family"], &facts["resolver"]];
        assert_eq!(found, self.facts);
        for (script, expected) in PREPARED.iter().chain(self.prepared) {
            assert_eq!(node.must(script).trim_end(), *expected, "`{script}`");
        }
    }
}

/// Two listings, shown by the lines that differ.
fn similar(found: &str, wanted: &str) {
    let lacks = |one: &str, other: &str| {
        let other: std::collections::BTreeSet<_> = other.lines().collect();
        one.lines().filter(|line| !other.contains(line)).collect::<Vec<_>>().join("\n")
    };
    let (more, less) = (lacks(found, wanted), lacks(wanted, found));
    assert!(more.is_empty() && less.is_empty(), "now:\n{more}\nbefore:\n{less}");
}

#[test]
fn debian_with_a_plain_file() {
    let machine = Machine {
        lab: "k8spln",
        flavour: "plain",
        facts: ["debian", "debian", "file"],
        prepared: &[(
            RESOLV_CONF.0,
            "search default.svc.cluster.local svc.cluster.local\n\
             options ndots:2 timeout:2 attempts:2\n\
             nameserver 10.99.0.1",
        )],
        untouched: "cat /etc/resolv.conf; hostname; dpkg-query -W",
    };
    machine.lives();
}

#[test]
fn debian_with_network_manager() {
    let machine = Machine {
        lab: "k8snm",
        flavour: "networkmanager",
        facts: ["debian", "debian", "network-manager"],
        prepared: &[RESOLV_CONF, HANDS_OFF],
        untouched: "cat /etc/resolv.conf; hostname; dpkg-query -W",
    };
    machine.lives();
}

#[test]
fn debian_with_systemd_resolved() {
    let machine = Machine {
        lab: "k8sres",
        flavour: "resolved",
        facts: ["debian", "debian", "systemd-resolved"],
        prepared: &[
            ("resolvectl dns", "Global:\nLink 2 (eth0): 10.99.0.1"),
            (
                "resolvectl domain",
                "Global: default.svc.cluster.local svc.cluster.local\nLink 2 (eth0): lab.example",
            ),
            ("readlink /etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf"),
        ],
        untouched: "cat /etc/resolv.conf; resolvectl dns; resolvectl domain; hostname; dpkg-query -W",
    };
    machine.lives();
}

#[test]
fn debian_with_resolvconf() {
    let machine = Machine {
        lab: "k8srcf",
        flavour: "resolvconf",
        facts: ["debian", "debian", "resolvconf"],
        prepared: &[(
            RESOLV_CONF.0,
            "nameserver 10.99.0.1\n\
             search lab.example default.svc.cluster.local svc.cluster.local\n\
             options ndots:2 timeout:2 attempts:2",
        )],
        untouched: "cat /etc/resolv.conf; hostname; dpkg-query -W",
    };
    machine.lives();
}

#[test]
fn rocky() {
    let machine = Machine {
        lab: "k8srky",
        flavour: "rocky",
        facts: ["rocky", "red-hat", "network-manager"],
        prepared: &[
            RESOLV_CONF,
            HANDS_OFF,
            (
                "rpm -q --whatprovides bash-completion conntrack container-selinux ebtables ipset \
                 iptables nss rsync socat unzip | sed 's/-10.1.*//'",
                "bash-completion\nconntrack-tools\ncontainer-selinux\niptables-nft\nipset\n\
                 iptables-nft\nnss\nrsync\nsocat\nunzip",
            ),
            // One transaction, with what the packages need; of them nothing that was there.
            ("dnf history list | tail -n +3 | awk -F'|' '{ print $4 $5 }' | xargs", "Install 11"),
            (
                "systemctl is-active fapolicyd; systemctl is-enabled fapolicyd; true",
                "inactive\ndisabled",
            ),
            ("grep ^SELINUX= /etc/selinux/config", "SELINUX=permissive"),
            ("grep ^enabled /etc/yum/pluginconf.d/fastestmirror.conf", "enabled=0"),
            ("ls /etc/yum.repos.d", "rocky.repo"),
            ("ls /etc/sysctl.d", "90-k8steps.conf\n99-sysctl.conf\nREADME.sysctl"),
        ],
        untouched: "cat /etc/resolv.conf; hostname; dpkg-query -W; rpm -qa | sort; \
            systemctl is-active fapolicyd; systemctl is-enabled fapolicyd; nmcli -t -f DEVICE,TYPE dev",
    };
    machine.lives();
}

/// dnf.conf(5) as dnf itself reads it.
const PROXY: &str =
    "python3 -c 'import dnf; base = dnf.Base(); base.conf.read(); print(base.conf.proxy)'";

#[test]
fn dnf_is_retried_and_has_the_clusters_proxy() {
    let node = Node::boot("k8sdnf", "rocky");
    let before = node.must("rpm -qa | sort");

    // The repository is away for good: all attempts fail, and nothing is half installed.
    node.must("sed -i s/:8080/:9/ /etc/yum.repos.d/rocky.repo");
    let said =
        node.ends("kprep apply", 1, "error[packages-failed]: cannot install: bash-completion ");
    assert!(said.contains("attempt 4 of 4"), "{said}");
    assert_eq!(node.must("rpm -qa | sort"), before);

    // It comes back in between.
    node.must(
        "kprep apply >/run/said 2>&1 & \
         until grep -q 'attempt 1 of 4' /run/said; do sleep 0.1; done; \
         sed -i s/:9/:8080/ /etc/yum.repos.d/rocky.repo; wait $!",
    );
    node.must("grep 'done: install packages: bash-completion ' /run/said; rpm -q socat");

    // The mirror answers to whole addresses as well, so that it can be its own proxy.
    node.describe("[proxy]\nhttp = \"http://10.99.0.1:8080\"");
    node.must("dnf -q -y remove socat && kprep apply && rpm -q socat");
    assert_eq!(node.must(PROXY), "http://10.99.0.1:8080\n");
    node.must("sed -i '/^.proxy/,+1d' /etc/k8steps/cluster.toml && kprep apply");
    assert_eq!(node.must(PROXY), "\n");
    node.must("! grep proxy /etc/dnf/dnf.conf");
    node.down();
}
