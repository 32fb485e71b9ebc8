//! Programs of others that run containers: their units, as their packages name them.

/// Container engines, in an order to stop them in: a socket would start its service again, and
/// docker works through containerd.
pub const ENGINES: [&str; 8] = [
    "docker.socket",
    "docker.service",
    "cri-docker.socket",
    "cri-docker.service",
    "crio.service",
    "podman.socket",
    "podman.service",
    CONTAINERD,
];

/// The distribution's or Docker's own: a unit of this name in `/etc` is knode's, and hides theirs.
pub const CONTAINERD: &str = "containerd.service";

/// Whole Kubernetes distributions, each with the command that removes it: what they run does not
/// stop with their units.
pub const CLUSTERS: [(&str, &str); 7] = [
    ("k3s.service", "k3s-uninstall.sh"),
    ("k3s-agent.service", "k3s-agent-uninstall.sh"),
    ("rke2-server.service", "rke2-uninstall.sh"),
    ("rke2-agent.service", "rke2-uninstall.sh"),
    ("k0scontroller.service", "k0s stop && k0s reset"),
    ("k0sworker.service", "k0s stop && k0s reset"),
    ("snap.microk8s.daemon-kubelite.service", "snap remove microk8s"),
];
