//! What a static pod's container said last, for errors: kubelet keeps it below `/var/log/pods`,
//! so it can be read when nothing answers and without a CRI client.

use std::{path::PathBuf, time::SystemTime};

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

/// `kube-system_POD-NODE_UID/CONTAINER/N.log`, a file for each start of the container.
fn newest_log(host: &Host, pod: &str) -> Option<(SystemTime, PathBuf)> {
    let dir = host.path(LOG_DIR);
    let prefix = format!("kube-system_{pod}-");
    let mut logs = Vec::new();
    for name in fs::names(&dir).ok()?.iter().filter(|name| name.starts_with(&prefix)) {
        let container = dir.join(name).join(pod);
        let paths = fs::names(&container).ok()?.into_iter().map(|log| container.join(log));
        for path in paths.filter(|path| path.extension().is_some_and(|end| end == "log")) {
            let written = std::fs::metadata(&path).and_then(|file| file.modified());
            logs.extend(written.ok().map(|at| (at, path)));
        }
    }
    logs.into_iter().max()
}

/// The message of a CRI log line: `TIME STREAM TAG MESSAGE`.
fn message(line: &str) -> &str {
    line.splitn(4, ' ').nth(3).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::{Component, last_words};
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
        assert_eq!(
            last_words(&host, &Component::ALL).unwrap(),
            "kube-apiserver said last:\nline 2 here\nline 3 here\nline 4 here\nline 5 here\n\
             line 6 here"
        );
    }
}
