//! The programs of the runtime and the kubelet, in `/usr/local/bin` as kubespray has them.

use khost::{Error, Result, steps::program::Program};

use crate::inputs::Inputs;

/// Files of the lock that are one program each, installed under the file's own name. kubeadm stands
/// beside the kubelet, whose version must be its own (kubespray's `kubernetes/node` role).
const SINGLE: [&str; 5] = ["runc", "crictl", "nerdctl", "kubelet", "kubeadm"];

/// All of them; every program in containerd's archive is wanted.
pub(crate) fn all(inputs: &Inputs) -> Result<Vec<Program>> {
    let mut programs = Vec::new();
    for name in SINGLE {
        let mut members = inputs.file(name)?.members.values();
        let (Some(member), None) = (members.next(), members.next()) else {
            return Err(Error::input("artifact-unfit", format!("`{name}` is not one program"))
                .because(format!("artifacts.json must have exactly one member in `{name}`"))
                .hint(format!("correct the members of `{name}` in artifacts.lock")));
        };
        programs.push(Program::new(name, member));
    }
    for (name, member) in &inputs.file("containerd")?.members {
        programs.push(Program::new(name, member));
    }
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use khost::Step as _;

    use crate::inputs::tests::{inputs, machine};

    #[test]
    fn a_release_binary_loses_its_architecture_and_archives_keep_their_names() {
        let programs = super::all(&inputs(machine())).unwrap();
        let ids: Vec<_> = programs.iter().map(khost::Step::id).collect();
        let names = ["runc", "crictl", "nerdctl", "kubelet", "kubeadm"].iter();
        let names = names.chain(&["containerd", "containerd-shim-runc-v2", "ctr"]);
        let expected: Vec<_> = names.map(|name| format!("program:/usr/local/bin/{name}")).collect();
        assert_eq!(ids, expected);
        assert!(!programs[0].needs_machine());
    }

    #[test]
    fn two_programs_where_one_is_meant_are_refused() {
        let mut inputs = inputs(machine());
        let ctr = inputs.artifacts.files["containerd"].members["ctr"].clone();
        let runc = inputs.artifacts.files.get_mut("runc").unwrap();
        runc.members.insert("other".into(), ctr);
        assert_eq!(super::all(&inputs).unwrap_err().code(), "artifact-unfit");
    }
}
