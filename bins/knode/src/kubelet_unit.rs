//! The kubelet's unit (kubespray: `kubelet.service.j2`), which waits for a cluster to be part of.

use std::time::Duration;

use khost::{
    Cmd, Result, Thing,
    http::{self, Trust},
    steps::{unit::Unit, wait::Wait},
    wait::{Awaited, Seen},
};
use kspec::paths::BIN_DIR;

use crate::{cgroup::Driver, kubelet_config, kubelet_env};

pub(crate) const PATH: &str = "/etc/systemd/system/kubelet.service";
/// What a joining node knows of its cluster before it has a certificate.
pub(crate) const BOOTSTRAP_CONF: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
/// systemd drops variables that are not set, so those of kubespray's that are never set are left
/// out. Without either kubeconfig there is no cluster: the unit is then passed over, where
/// kubespray's starts and fails every ten seconds until `kubeadm init` (systemd.unit(5), `=|`).
pub(crate) const TEXT: &str = "\
[Unit]
Description=Kubernetes Kubelet Server
Documentation=https://kubernetes.io/docs/concepts/overview/components/#kubelet
After=containerd.service
Wants=containerd.service
ConditionPathExists=|/etc/kubernetes/kubelet.conf
ConditionPathExists=|/etc/kubernetes/bootstrap-kubelet.conf

[Service]
EnvironmentFile=-/etc/kubernetes/kubelet.env
ExecStart=/usr/local/bin/kubelet \\
    $KUBE_LOG_LEVEL \\
    $KUBELET_ADDRESS \\
    $KUBELET_HOSTNAME \\
    $KUBELET_ARGS \\
    $KUBELET_CLOUDPROVIDER
Restart=always
RestartSec=10s

[Install]
WantedBy=multi-user.target
";

/// Enabled; kubeadm starts it. From then on it is restarted when what it reads changes.
pub(crate) fn unit(driver: Driver) -> Unit {
    Unit::new("kubelet.service")
        .reads([format!("{BIN_DIR}/kubelet")])
        .reads([kubelet_env::PATH, kubelet_config::PATH])
        .started_elsewhere()
        .leaves([
            // The kubelet makes systemd-logind wait for shutdownGracePeriod (its nodeshutdown).
            Thing::Directory("/etc/systemd/logind.conf.d".into()),
            Thing::File("/etc/systemd/logind.conf.d/99-kubelet.conf".into()),
            Thing::Tree("/var/lib/kubelet".into()),
            Thing::Tree("/var/log/pods".into()),
            Thing::Tree("/var/log/containers".into()),
            Thing::Mounts("/var/lib/kubelet".into()),
            Thing::Cgroup("system.slice/kubelet.service".into()),
            Thing::Cgroup(driver.pods().into()),
            Thing::Containers,
        ])
}

/// The kubelet works, where it runs. Before the node is part of a cluster it does not; and to
/// start one that was stopped since is kcp's business, which knows whether it should run.
pub(crate) fn works() -> Wait {
    let awaited = Awaited {
        id: "kubelet".into(),
        what: "the kubelet on http://127.0.0.1:10248/healthz".into(),
        limit: Duration::from_secs(60),
        look: "journalctl --unit=kubelet --lines=50".into(),
    };
    Wait::new(awaited, |_| if runs()? { healthy() } else { Ok(Seen::Ready) })
}

/// systemctl(1): 0 when active, else 3, or 4 when there is no such unit.
fn runs() -> Result<bool> {
    let asked = Cmd::new("systemctl").args(["is-active", "kubelet.service"]);
    let state = asked.accept(&[0, 1, 2, 3, 4]).run()?.stdout;
    Ok(matches!(state.trim(), "active" | "activating" | "reloading"))
}

fn healthy() -> Result<Seen> {
    let client = http::client(&Trust::default())?;
    Ok(match http::get(&client, "http://127.0.0.1:10248/healthz") {
        Ok(answer) if answer.status == 200 => Seen::Ready,
        Ok(answer) => Seen::not_yet(format!("it answered {}: {}", answer.status, answer.body)),
        Err(reason) => Seen::not_yet(reason),
    })
}

#[cfg(test)]
mod tests {
    use kspec::paths::KUBELET_CONF;

    #[test]
    fn it_is_passed_over_until_there_is_a_cluster() {
        for path in [KUBELET_CONF, super::BOOTSTRAP_CONF] {
            assert!(super::TEXT.contains(&format!("\nConditionPathExists=|{path}\n")), "{path}");
        }
    }

    #[test]
    fn every_variable_it_uses_is_set() {
        use crate::inputs::tests::{inputs, machine};
        let env = crate::kubelet_env::render(&inputs(machine()));
        let used = super::TEXT.split(['$', ' ']).filter(|word| word.starts_with("KUBE"));
        for variable in used.filter_map(|word| word.split_whitespace().next()) {
            assert!(env.contains(&format!("{variable}=")), "{variable}");
        }
    }
}
