//! The system calls of a tool, and of every program it runs, that change files.

/// Where strace writes.
pub(crate) const FILE: &str = "/root/drift.trace";

/// The second `apply` of the phase under strace. A question mark: not every architecture has the call.
pub(crate) fn traced(phase: &str) -> String {
    const CALLS: &str = "execve,?open,openat,?openat2,?creat,?rename,renameat,?renameat2,?unlink,\
        unlinkat,?rmdir,?mkdir,mkdirat,?mknod,mknodat,?link,linkat,?symlink,symlinkat,?chmod,fchmod,\
        fchmodat,?chown,fchown,?lchown,fchownat,truncate,ftruncate,fallocate,utimensat,?utime,?utimes,\
        ?futimesat,setxattr,lsetxattr,fsetxattr,removexattr,lremovexattr,fremovexattr,mount,umount2";
    format!(
        "strace --follow-forks --seccomp-bpf --decode-fds=path --string-limit=4096 \
         --output={FILE} --trace={CALLS} {phase} apply"
    )
}

/// The calls of a trace that changed something and that nobody is told may be: locks, `/dev/null`,
/// what is no file, the process itself, and a directory in /tmp that is gone; `tmp` is what is there.
pub(crate) fn writes(traced: &str, tmp: &str) -> Vec<String> {
    let lines = traced.lines().filter(|line| changes(line));
    lines.filter(|line| !allowed(line) && !vanished(line, tmp)).map(str::to_owned).collect()
}

fn changes(line: &str) -> bool {
    let call = line.split_once(' ').map_or("", |(_, call)| call.trim_start());
    // A thread that is gone before strace could read its call has not made it: `???(`.
    let other = ["execve(", "<...", "+++", "---", "strace", "???("];
    if other.iter().any(|other| call.starts_with(other)) || line.contains(" = -1 E") {
        return false; // what failed has changed nothing
    }
    let to_write = ["O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC"];
    !call.starts_with("open") || to_write.iter().any(|flag| line.contains(flag))
}

fn allowed(line: &str) -> bool {
    let lock = line.contains("/run/k8steps") && line.contains(".lock\"");
    let nowhere = ["\"/dev/null\"", "\"/dev/tty\"", "\"/proc/self/", "<pipe:[", "<socket:["];
    lock || nowhere.iter().any(|place| line.contains(place))
}

fn vanished(line: &str, tmp: &str) -> bool {
    let Some((_, rest)) = line.split_once("/tmp/") else { return false };
    let name = rest.split(['/', '"', '>', ' ']).next().unwrap_or_default();
    !tmp.lines().any(|there| there.strip_prefix("/tmp/") == Some(name))
}

#[test]
fn a_write_is_told_from_a_look() {
    let trace = "7 openat(AT_FDCWD</>, \"/etc/hosts\", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>\n\
        7 openat(5</run/k8steps>, \"kcp.lock\", O_RDWR|O_CREAT, 0600) = 6</run/k8steps/kcp.lock>\n\
        7 mkdir(\"/dev/null/http\", 0777) = -1 ENOTDIR (Not a directory)\n\
        7 mkdirat(AT_FDCWD</>, \"/tmp/gone\", 0700) = 0\n\
        7 mkdirat(AT_FDCWD</>, \"/tmp/kept\", 0700) = 0\n\
        7 <... openat resumed>) = 3</etc/hosts>\n\
        9 ???( <unfinished ...>\n\
        7 fchmod(3</etc/hosts>, 0644) = 0\n\
        8 openat(AT_FDCWD</>, \"/etc/hosts\", O_WRONLY <unfinished ...>\n";
    let found = writes(trace, "/tmp/kept");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].contains("/tmp/kept") && found[1].contains("fchmod"), "{found:?}");
}
