//! The whole file, as it stands on an ordinary machine and on one that allows less.

use kspec::{
    Cluster, Sha256,
    state::{CgroupVersion, Family, Member},
};
use serde_json::json;

use super::{go_duration, render};
use crate::inputs::Inputs;

/// A node on an ordinary Rocky machine.
pub(crate) fn inputs() -> Inputs {
    let cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
    let mut facts = ktest::facts();
    facts.os.family = Family::RedHat;
    let member = Member { path: "/store/x".into(), sha256: Sha256::of("x") };
    Inputs {
        joins: false,
        document: None,
        node: cluster.nodes[0].clone(),
        facts,
        etcd: ktest::etcd(),
        runtime: ktest::node(),
        etcd_ca: ktest::certificate("ca"),
        etcd_client: ktest::certificate("node-node1"),
        kubectl: member,
        dns_image: Some("registry.k8s.io/coredns/coredns:v1.12.0".into()),
        has_encryption_keys: false,
        local: "https://127.0.0.1:6443".into(),
        endpoint: "192.0.2.11:6443".into(),
        cluster,
    }
}

/// Make the machine a container on cgroup v1 without the rights the lab's node lacks.
pub(crate) fn lab(inputs: &mut Inputs) {
    let facts = &mut inputs.facts;
    facts.os.family = Family::Debian;
    facts.container = true;
    facts.capabilities.sys_resource = false;
    facts.kernel.cgroup = CgroupVersion::V1;
    facts.kernel.bridge_netfilter = false;
    facts.kernel.conntrack_writable = false;
}

