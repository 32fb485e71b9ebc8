//! bash completes programs that print their own completion script.

/// A script for `/etc/bash_completion.d`, written by `tool`, that loads what `program completion
/// bash` prints.
///
/// The program is asked on the first use of TAB, not here and not at login: what stands here never
/// depends on the program's version and costs a login nothing. 124 makes bash try again with what
/// the script has set up (bash(1), Programmable Completion).
pub fn bash(tool: &str, program: &str) -> String {
    format!(
        "# Written by {tool}: {program}'s own completion, loaded on first use.
_k8steps_load_{program}() {{
    source <({program} completion bash) && return 124
}}
complete -o default -F _k8steps_load_{program} {program}
"
    )
}

#[cfg(test)]
mod tests {
    use crate::Cmd;

    #[test]
    fn bash_gets_the_programs_own_completion_at_the_first_tab() {
        // The program is a function of bash; so is the completion that it prints.
        let session = format!(
            "kubectl() {{ echo 'mine() {{ COMPREPLY=(get); }}; complete -F mine kubectl'; }}\n\
             {}\
             _k8steps_load_kubectl; echo \"code $?\"; complete -p kubectl\n",
            super::bash("kcp", "kubectl")
        );
        let said = Cmd::new("bash").args(["--norc", "-c", &session]).run().unwrap().stdout;
        assert_eq!(said, "code 124\ncomplete -F mine kubectl\n");
    }
}
