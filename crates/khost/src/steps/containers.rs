//! What is left running and mounted when kubelet and containerd have done their work.

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use crate::{Cmd, Error, Host, Result, fs, systemd, wait::nap};

/// Where containerd pins the network namespaces of pods, each `cni-UUID`.
const NAMESPACES: &str = "/run/netns";

/// containerd's own client, when containerd runs.
pub(crate) fn ctr(host: &Host) -> Result<Option<Cmd>> {
    let ctr = host.path("/usr/local/bin/ctr");
    if !fs::exists(&ctr) || !systemd::show("containerd.service")?.active {
        return Ok(None);
    }
    Ok(Some(Cmd::new(ctr.display().to_string()).args(["--namespace", "k8s.io"])))
}

/// The names of all images that pods find here; none when containerd does not run.
pub fn images(host: &Host) -> Result<Option<BTreeSet<String>>> {
    let Some(ctr) = ctr(host)? else { return Ok(None) };
    let names = ctr.args(["images", "list", "--quiet"]).run()?.stdout;
    Ok(Some(names.split_whitespace().map(str::to_owned).collect()))
}

/// Stop and remove every container of the `k8s.io` namespace, by containerd's own client, and the
/// network namespaces of their pods. Where containerd does not run, what it left is killed with
/// its control groups.
pub(crate) fn remove_all(host: &Host) -> Result<()> {
    // `delete --force` kills first; one call for all of them, since a start of ctr costs most.
    for (kind, delete) in [("tasks", &["delete", "--force"][..]), ("containers", &["delete"])] {
        let (Some(list), Some(ctr)) = (ctr(host)?, ctr(host)?) else { break };
        let names = list.args([kind, "list", "--quiet"]).run()?.stdout;
        let names: Vec<_> = names.split_whitespace().collect();
        if !names.is_empty() {
            let cmd = ctr.arg(kind).args(delete.iter().copied()).args(names);
            cmd.accept(&[0, 1]).limit(Duration::from_secs(60)).run()?;
        }
    }
    let namespaces = host.path(NAMESPACES);
    for name in fs::names(&namespaces)?.iter().filter(|name| name.starts_with("cni-")) {
        let path = namespaces.join(name);
        unmount_below(&path)?;
        fs::remove(&path)?;
    }
    Ok(())
}

/// Kill what runs here of the pods with these UIDs. Fine when containerd does not run.
pub(crate) fn kill_pods(host: &Host, uids: &[&str]) -> Result<()> {
    let (Some(ctr), false) = (ctr(host)?, uids.is_empty()) else { return Ok(()) };
    let own = "labels.\"io.cri-containerd.kind\"==\"container\",labels.\"io.kubernetes.pod.uid\"==";
    let filters = uids.iter().map(|uid| format!("{own}\"{uid}\"")); // any of them
    let names = ctr.args(["containers", "list", "--quiet"]).args(filters).run()?.stdout;
    signal(host, names.split_whitespace(), "SIGKILL")
}

/// Tell containers to end.
pub(crate) fn signal(
    host: &Host,
    containers: impl IntoIterator<Item: AsRef<str>>,
    signal: &str,
) -> Result<()> {
    for container in containers {
        if let Some(ctr) = ctr(host)? {
            let kill = ctr.args(["tasks", "kill", "--signal", signal, container.as_ref()]);
            kill.accept(&[0, 1]).run()?; // 1: it has ended meanwhile
        }
    }
    Ok(())
}

/// Forget the images `names`. Fine when containerd does not run: they go with its directory.
pub(crate) fn remove_images(host: &Host, names: &[String]) -> Result<()> {
    let Some(ctr) = ctr(host)? else { return Ok(()) };
    ctr.args(["images", "remove"]).args(names).accept(&[0, 1]).run().map(drop)
}

/// Unmount everything at and below `path`, deepest first.
pub(crate) fn unmount_below(path: &Path) -> Result<()> {
    let started = Instant::now();
    // A mount may go by itself meanwhile, and another appear from below: look again until none is.
    loop {
        let mounts = fs::mounts_below(path)?;
        let Some(first) = mounts.first() else { return Ok(()) };
        if started.elapsed() > Duration::from_secs(20) {
            return Err(Error::host("still-mounted", format!("`{first}` cannot be unmounted"))
                .hint(format!("look with `findmnt {first}` and `fuser -vm {first}`")));
        }
        for mount in &mounts {
            // 32: it is not mounted any more (mount(8))
            Cmd::new("umount").args(["--lazy", mount]).accept(&[0, 1, 32]).run()?;
        }
        if !fs::mounts_below(path)?.is_empty() {
            nap(Duration::from_millis(100));
        }
    }
}
