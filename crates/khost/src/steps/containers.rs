//! What is left running when kubelet and containerd have done their work.

use std::{path::Path, time::Duration};

use crate::{Cmd, Host, Result, fs, systemd};

/// Stop and remove every container of the `k8s.io` namespace, by containerd's own client. Fine
/// when containerd is not there or does not run: then nothing runs in it.
pub(crate) fn remove_all(host: &Host) -> Result<()> {
    let ctr = host.path("/usr/local/bin/ctr");
    if !fs::exists(&ctr) || !systemd::show("containerd.service")?.active {
        return Ok(());
    }
    let program = ctr.display().to_string();
    let ctr = |args: &[&str]| {
        Cmd::new(&program).args(["--namespace", "k8s.io"]).args(args.iter().copied())
    };
    let list = |args: &[&str]| -> Result<Vec<String>> {
        let names = ctr(args).run()?.stdout;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    };
    // `delete --force` kills first; one call for all of them, since a start of ctr costs most.
    let tasks = list(&["tasks", "list", "--quiet"])?;
    if !tasks.is_empty() {
        let delete = ctr(&["tasks", "delete", "--force"]).args(&tasks);
        delete.accept(&[0, 1]).limit(Duration::from_secs(60)).run()?;
    }
    let containers = list(&["containers", "list", "--quiet"])?;
    if !containers.is_empty() {
        ctr(&["containers", "delete"]).args(&containers).accept(&[0, 1]).run()?;
    }
    Ok(())
}

/// Unmount everything at and below `path`, deepest first.
pub(crate) fn unmount_below(path: &Path) -> Result<()> {
    for mount in fs::mounts_below(path)? {
        Cmd::new("umount").args(["--lazy", &mount]).run()?;
    }
    Ok(())
}
