//! bash completes kubectl.

/// kubespray's place for it (`client` role).
pub(crate) const PATH: &str = "/etc/bash_completion.d/kubectl.sh";

/// kubectl prints the real script itself. It is asked for on the first use of TAB, not here and
/// not at login: what stands here never depends on kubectl's version and costs a login nothing.
/// 124 makes bash try again with what the script has set up (bash(1), Programmable Completion).
pub(crate) const SCRIPT: &str = r"# Written by kcp: kubectl's own completion, loaded on first use.
_k8steps_load_kubectl() {
    source <(kubectl completion bash) && return 124
}
complete -o default -F _k8steps_load_kubectl kubectl
";
