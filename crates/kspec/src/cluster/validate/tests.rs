//! Each rule, broken once.

use crate::{Cluster, Node};

/// The codes of all problems of the example cluster after `change`.
fn problems(change: impl FnOnce(&mut Cluster)) -> Vec<&'static str> {
    let mut cluster = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
    change(&mut cluster);
    cluster.problems().iter().map(|problem| problem.code).collect()
}

/// A node like the first, with a name and an address of its own.
fn second(cluster: &Cluster) -> Node {
    let mut node = cluster.nodes[0].clone();
    node.name = "n2".into();
    node.address = "192.168.10.101".parse().unwrap();
    node
}

#[test]
fn the_example_is_sound() {
    assert!(problems(|_| {}).is_empty());
}

type Change = fn(&mut Cluster);

/// Each change makes exactly the problem beside it, and the page of kprep knows its code.
#[track_caller]
fn each_makes(cases: &[(&str, Change)]) {
    let page = include_str!("../../../../../docs/kprep.md");
    for (code, change) in cases {
        assert_eq!(problems(change), [*code]);
        assert!(page.contains(&format!("`{code}`")), "docs/kprep.md says nothing of `{code}`");
    }
}

#[test]
fn versions_and_names() {
    each_makes(&[
        ("version-unsupported", |c| c.kubernetes.version = semver::Version::new(1, 30, 9)),
        ("version-unsupported", |c| c.kubernetes.version = semver::Version::new(1, 36, 0)),
        ("dns-domain-invalid", |c| c.kubernetes.dns_domain = "Cluster_Local".into()),
        ("cluster-name-invalid", |c| c.kubernetes.cluster_name = "my cluster".into()),
        ("cluster-name-invalid", |c| c.kubernetes.cluster_name.clear()),
    ]);
}

#[test]
fn networks() {
    each_makes(&[
        ("networks-overlap", |c| c.network.pod_cidr = "10.233.0.0/16".parse().unwrap()),
        ("networks-overlap", |c| c.network.pod_cidr = c.network.service_cidr),
        ("network-contains-node", |c| c.nodes[0].address = "10.233.64.9".parse().unwrap()),
        ("network-contains-node", |c| c.nodes[0].access_address = "10.233.0.9".parse().ok()),
        ("cluster-dns-invalid", |c| c.network.cluster_dns = "10.0.0.3".parse().ok()),
        ("cluster-dns-invalid", |c| c.network.cluster_dns = c.service_address()),
        ("node-prefix-invalid", |c| c.network.node_prefix = 16),
        ("max-pods-too-many", |c| c.kubelet.max_pods = 255),
        ("pod-cidr-too-small", |c| {
            c.network.node_prefix = 18;
            let mut node = second(c);
            node.roles = vec![crate::Role::Worker];
            c.nodes.push(node);
        }),
        ("node-ports-invalid", |c| c.network.node_ports = "32767".into()),
        ("node-ports-overlap", |c| c.network.node_ports = "10000-20000".into()),
        ("flannel-vni-invalid", |c| c.network.flannel.vni = 0),
        ("flannel-vni-invalid", |c| c.network.flannel.vni = 10_000_000), // flannel.10000000
        ("flannel-mtu-invalid", |c| c.network.flannel.mtu = 625),
        ("flannel-mtu-invalid", |c| c.network.flannel.mtu = 65_536),
        ("flannel-needs-vxlan", |c| {
            c.network.flannel.backend = crate::cluster::Backend::HostGw;
            c.network.flannel.mtu = 1400;
        }),
        ("flannel-needs-vxlan", |c| {
            c.network.flannel.backend = crate::cluster::Backend::HostGw;
            c.network.flannel.direct_routing = true;
        }),
        ("flannel-interface-twice", |c| {
            c.network.flannel.interface = "eth0".into();
            c.network.flannel.interface_regex = "eth.*".into();
        }),
        ("flannel-port-invalid", |c| c.network.flannel.port = 0),
    ]);
    let host_gw = problems(|c| {
        c.network.flannel.backend = crate::cluster::Backend::HostGw;
        c.network.flannel.vni = 0;
    });
    assert!(host_gw.is_empty(), "without vxlan its number does not matter: {host_gw:?}");
}

