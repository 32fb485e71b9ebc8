//! The scheduler's configuration (kubespray `kubescheduler-config.yaml`).

/// Where the scheduler's pod finds it.
pub(crate) const PATH: &str = "/etc/kubernetes/kubescheduler-config.yaml";

/// No profiles, no extenders: only the leases, shorter than the built-in ones.
pub(crate) const CONFIG: &str = "\
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
clientConnection:
  kubeconfig: /etc/kubernetes/scheduler.conf
leaderElection:
  leaseDuration: 15s
  renewDeadline: 10s
";
