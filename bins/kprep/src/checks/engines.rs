//! Other container engines, and other Kubernetes: knode refuses beside them, and says so here
//! before anything is changed.

use std::path::Path;

use khost::{
    Host,
    engines::{CLUSTERS, CONTAINERD, ENGINES},
    systemd,
};
use kspec::paths::UNIT_DIR;

use super::{Found, Outcome, Subject};

pub(super) fn none_but_ours(subject: &Subject<'_>) -> Found {
    let ours = Path::new(UNIT_DIR).join(CONTAINERD);
    let mut running = Vec::new();
    for unit in ENGINES {
        // A unit of containerd in /etc is knode's.
        if systemd::unit_file(subject.host, unit).is_none_or(|file| file == ours) {
            continue;
        }
        match state(subject.host, unit) {
            Ok(Some(state)) => running.push(format!("{unit}: {state}")),
            Ok(None) => {}
            Err(unseen) => return unseen.only(),
        }
    }
    judge(&running, subject.cluster.containerd.stop_other_engines).only()
}

fn judge(running: &[String], consent: bool) -> Outcome {
    if running.is_empty() {
        return Outcome::passed("no other container engine is on this machine");
    }
    let seen = running.join("\n");
    if consent {
        return Outcome::passed("`knode apply` stops the other container engine").seen(seen);
    }
    Outcome::warning("another container engine is on this machine: `knode apply` will refuse")
        .seen(seen)
        .remedy("set stop-other-engines = true in [containerd], or `systemctl disable --now` it")
        .at("containerd.stop-other-engines")
}

#[expect(clippy::unnecessary_wraps, reason = "all checks have one form")]
pub(super) fn no_other_cluster(subject: &Subject<'_>) -> Found {
    let mut found = Vec::new();
    for (unit, remove) in CLUSTERS {
        if systemd::unit_file(subject.host, unit).is_none() {
            continue;
        }
        match state(subject.host, unit) {
            Ok(Some(state)) => found.push(
                Outcome::problem(format!("another Kubernetes is on this machine: {unit}"))
                    .seen(state)
                    .remedy(format!("remove it with `{remove}`, or use another machine")),
            ),
            Ok(None) => {}
            Err(unseen) => found.push(unseen),
        }
    }
    if found.is_empty() {
        found.push(Outcome::passed("no other Kubernetes is on this machine"));
    }
    Ok(found)
}

/// What a unit does, if it runs or starts at boot; where nobody tells, an outcome that says so. A
/// tree has nobody to ask: there, a unit that exists counts.
fn state(host: &Host, unit: &str) -> Result<Option<String>, Outcome> {
    if !host.is_live() {
        return Ok(Some("it is installed".into()));
    }
    match systemd::show(unit) {
        Ok(shown) if shown.active || shown.enabled == "enabled" => Ok(Some(shown.state)),
        Ok(_) => Ok(None),
        Err(error) => Err(Outcome::skipped(format!("whether {unit} runs")).seen(error.chain())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;

    #[test]
    fn another_engine_is_told_of_unless_it_may_be_stopped() {
        assert!(Sample::new(&[]).says("engine-foreign").starts_with("good"));
        let ours = Sample::new(&[("/etc/systemd/system/containerd.service", "")]);
        assert!(ours.says("engine-foreign").starts_with("good"));
        let mut sample = Sample::new(&[
            ("/usr/lib/systemd/system/containerd.service", ""),
            ("/usr/lib/systemd/system/docker.service", ""),
        ]);
        insta::assert_snapshot!(sample.says("engine-foreign"), @"
        warning[engine-foreign]: containerd.stop-other-engines: another container engine is on this machine: `knode apply` will refuse
            seen: docker.service: it is installed
                  containerd.service: it is installed
            hint: set stop-other-engines = true in [containerd], or `systemctl disable --now` it
        ");
        sample.cluster.containerd.stop_other_engines = true;
        assert!(sample.says("engine-foreign").starts_with("good[engine-foreign]: `knode apply`"));
    }

    #[test]
    fn another_cluster_has_its_own_way_out() {
        assert!(Sample::new(&[]).says("cluster-foreign").starts_with("good"));
        let sample = Sample::new(&[("/etc/systemd/system/k3s.service", "")]);
        insta::assert_snapshot!(sample.says("cluster-foreign"), @"
        problem[cluster-foreign]: another Kubernetes is on this machine: k3s.service
            seen: it is installed
            hint: remove it with `k3s-uninstall.sh`, or use another machine
        ");
    }
}
