//! What a static pod's container said last, for errors: kubelet keeps it below `/var/log/pods`,
//! so it can be read when nothing answers and without a CRI client.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::SystemTime,
};

use super::Component;
use crate::{Host, fs};

const LOG_DIR: &str = "/var/log/pods";
const LINES: usize = 5;

/// The last lines of whichever of `components` wrote last, under a heading; none when none wrote.
pub fn last_words(host: &Host, components: &[Component]) -> Option<String> {
    let (_, pod, log) = components
        .iter()
        .map(|component| component.pod())
        .filter_map(|pod| newest_log(host, pod).map(|(at, log)| (at, pod, log)))
        .max_by_key(|(at, ..)| *at)?;
    let text = fs::read_text(&log).ok()??;
    let lines: Vec<_> = text.lines().map(message).collect();
    let last = lines[lines.len().saturating_sub(LINES)..].join("\n");
    (!last.is_empty()).then(|| format!("{pod} said last:\n{last}"))
}

/// How often the container of each of `component`'s pods has been started, by the directory of
/// its logs, as far as they are still there. The kubelet counts in their names.
pub(super) fn starts(host: &Host, component: Component) -> BTreeMap<PathBuf, usize> {
    let mut newest = BTreeMap::new();
    for log in logs(host, component.pod()) {
        let number = log.file_stem().and_then(|stem| stem.to_str()?.parse::<usize>().ok());
        let dir = log.parent().map(PathBuf::from).unwrap_or_default();
        let most = newest.entry(dir).or_insert(0);
        *most = number.map_or(0, |number| number + 1).max(*most);
    }
    newest
}

/// The UIDs of `component`'s pods that have logs: those that run, and those that lately did.
pub(super) fn uids(host: &Host, component: Component) -> BTreeSet<String> {
    let pods = pods(host, component.pod());
    pods.iter().filter_map(|dir| Some(dir.to_str()?.rsplit_once('_')?.1.to_owned())).collect()
}

/// How many starts there are in `now` that were not in `before`.
pub(super) fn started_since(
    before: &BTreeMap<PathBuf, usize>,
    now: &BTreeMap<PathBuf, usize>,
) -> usize {
    let since = |(dir, starts): (&PathBuf, &usize)| {
        starts.saturating_sub(before.get(dir).copied().unwrap_or(0))
    };
    now.iter().map(since).sum()
}

fn newest_log(host: &Host, pod: &str) -> Option<(SystemTime, PathBuf)> {
    // A container that has just been started has said nothing yet: the one before knows why.
    let written = |path: &PathBuf| {
        let file = std::fs::metadata(path).ok().filter(|file| file.len() > 0)?;
        file.modified().ok()
    };
    logs(host, pod).into_iter().filter_map(|path| Some((written(&path)?, path))).max()
}

/// `kube-system_POD-NODE_UID/CONTAINER/N.log`, a file for each start of the container. A directory
/// that goes away while it is looked at has no logs.
fn logs(host: &Host, pod: &str) -> Vec<PathBuf> {
    let containers = pods(host, pod).into_iter().map(|dir| dir.join(pod));
    let logs = containers.flat_map(|container| {
        let names = fs::names(&container).unwrap_or_default();
        names.into_iter().map(move |name| container.join(name)).collect::<Vec<_>>()
    });
    logs.filter(|path| path.extension().is_some_and(|end| end == "log")).collect()
}

/// The directories with the logs of pods of this name: a static pod's has its node's behind it.
fn pods(host: &Host, pod: &str) -> Vec<PathBuf> {
    let dir = host.path(LOG_DIR);
    let prefix = format!("kube-system_{pod}-");
    let names = fs::names(&dir).unwrap_or_default();
    names.iter().filter(|name| name.starts_with(&prefix)).map(|name| dir.join(name)).collect()
}

/// The message of a CRI log line: `TIME STREAM TAG MESSAGE`.
fn message(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::{Component, last_words, started_since, starts, uids};
    use crate::Host;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "kubelet's hand, in a test")]
    fn the_last_lines_of_the_newest_log_are_told() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        assert_eq!(last_words(&host, &[Component::ApiServer]), None);
        let dir = host.path("/var/log/pods/kube-system_kube-apiserver-node1_0123/kube-apiserver");
        std::fs::create_dir_all(&dir).unwrap();
        let lines: Vec<_> =
            (0..7).map(|n| format!("2026-01-02T03:04:05.6Z stderr F line {n} here\n")).collect();
        std::fs::write(dir.join("0.log"), lines.concat()).unwrap();
        let before = starts(&host, Component::ApiServer);
        assert_eq!(
            last_words(&host, &Component::ALL).unwrap(),
            "kube-apiserver said last:\nline 2 here\nline 3 here\nline 4 here\nline 5 here\n\
             line 6 here"
        );
        std::fs::write(dir.join("3.log"), "").unwrap(); // about to speak
        assert!(last_words(&host, &Component::ALL).unwrap().ends_with("line 6 here"));
        let another =
            host.path("/var/log/pods/kube-system_kube-apiserver-node1_4567/kube-apiserver");
        std::fs::create_dir_all(&another).unwrap();
        std::fs::write(another.join("1.log"), "").unwrap();
        let now = starts(&host, Component::ApiServer);
        assert_eq!(started_since(&before, &now), 5, "four times instead of once, and twice");
        assert!(starts(&host, Component::Scheduler).is_empty());
        assert!(uids(&host, Component::ApiServer).iter().eq(["0123", "4567"]));
    }
}
