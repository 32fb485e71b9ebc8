//! Control groups that a runtime and its containers leave behind.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{Cmd, Error, Result, fs, original::Restored, systemd, wait::nap};

/// Where the hierarchies are mounted (cgroups(7)).
const ROOT: &str = "/sys/fs/cgroup";
/// How long a killed process may take to disappear.
const LIMIT: Duration = Duration::from_secs(10);

/// Kill what still runs in the group `path` (relative to the root of each hierarchy, its last part
/// the name of a systemd unit) and in those below it, and remove them. A unit that runs is left.
pub(crate) fn remove(path: &str) -> Result<Restored> {
    let unit = path.rsplit('/').next().unwrap_or(path);
    let slice = Path::new(unit).extension().is_some_and(|kind| kind == "slice");
    if !slice && systemd::show(unit)?.active {
        return Ok(Restored::Left(format!("{unit} runs")));
    }
    let groups: Vec<_> = hierarchies()?.iter().map(|root| root.join(path)).collect();
    // Before systemd is asked: it would first wait 90 s for those that ignore SIGTERM.
    kill_all(&groups)?;
    if slice {
        // So that it forgets the scopes in it. 5: it never knew the slice.
        Cmd::new("systemctl").args(["stop", unit]).accept(&[0, 1, 5]).run()?;
    }
    for group in &groups {
        for dir in below(group)?.iter().rev() {
            if let Err(error) = std::fs::remove_dir(dir) {
                return Ok(Restored::Left(format!("{} stays: {error}", dir.display())));
            }
        }
    }
    Ok(Restored::Done)
}

/// The one of cgroup v2, or those of v1.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let root = Path::new(ROOT);
    if fs::exists(&root.join("cgroup.controllers")) {
        return Ok(vec![root.into()]);
    }
    let names = fs::names(root)?;
    // `cpu` and its like are links to `cpu,cpuacct`.
    Ok(names.iter().map(|name| root.join(name)).filter(|dir| !dir.is_symlink()).collect())
}

fn kill_all(groups: &[PathBuf]) -> Result<()> {
    let started = Instant::now();
    loop {
        let pids = processes(groups)?;
        if pids.is_empty() {
            return Ok(());
        }
        if started.elapsed() > LIMIT {
            let pids: Vec<_> = pids.iter().map(ToString::to_string).collect();
            let message = format!("processes {} do not end", pids.join(", "));
            return Err(Error::host("processes-left", message)
                .because("they were killed and are still there, most likely waiting for a disk")
                .hint(format!("look with `ps -o pid,stat,wchan,args -p {}`", pids.join(","))));
        }
        for pid in pids {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL); // it may have ended this instant
        }
        nap(Duration::from_millis(20));
    }
}

fn processes(groups: &[PathBuf]) -> Result<BTreeSet<i32>> {
    let mut pids = BTreeSet::new();
    for group in groups {
        for dir in below(group)? {
            let list = fs::read_text(&dir.join("cgroup.procs"))?.unwrap_or_default();
            // 0 is a process of another pid namespace, which is not ours to kill.
            pids.extend(
                list.lines().filter_map(|pid| pid.parse().ok()).filter(|pid: &i32| *pid > 0),
            );
        }
    }
    Ok(pids)
}

/// `group` and the groups in it, outermost first; none when it does not exist.
fn below(group: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![group.to_owned()];
    while let Some(dir) = todo.pop() {
        if !dir.is_dir() || dir.is_symlink() {
            continue;
        }
        todo.extend(fs::names(&dir)?.iter().map(|name| dir.join(name)));
        found.push(dir);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn groups_come_before_those_in_them() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("kubepods.slice");
        fs::create_dir_all(slice.join("a.slice/b.scope")).unwrap();
        let found = super::below(&slice).unwrap();
        let expected = [slice.clone(), slice.join("a.slice"), slice.join("a.slice/b.scope")];
        assert_eq!(found, expected);
        assert!(super::below(&root.path().join("none")).unwrap().is_empty());
    }
}