#[test]
fn nodes() {
    each_makes(&[
        ("node-name-invalid", |c| c.nodes[0].name = "Node_1".into()),
        ("node-without-role", |c| {
            let mut node = second(c);
            node.roles.clear();
            c.nodes.push(node);
        }),
        ("node-address-invalid", |c| c.nodes[0].address = [0, 0, 0, 0].into()),
        ("node-address-invalid", |c| c.nodes[0].access_address = Some([224, 0, 0, 1].into())),
        ("address-family-differs", |c| c.nodes[0].address = "2001:db8::1".parse().unwrap()),
        ("node-label-invalid", |c| {
            c.nodes[0].labels.insert("--all".into(), String::new());
        }),
        ("node-taint-invalid", |c| c.nodes[0].taints.push("gpu:Never".into())),
        ("no-nodes", |c| c.nodes.clear()),
        ("no-control-plane", |c| c.nodes[0].roles = vec![crate::Role::Etcd]),
        ("no-etcd", |c| c.nodes[0].roles = vec![crate::Role::ControlPlane]),
        ("etcd-even", |c| c.nodes.push(second(c))),
    ]);
    let twice = problems(|c| {
        let mut second = c.nodes[0].clone();
        second.access_address = Some(second.address);
        second.address = "192.168.10.101".parse().unwrap();
        c.nodes.push(second);
    });
    assert_eq!(twice, ["node-name-twice", "node-address-twice", "etcd-even"]);
}

#[test]
fn the_operating_system() {
    each_makes(&[
        ("proxy-invalid", |c| c.proxy.http = "proxy.example:3128".into()),
        ("proxy-invalid", |c| c.proxy.https = "http://me:secret@proxy.example".into()),
        ("no-proxy-invalid", |c| c.proxy.no_proxy = vec!["a.example,b.example".into()]),
        ("accept-problem-unknown", |c| c.host.accept_problems = vec!["port-takn".into()]),
        ("accept-problem-unknown", |c| c.host.accept_problems = vec!["os-unsupported".into()]),
        ("package-invalid", |c| c.host.packages = vec!["--allow-downgrades".into()]),
        ("sysctl-invalid", |c| {
            c.host.sysctls.insert("/etc/passwd".into(), "1".into());
        }),
        ("sysctl-invalid", |c| {
            c.host.sysctls.insert("vm.swappiness".into(), "1\nvm.x = 2".into());
        }),
        ("nameserver-invalid", |c| c.host.resolver.nameservers = vec![[0, 0, 0, 0].into()]),
        ("nameserver-invalid", |c| c.host.resolver.nameservers = vec![[10, 233, 0, 3].into()]),
        ("nameservers-too-many", |c| {
            c.host.resolver.nameservers = (1..5).map(|at| [192, 0, 2, at].into()).collect();
        }),
        ("search-domain-invalid", |c| c.host.resolver.search_domains = vec!["a b".into()]),
        ("resolver-option-invalid", |c| c.host.resolver.options = vec!["ndots:99".into()]),
        ("resolver-option-invalid", |c| c.host.resolver.options = vec!["rotate:1".into()]),
        ("resolver-option-invalid", |c| c.host.resolver.options = vec!["ndots".into()]),
    ]);
    let fine = problems(|c| {
        c.host.accept_problems = vec!["port-taken".into()];
        c.host.resolver.options = ["ndots:2", "timeout:30", "rotate"].map(Into::into).into();
    });
    assert!(fine.is_empty(), "{fine:?}");
}

