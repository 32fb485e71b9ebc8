//! `k8s-certs-renew.timer`: renewal on the first Monday of each month, under kubespray's names
//! (`roles/kubernetes/control-plane/templates/k8s-certs-renew.*.j2`).

use khost::{
    StepList, Thing,
    steps::{absent::Absent, file::File, unit::Unit, unit_off::UnitOff},
};
use kspec::{
    Cluster, Role,
    paths::{BIN_DIR, UNIT_DIR},
};

const TIMER: &str = "k8s-certs-renew.timer";
const SERVICE: &str = "k8s-certs-renew.service";
/// When systemd last ran it: a file that `Persistent=` makes.
const LAST_RUN: &str = "/var/lib/systemd/timers/stamp-k8s-certs-renew.timer";

/// Days from one first Monday to the next, five weeks at most, and a week of grace (kubespray).
const WITHIN: u32 = 42;

/// Have both units, or neither, as `[pki] auto-renew` says.
pub(crate) fn add_to(steps: &mut StepList, cluster: &Cluster) {
    let [service, timer] = [SERVICE, TIMER].map(|name| format!("{UNIT_DIR}/{name}"));
    if cluster.pki.auto_renew {
        steps.add(File::new(&service).text(service_text(cluster)));
        steps.add(File::new(timer).text(timer_text(cluster)));
        let unit = Unit::new(TIMER).reads([service]);
        steps.add(unit.leaves([Thing::File(LAST_RUN.into())]));
    } else {
        steps.add(UnitOff::new(TIMER));
        steps.add(Absent::new(timer));
        steps.add(Absent::new(service));
    }
}

fn service_text(cluster: &Cluster) -> String {
    let within = WITHIN.min(cluster.pki.validity_days.saturating_sub(1));
    format!(
        "[Unit]
Description=Renew the certificates of this Kubernetes node
Documentation=man:kpki(8)
After=network.target etcd.service kubelet.service

[Service]
Type=oneshot
ExecStart={BIN_DIR}/kpki renew --within {within}
"
    )
}

/// Control planes take turns: each waits for its own share of ten minutes each, the same every
/// time.
fn timer_text(cluster: &Cluster) -> String {
    let minutes = 10 * cluster.with_role(Role::ControlPlane).count();
    format!(
        "[Unit]
Description=Renewal of the certificates of this Kubernetes node
Documentation=man:kpki(8)

[Timer]
OnCalendar=Mon *-*-1,2,3,4,5,6,7 03:00:00
RandomizedDelaySec={minutes}min
FixedRandomDelay=yes
Persistent=yes

[Install]
WantedBy=multi-user.target
"
    )
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    #[test]
    fn the_units_are_kubesprays() {
        let mut cluster = Cluster::example("n1", "192.0.2.11".parse().unwrap());
        insta::assert_snapshot!(super::timer_text(&cluster), @r"
        [Unit]
        Description=Renewal of the certificates of this Kubernetes node
        Documentation=man:kpki(8)

        [Timer]
        OnCalendar=Mon *-*-1,2,3,4,5,6,7 03:00:00
        RandomizedDelaySec=10min
        FixedRandomDelay=yes
        Persistent=yes

        [Install]
        WantedBy=multi-user.target
        ");
        insta::assert_snapshot!(super::service_text(&cluster), @r"
        [Unit]
        Description=Renew the certificates of this Kubernetes node
        Documentation=man:kpki(8)
        After=network.target etcd.service kubelet.service

        [Service]
        Type=oneshot
        ExecStart=/usr/local/bin/kpki renew --within 42
        ");
        cluster.pki.validity_days = 40;
        assert!(super::service_text(&cluster).ends_with("--within 39\n"));
    }
}
