//! Whole-pipeline tests live in this package's `tests/` targets; the lab they use is in `lab/`.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests drive programs")]
#![expect(clippy::print_stderr, clippy::missing_panics_doc, reason = "only tests call this")]

pub mod node;

/// A script that tells what of a cluster is left on a node: nothing, after `make down`.
pub const LEFT: &str = "ls -d /etc/kubernetes /var/lib/etcd /var/lib/kubelet /var/lib/containerd \
    /var/lib/k8steps /etc/ssl/etcd /opt/cni /etc/cni /usr/local/bin/kubelet 2>/dev/null; \
    ps -eo comm= | grep -E '^(etcd|kube|containerd|flannel|coredns|pause)'; \
    ip -o link | grep -E 'cni0|flannel|veth'; \
    iptables-save | grep -E 'KUBE-|FLANNEL|CNI-'; getent passwd kube etcd; true";

/// The phases, in the order in which they are applied.
pub const PHASES: [&str; 8] = ["kprep", "kfetch", "kpki", "ketcd", "knode", "kcp", "kcni", "kapps"];

/// The next number of a row that need not be unguessable, only the same for the same seed: not 0.
pub fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The steps that a run with `--json` tells of with `event`, in order. `said` is what the run said.
pub fn events(said: &str, event: &str) -> Vec<String> {
    let lines = said.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["event"] == event)
        .map(|line| line["step"].as_str().unwrap().to_owned())
        .collect()
}