#[test]
fn components() {
    each_makes(&[
        ("etcd-times-invalid", |c| c.etcd.heartbeat_ms = 0),
        ("etcd-times-invalid", |c| c.etcd.heartbeat_ms = 1001),
        ("etcd-times-invalid", |c| c.etcd.election_ms = 50_001),
        ("path-not-absolute", |c| c.etcd.backup.dir = "backups".into()),
        ("backup-dir-invalid", |c| c.etcd.backup.dir = "/var/lib/etcd/backups".into()),
        ("backup-schedule-invalid", |c| c.etcd.backup.schedule = "daily\nx".into()),
        ("reserved-invalid", |c| {
            c.kubelet.kube_reserved.insert("gpu".into(), "1".into());
        }),
        ("reserved-invalid", |c| {
            c.kubelet.system_reserved.insert("memory".into(), "much".into());
        }),
        ("kubelet-argument-invalid", |c| c.kubelet.extra_args = vec!["--v 4".into()]),
        ("upstream-dns-invalid", |c| c.addons.upstream_dns = vec!["dns.example".into()]),
        ("upstream-dns-loops", |c| c.addons.upstream_dns = vec!["10.233.0.3".into()]),
        ("upstream-dns-loops", |c| c.addons.upstream_dns = vec!["127.0.0.53:53".into()]),
        ("addon-image-invalid", |c| c.addons.coredns.image = Some("coredns:1".into())),
        ("addon-version-invalid", |c| c.addons.metrics_server.version = Some("v 1".into())),
        ("addon-version-twice", |c| {
            c.addons.coredns.image = Some("r.example/coredns:1".into());
            c.addons.coredns.version = Some("1".into());
        }),
        ("path-not-absolute", |c| c.addons.manifests_dir = "manifests".into()),
        ("path-not-absolute", |c| c.download.ca_file = Some("ca.pem".into())),
        ("path-not-absolute", |c| c.download.docker_config = Some("config.json".into())),
        ("download-impossible", |c| c.download.attempts = 0),
    ]);
    let sections = "[[containerd.registry]]\nprefix = 'a'\nhost = [{ url = 'https://b', ca = 'c' }]\n\
                    [[containerd.registry]]\nprefix = 'a'\n\
                    [[download.artifact]]\nname = 'x'\nurls = []\n\
                    [[download.artifact]]\nname = 'x'\nurls = []\n\
                    [[node]]\nname = 'n'\naddress = '192.0.2.1'\nroles = ['etcd', 'control-plane']";
    let cluster = Cluster::parse(&format!("schema = 1\n{sections}")).unwrap();
    let found: Vec<_> = cluster.problems().iter().map(|problem| problem.code).collect();
    assert_eq!(found, ["artifact-twice", "path-not-absolute", "registry-twice"]);
}

#[test]
fn the_control_plane() {
    each_makes(&[
        ("san-invalid", |c| c.control_plane.extra_sans = vec!["https://api".into()]),
        ("endpoint-invalid", |c| c.control_plane.endpoint = Some("https://api:6443".into())),
        ("argument-invalid", |c| {
            c.control_plane.api_server_args.insert("--v".into(), "4".into());
        }),
        ("argument-invalid", |c| {
            c.control_plane.scheduler_args.insert("v=4".into(), String::new());
        }),
        ("duration-invalid", |c| c.control_plane.event_ttl = "1 h".into()),
        ("duration-invalid", |c| c.control_plane.request_timeout = "60".into()),
        ("duration-invalid", |c| c.control_plane.node_monitor_grace_period = "0s".into()),
        ("name-invalid", |c| c.control_plane.admission_plugins = vec!["A,B".into()]),
        ("name-invalid", |c| c.control_plane.tls_cipher_suites = vec!["--x".into()]),
        ("name-invalid", |c| {
            c.kubernetes.feature_gates.insert("A=true".into(), true);
        }),
        ("admission-plugin-contradiction", |c| {
            c.control_plane.admission_plugins = vec!["A".into()];
            c.control_plane.disabled_admission_plugins = vec!["A".into()];
        }),
        ("tls-version-invalid", |c| c.control_plane.tls_min_version = "1.3".into()),
        ("path-not-absolute", |c| c.control_plane.audit.policy_file = Some("p.yaml".into())),
        ("path-not-absolute", |c| c.control_plane.audit.log_dir = "log".into()),
        ("volume-invalid", |c| {
            c.control_plane.api_server_volumes = vec![crate::cluster::Volume {
                name: "oidc".into(),
                host_path: "oidc".into(),
                mount_path: "/oidc".into(),
                writable: false,
            }];
        }),
        ("encryption-resources-invalid", |c| c.control_plane.encryption.resources.clear()),
        ("encryption-resources-invalid", |c| {
            c.control_plane.encryption.resources = vec!["*.*".into()];
        }),
        ("key-algorithm-invalid", |c| c.kubeadm.key_algorithm = "DSA".into()),
        ("validity-invalid", |c| c.kubeadm.certificate_validity_hours = 87601),
        ("init-impossible", |c| c.kubeadm.init_attempts = 0),
    ]);
}

#[test]
fn every_problem_is_listed() {
    let found = problems(|c| {
        c.nodes.push(c.nodes[0].clone());
        c.network.node_ports = "a-b".into();
    });
    let expected = ["node-ports-invalid", "node-name-twice", "node-address-twice", "etcd-even"];
    assert_eq!(found, expected);
}