#[test]
#[expect(clippy::too_many_lines, reason = "the whole file")]
fn an_ordinary_machine() {
    insta::assert_snapshot!(render(&inputs()).unwrap(), @r#"
    apiVersion: kubeadm.k8s.io/v1beta4
    kind: InitConfiguration
    localAPIEndpoint:
      advertiseAddress: "192.0.2.11"
      bindPort: 6443
    nodeRegistration:
      name: node1
      criSocket: unix:///var/run/containerd/containerd.sock
      imagePullPolicy: IfNotPresent
      imagePullSerial: true
      taints: []
    timeouts:
      controlPlaneComponentHealthCheck: 4m0s
      kubeletHealthCheck: 4m0s
    ---
    apiVersion: kubeadm.k8s.io/v1beta4
    kind: ClusterConfiguration
    clusterName: cluster.local
    encryptionAlgorithm: RSA-2048
    certificateValidityPeriod: 8760h0m0s
    caCertificateValidityPeriod: 87600h0m0s
    etcd:
      external:
        endpoints:
        - https://192.0.2.11:2379
        caFile: /etc/ssl/etcd/ssl/ca.pem
        certFile: /etc/ssl/etcd/ssl/node-node1.pem
        keyFile: /etc/ssl/etcd/ssl/node-node1-key.pem
    dns:
      disabled: true
      imageRepository: registry.k8s.io/coredns
      imageTag: v1.12.0
    networking:
      dnsDomain: cluster.local
      serviceSubnet: 10.233.0.0/18
      podSubnet: 10.233.64.0/18
    kubernetesVersion: v1.33.3
    controlPlaneEndpoint: 192.0.2.11:6443
    certificatesDir: /etc/kubernetes/ssl
    imageRepository: registry.k8s.io
    apiServer:
      extraArgs:
      - name: etcd-compaction-interval
        value: 5m0s
      - name: default-not-ready-toleration-seconds
        value: "300"
      - name: default-unreachable-toleration-seconds
        value: "300"
      - name: anonymous-auth
        value: "true"
      - name: authorization-mode
        value: Node,RBAC
      - name: bind-address
        value: "::"
      - name: endpoint-reconciler-type
        value: lease
      - name: service-node-port-range
        value: 30000-32767
      - name: service-cluster-ip-range
        value: 10.233.0.0/18
      - name: kubelet-preferred-address-types
        value: InternalDNS,InternalIP,Hostname,ExternalDNS,ExternalIP
      - name: profiling
        value: "false"
      - name: request-timeout
        value: 1m0s
      - name: enable-aggregator-routing
        value: "false"
      - name: service-account-lookup
        value: "true"
      - name: storage-backend
        value: etcd3
      - name: allow-privileged
        value: "true"
      - name: event-ttl
        value: 1h0m0s
      extraVolumes:
      - name: etc-pki-tls
        hostPath: /etc/pki/tls
        mountPath: /etc/pki/tls
        readOnly: true
      - name: etc-pki-ca-trust
        hostPath: /etc/pki/ca-trust
        mountPath: /etc/pki/ca-trust
        readOnly: true
      certSANs:
      - kubernetes
      - kubernetes.default
      - kubernetes.default.svc
      - kubernetes.default.svc.cluster.local
      - "10.233.0.1"
      - localhost
      - "127.0.0.1"
      - "::1"
      - node1
      - lb-apiserver.kubernetes.local
      - "192.0.2.11"
    controllerManager:
      extraArgs:
      - name: node-monitor-grace-period
        value: 40s
      - name: node-monitor-period
        value: 5s
      - name: cluster-cidr
        value: 10.233.64.0/18
      - name: service-cluster-ip-range
        value: 10.233.0.0/18
      - name: node-cidr-mask-size-ipv4
        value: "24"
      - name: profiling
        value: "false"
      - name: terminated-pod-gc-threshold
        value: "12500"
      - name: bind-address
        value: "::"
      - name: leader-elect-lease-duration
        value: 15s
      - name: leader-elect-renew-deadline
        value: 10s
      - name: configure-cloud-routes
        value: "false"
      - name: kube-api-qps
        value: "100"
      - name: kube-api-burst
        value: "200"
    scheduler:
      extraArgs:
      - name: bind-address
        value: "::"
      - name: config
        value: /etc/kubernetes/kubescheduler-config.yaml
      - name: profiling
        value: "false"
      extraVolumes:
      - name: kubescheduler-config
        hostPath: /etc/kubernetes/kubescheduler-config.yaml
        mountPath: /etc/kubernetes/kubescheduler-config.yaml
        readOnly: true
    ---
    apiVersion: kubeproxy.config.k8s.io/v1alpha1
    kind: KubeProxyConfiguration
    bindAddress: "0.0.0.0"
    clientConnection:
      acceptContentTypes: ""
      burst: 10
      contentType: application/vnd.kubernetes.protobuf
      kubeconfig: ""
      qps: 5
    clusterCIDR: 10.233.64.0/18
    configSyncPeriod: 15m0s
    conntrack:
      maxPerCore: 32768
      min: 131072
      tcpCloseWaitTimeout: 1h0m0s
      tcpEstablishedTimeout: 24h0m0s
    enableProfiling: false
    healthzBindAddress: 0.0.0.0:10256
    hostnameOverride: node1
    iptables:
      masqueradeAll: false
      masqueradeBit: 14
      minSyncPeriod: 0s
      syncPeriod: 30s
    ipvs:
      excludeCIDRs: []
      minSyncPeriod: 0s
      scheduler: rr
      syncPeriod: 30s
      strictARP: false
      tcpTimeout: 0s
      tcpFinTimeout: 0s
      udpTimeout: 0s
    metricsBindAddress: 127.0.0.1:10249
    mode: iptables
    nodePortAddresses: []
    oomScoreAdj: -999
    portRange: ""
    ---
    apiVersion: kubelet.config.k8s.io/v1beta1
    kind: KubeletConfiguration
    clusterDNS:
    - "10.233.0.3"
    "#);
}

/// Only the lines that differ from the ordinary machine's.
#[test]
fn a_container_that_allows_less() {
    let ordinary = render(&inputs()).unwrap();
    let mut inputs = inputs();
    lab(&mut inputs);
    insta::assert_snapshot!(changed(&ordinary, &render(&inputs).unwrap()), @r#"
      - name: usr-share-ca-certificates
        hostPath: /usr/share/ca-certificates
        mountPath: /usr/share/ca-certificates
      maxPerCore: 0
      min: 0
      tcpCloseWaitTimeout: 0s
      tcpEstablishedTimeout: 0s
    oomScoreAdj: 0
    "#);
}

#[test]
fn the_operators_choices() {
    let ordinary = render(&inputs()).unwrap();
    let mut inputs = inputs();
    inputs.node.roles.retain(|role| *role != kspec::Role::Worker);
    let control_plane = &mut inputs.cluster.control_plane;
    control_plane.api_server_args = [("profiling", "true"), ("audit-log-path", "-")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    control_plane.extra_sans = vec!["api.example".into()];
    inputs.cluster.kube_proxy.mode = kspec::cluster::KubeProxyMode::Ipvs;
    inputs.cluster.kube_proxy.extra =
        [("ipvs".to_owned(), json!({ "strictARP": true })), ("new".into(), json!(["a"]))].into();
    inputs.cluster.kubeadm.init_timeout_seconds = 100;
    let rendered = render(&inputs).unwrap();
    assert!(rendered.contains("name: profiling\n    value: \"true\""), "{rendered}");
    insta::assert_snapshot!(changed(&ordinary, &rendered), @r#"
      taints:
      - key: node-role.kubernetes.io/control-plane
        effect: NoSchedule
      controlPlaneComponentHealthCheck: 1m20s
      kubeletHealthCheck: 1m20s
      - name: audit-log-path
        value: '-'
      - api.example
      strictARP: true
    mode: ipvs
    new:
    - a
    "#);
}

/// What kubespray's template adds for the same choices.
#[test]
fn what_is_off_by_default() {
    let ordinary = render(&inputs()).unwrap();
    let mut inputs = inputs();
    inputs.has_encryption_keys = true;
    inputs.cluster.kubernetes.feature_gates = [("NodeSwap".to_owned(), true)].into();
    let given = &mut inputs.cluster.control_plane;
    given.admission_plugins = vec!["AlwaysPullImages".into(), "EventRateLimit".into()];
    given.disabled_admission_plugins = vec!["StorageObjectInUseProtection".into()];
    given.audit.enabled = true;
    given.audit.webhook_config = Some("/root/webhook.yaml".into());
    given.tls_min_version = "VersionTLS12".into();
    given.tls_cipher_suites = vec!["TLS_A".into(), "TLS_B".into()];
    given.event_ttl = "2h".into();
    given.node_monitor_grace_period = "16s".into();
    given.controller_manager_volumes = vec![kspec::cluster::Volume {
        name: "cloud".into(),
        host_path: "/etc/cloud".into(),
        mount_path: "/cloud".into(),
        writable: true,
    }];
    inputs.cluster.kubeadm.key_algorithm = "ECDSA-P256".into();
    inputs.cluster.kubeadm.certificate_validity_hours = 24;
    insta::assert_snapshot!(changed(&ordinary, &render(&inputs).unwrap()), @r#"
    encryptionAlgorithm: ECDSA-P256
    certificateValidityPeriod: 24h0m0s
      - name: enable-admission-plugins
        value: AlwaysPullImages,EventRateLimit
      - name: disable-admission-plugins
        value: StorageObjectInUseProtection
      - name: encryption-provider-config
        value: /etc/kubernetes/ssl/secrets_encryption.yaml
      - name: audit-policy-file
        value: /etc/kubernetes/audit-policy/apiserver-audit-policy.yaml
      - name: audit-log-path
        value: /var/log/audit/kube-apiserver-audit.log
      - name: audit-log-maxage
        value: "30"
      - name: audit-log-maxbackup
        value: "10"
      - name: audit-log-maxsize
        value: "100"
      - name: audit-webhook-config-file
        value: /etc/kubernetes/audit-policy/apiserver-audit-webhook-config.yaml
      - name: audit-webhook-mode
        value: batch
      - name: audit-webhook-batch-max-size
        value: "100"
      - name: audit-webhook-batch-max-wait
        value: 1s
      - name: feature-gates
        value: NodeSwap=true
      - name: tls-min-version
        value: VersionTLS12
      - name: tls-cipher-suites
        value: TLS_A,TLS_B
        value: 2h
      - name: audit-policy
        hostPath: /etc/kubernetes/audit-policy
        mountPath: /etc/kubernetes/audit-policy
      - name: audit-logs
        hostPath: /var/log/kubernetes/audit
        mountPath: /var/log/audit
        readOnly: false
        value: 16s
      - name: feature-gates
        value: NodeSwap=true
      - name: tls-min-version
        value: VersionTLS12
      - name: tls-cipher-suites
        value: TLS_A,TLS_B
      - name: cloud
        hostPath: /etc/cloud
        mountPath: /cloud
        readOnly: false
      - name: feature-gates
        value: NodeSwap=true
      - name: tls-min-version
        value: VersionTLS12
      - name: tls-cipher-suites
        value: TLS_A,TLS_B
    featureGates:
      NodeSwap: true
    featureGates:
      NodeSwap: true
    "#);
}

#[test]
fn without_an_image_for_the_clusters_dns_none_is_named() {
    let mut inputs = inputs();
    inputs.dns_image = None;
    let rendered = render(&inputs).unwrap();
    assert!(rendered.contains("dns:\n  disabled: true\nnetworking:"), "{rendered}");
}

#[test]
fn durations_are_gos() {
    let text = |seconds| go_duration(std::time::Duration::from_secs(seconds));
    assert_eq!((text(240), text(59)), ("4m0s".into(), "0m59s".into()));
}

/// Lines of `after` that `before` has not, in order.
fn changed(before: &str, after: &str) -> String {
    let before: Vec<_> = before.lines().collect();
    let mut of_new = false; // a value belongs to its name, and may be that of others as well
    let new = after.lines().filter(|line| {
        let value = line.trim_start().starts_with("value: ");
        of_new = if value { of_new } else { !before.contains(line) };
        of_new || !before.contains(line)
    });
    new.collect::<Vec<_>>().join("\n")
}
