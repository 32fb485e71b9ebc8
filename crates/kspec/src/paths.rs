//! Where things are on a node. kubespray's places (`kubespray_defaults`), so that an operator who
//! knows it finds everything where it was; what kubespray has no place for lives under `k8steps`.

/// What the operator wrote: `cluster.toml` and `artifacts.lock`.
pub const CONFIG_DIR: &str = "/etc/k8steps";
/// The cluster description.
pub const CLUSTER_TOML: &str = "/etc/k8steps/cluster.toml";
/// What the tools remember: state files, journal, store.
pub const STATE_DIR: &str = "/var/lib/k8steps";
/// Downloaded blobs as one OCI image layout, and unpacked archives.
pub const STORE_DIR: &str = "/var/lib/k8steps/store";
/// Programs.
pub const BIN_DIR: &str = "/usr/local/bin";
/// kubeadm's and kubelet's configuration (`kube_config_dir`).
pub const KUBE_DIR: &str = "/etc/kubernetes";
/// kubeadm's certificates (`kube_cert_dir`).
pub const KUBE_CERT_DIR: &str = "/etc/kubernetes/ssl";
/// What the API server goes by for its audit log (`audit_policy_file`).
pub const AUDIT_DIR: &str = "/etc/kubernetes/audit-policy";
/// Static pods.
pub const MANIFEST_DIR: &str = "/etc/kubernetes/manifests";
/// The administrator's kubeconfig.
pub const ADMIN_CONF: &str = "/etc/kubernetes/admin.conf";
/// The kubelet's own kubeconfig; it exists once the node has joined a cluster.
pub const KUBELET_CONF: &str = "/etc/kubernetes/kubelet.conf";
/// What `kcp join` was given, 0600, until `kcp apply` has joined.
pub const JOIN_DOCUMENT: &str = "/etc/kubernetes/kubeadm-join.json";
/// etcd's certificates (`etcd_cert_dir`).
pub const ETCD_CERT_DIR: &str = "/etc/ssl/etcd/ssl";
/// etcd's data (`etcd_data_dir`).
pub const ETCD_DATA_DIR: &str = "/var/lib/etcd";
/// containerd's configuration (`containerd_cfg_dir`).
pub const CONTAINERD_DIR: &str = "/etc/containerd";
/// containerd's socket; kubespray writes `/var/run`, which is the same place.
pub const CRI_SOCKET: &str = "unix:///var/run/containerd/containerd.sock";
/// CNI programs.
pub const CNI_BIN_DIR: &str = "/opt/cni/bin";
/// CNI configuration.
pub const CNI_CONF_DIR: &str = "/etc/cni/net.d";
/// Written by flanneld once the node has a subnet.
pub const FLANNEL_SUBNET_ENV: &str = "/run/flannel/subnet.env";
/// systemd units of the administrator.
pub const UNIT_DIR: &str = "/etc/systemd/system";
