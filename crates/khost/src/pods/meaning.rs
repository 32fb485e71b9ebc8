//! What the words mean that a pod, kubelet or the scheduler say, and what to do.

/// Words, any of which tell what is the matter; what it means, with the command that goes further.
pub type Meaning = (&'static [&'static str], &'static str);

/// Of any pod (kubelet `pkg/kubelet/images`, `pkg/kubelet/kuberuntime`; scheduler
/// `pkg/scheduler/framework/plugins`).
const COMMON: [Meaning; 5] = [
    (
        &["ErrImageNeverPull", "ImagePullBackOff", "ErrImagePull"],
        "the container runtime has no such image and cannot fetch it: \
         `knode apply` imports those of the store, `kfetch list` shows them",
    ),
    (
        &["FailedCreatePodSandBox", "NetworkNotReady"],
        "the pod network does not work on its node: `kcni check` there",
    ),
    (
        &["untolerated taint"],
        "no node takes it: see `kubectl describe nodes`, taints of cluster.toml among them",
    ),
    (
        &["Insufficient cpu", "Insufficient memory", "Too many pods"],
        "no node has as much left as it asks for: see `kubectl describe nodes`, and \
         system-reserved and kube-reserved of [kubelet]",
    ),
    (&["OOMKilled"], "it needs more memory than its limit"),
];

/// `said`, and on a line of its own what it means, when that is known; `own` goes before what is
/// true of any pod.
pub fn explained(said: &str, own: &[Meaning]) -> String {
    let says = |meaning: &&Meaning| meaning.0.iter().any(|word| said.contains(word));
    match own.iter().chain(&COMMON).find(says) {
        Some((_, means)) => format!("{said}\n{means}"),
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::explained;

    #[test]
    fn what_is_known_has_a_meaning_and_ones_own_goes_first() {
        let said = "container a waits: ImagePullBackOff";
        assert!(explained(said, &[]).starts_with(&format!("{said}\nthe container runtime")));
        assert!(explained(said, &[(&["a waits"], "patience")]).ends_with("\npatience"));
        assert_eq!(explained("pod a is Pending", &[]), "pod a is Pending");
    }
}
