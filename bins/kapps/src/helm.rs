//! The helm program (kubespray: `kubernetes-apps/helm`).

use khost::{
    Result, artifacts,
    steps::{file::File, program::Program},
};
use kspec::state::{App, Artifacts};

/// Where kubespray has them, too.
pub(crate) const PROGRAM: &str = "/usr/local/bin/helm";
pub(crate) const COMPLETION: &str = "/etc/bash_completion.d/helm.sh";

/// `/usr/local/bin/helm`, and what `apps.json` says of it.
pub(crate) fn program(store: &Artifacts) -> Result<(Program, App)> {
    let version = artifacts::file(store, "helm")?.version.clone();
    let program = Program::at(PROGRAM, artifacts::program(store, "helm")?);
    Ok((program, App { version, objects: Vec::new() }))
}

/// bash completes helm. helm prints the real script itself; it is asked for on the first use of
/// TAB, so that what stands here never depends on helm's version and costs a login nothing.
pub(crate) fn completion() -> File {
    File::new(COMPLETION).mode(0o755).text(SCRIPT)
}

/// 124 makes bash try again with what the script has set up (bash(1), Programmable Completion).
const SCRIPT: &str = r"# Written by kapps: helm's own completion, loaded on first use.
_k8steps_load_helm() {
    source <(helm completion bash) && return 124
}
complete -o default -F _k8steps_load_helm helm
";
