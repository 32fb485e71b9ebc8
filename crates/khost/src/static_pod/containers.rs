//! The containers of a static pod, by containerd's own client: they can be asked for when no API
//! server answers.

use std::collections::BTreeSet;

use super::Component;
use crate::{Error, Host, Result, steps::containers::ctr};

impl Component {
    /// Its running containers, by containerd's names: one, or none.
    pub(super) fn running(self, host: &Host) -> Result<Vec<String>> {
        let ctr = || {
            ctr(host)?.ok_or_else(|| {
                Error::host("containerd-stopped", "containerd does not run")
                    .hint("run `knode apply`, then this again")
            })
        };
        let filter = format!(
            "labels.\"io.kubernetes.container.name\"==\"{}\",\
             labels.\"io.kubernetes.pod.namespace\"==\"kube-system\"",
            self.pod()
        );
        let own = ctr()?.args(["containers", "list", "--quiet", &filter]).run()?.stdout;
        let own: Vec<_> = own.split_whitespace().collect();
        let tasks = ctr()?.args(["tasks", "list"]).run()?.stdout;
        Ok(running(&tasks).filter(|name| own.contains(name)).map(str::to_owned).collect())
    }

    /// The pods that its running containers are of. The kubelet makes a static pod's UID out of its
    /// manifest, so another manifest is another pod.
    pub(super) fn pods(self, host: &Host) -> Result<BTreeSet<String>> {
        let mut pods = BTreeSet::new();
        for container in self.running(host)? {
            let Some(ctr) = ctr(host)? else { break };
            // 1: it has ended and is gone meanwhile
            let info = ctr.args(["containers", "info", &container]).accept(&[0, 1]).run()?.stdout;
            let info: serde_json::Value = serde_json::from_str(&info).unwrap_or_default();
            let uid = &info["Labels"]["io.kubernetes.pod.uid"];
            pods.extend(uid.as_str().map(str::to_owned));
        }
        Ok(pods)
    }
}

/// The running ones in what `ctr tasks list` prints: a heading, then `TASK PID STATUS`.
fn running(tasks: &str) -> impl Iterator<Item = &str> {
    tasks.lines().filter_map(|line| {
        let mut columns = line.split_whitespace();
        let task = columns.next()?;
        (columns.nth(1)? == "RUNNING").then_some(task)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::Component, running};
    use crate::Host;

    #[test]
    fn without_containerd_nobody_knows_what_runs() {
        let root = tempfile::tempdir().unwrap();
        let error = Component::ApiServer.running(&Host::new(root.path())).unwrap_err();
        assert_eq!(error.code(), "containerd-stopped");
        assert_eq!(error.chain(), "containerd does not run");
    }

    #[test]
    fn a_container_that_ended_does_not_run() {
        let tasks = "TASK    PID     STATUS    \n0123    4711    RUNNING\n4567    0    STOPPED\n";
        assert_eq!(running(tasks).collect::<Vec<_>>(), ["0123"]);
    }
}
