//! `kubeadm init`, once, and again where it was interrupted.

mod before;
mod failure;
mod stages;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use khost::{
    Change, Cmd, Context, Host, Result, Status, Step, Thing, fs,
    static_pod::{Component, StaticPod},
    steps::sysctl,
};
use kspec::{
    Cluster,
    cluster::{KubeProxyMode, Swap},
    paths::{CNI_CONF_DIR, MANIFEST_DIR},
    state::{CgroupVersion, Facts, Family},
};

use crate::{encryption, inputs::Inputs, kube_proxy, kubeadm_config, marker::Marker, static_pods};
pub(crate) use before::{
    fit, fit_for_worker, refuse_a_member_of_another_cluster, refuse_another_cluster,
};
use failure::Failure;

/// The step's id.
pub(crate) const ID: &str = "kubeadm:init";

/// Ports that the static pods and the kubelet of an interrupted run hold already.
const PORTS: [u16; 4] = [6443, 10250, 10257, 10259];

/// Whether, in this run, the node becomes part of a cluster: made here, or joined.
pub(crate) fn comes(context: &Context<'_>) -> bool {
    context.changes(ID) || context.changes(crate::join::ID)
}

/// The control plane runs, and kubeadm has done all it does for it.
#[derive(Debug)]
pub(crate) struct Init {
    wanted: Marker,
    inputs: Inputs,
    pods: [StaticPod; 3],
}

impl Init {
    pub(crate) fn new(inputs: &Inputs, config: &str) -> Self {
        let pods = Component::ALL.map(|component| StaticPod::new(component, &inputs.cluster));
        Self { wanted: Marker::wanted(inputs, config), inputs: inputs.clone(), pods }
    }
}

impl Step for Init {
    fn id(&self) -> String {
        ID.into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let host = context.host;
        let there = present(host);
        let what = match (Marker::read(host)?.is_initialised(), there.len()) {
            (true, 3) => return Ok(Status::Done),
            (true, _) => "run kubeadm init again: a static pod's manifest is gone",
            (false, 0) => "run kubeadm init",
            (false, _) => "run kubeadm init again: it was interrupted",
        };
        Ok(Status::Differs(Change::new(what)))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = vec![Marker::thing()];
        things.extend(static_pods::noted(context.host, &self.pods));
        things.extend([kube_proxy::read_at(), encryption::written_with()].map(Thing::File));
        things.extend(touched(context, &self.inputs.cluster, self.inputs.facts.os.family));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        for attempt in 1.. {
            fit(context, &self.inputs)?;
            let Err(failure) = self.attempt(context) else { break };
            if !failure.passing || attempt >= self.inputs.cluster.kubeadm.init_attempts {
                return Err(failure.error);
            }
            let why = failure.error.chain();
            let why = why.lines().next().unwrap_or_default().to_owned();
            context.report.say(&format!("attempt {attempt} failed: {why}; trying again"));
        }
        static_pods::note(context, &self.pods)?;
        kube_proxy::note(context)?;
        encryption::note(host)?;
        self.wanted.write(host)
    }
}

impl Init {
    /// `kubeadm init`, once.
    fn attempt(&self, context: &Context<'_>) -> Result<(), Failure> {
        let mut ignored = ignored(&self.inputs.cluster, &self.inputs.facts);
        ignored.extend(left_behind(context.host)?);
        let limit = self.inputs.cluster.kubeadm.init_timeout_seconds;
        let limit = context.limit.map_or(limit, |limit| limit.as_secs());
        stages::run(context, &self.pods, &ignored, Duration::from_secs(limit))
            .map_err(|error| failure::explained(context.host, &self.inputs, error))
    }
}

/// What a node's part in a cluster brings about on it.
///
/// In this order, so that reset (backwards) stops the kubelet before it ends the pods, ends the
/// pods before their packet filter rules (kube-proxy and kubelet would write them again), and only
/// then takes the files away.
///
/// A node gets the pods of every `DaemonSet` at once, flannel's among them; while other nodes go on
/// with it, these are ended with the rest, and not by kcni.
pub(crate) fn touched(context: &Context<'_>, cluster: &Cluster, family: Family) -> Vec<Thing> {
    let host = context.host;
    let absent = |path: &&str| !fs::exists(&host.path(path));
    let vni = cluster.network.flannel.vni;
    let mut things = vec![
        Thing::Tree("/run/flannel".into()),
        Thing::File(format!("{CNI_CONF_DIR}/10-flannel.conflist").into()),
        Thing::Chains("CNI-".into()),
        Thing::Chains("FLANNEL-".into()),
        Thing::Interface(format!("flannel.{vni}")),
        Thing::Interface("cni0".into()),
    ];
    // Directories that the static pods and kube-proxy mount, and the runtime makes.
    let mounted = kubeadm_config::trust_paths(family).iter().copied().chain([
        MANIFEST_DIR,
        "/etc/ssl/certs",
        "/lib/modules",
    ]);
    things.extend(mounted.filter(absent).map(|path| Thing::Directory(path.into())));
    things.extend(
        ["/var/lib/kubelet/pki", "/usr/libexec/kubernetes", "/etc/kubernetes/tmp"]
            .map(|path| Thing::Tree(path.into())),
    );
    let kubelet = ["config.yaml", "kubeadm-flags.env", "instance-config.yaml"];
    let kubelet = kubelet.map(|name| Path::new("/var/lib/kubelet").join(name));
    things.extend(
        kubelet.into_iter().chain(Component::ALL.map(Component::manifest)).map(Thing::File),
    );
    // kube-proxy sets these.
    let set = [
        "net.ipv4.conf.all.route_localnet",
        "net.netfilter.nf_conntrack_max",
        "net.netfilter.nf_conntrack_tcp_timeout_established",
        "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    ];
    let set = set.into_iter().filter(|key| sysctl::exists(host, key) && writable(host, key));
    things.extend(set.map(|key| Thing::Sysctl(key.into())));
    if cluster.kube_proxy.mode == KubeProxyMode::Ipvs {
        things.push(Thing::Interface("kube-ipvs0".into()));
    }
    things.push(Thing::Chains("KUBE-".into()));
    things.push(Thing::Containers);
    things.push(Thing::Unit("kubelet.service".into()));
    things
}

/// Manifests of static pods that are there.
fn present(host: &Host) -> Vec<PathBuf> {
    let manifests = Component::ALL.into_iter().map(Component::manifest);
    manifests.filter(|manifest| fs::exists(&host.path(manifest))).collect()
}

/// Preflight checks that the operator lets pass, and those the machine is known to fail.
pub(crate) fn ignored(cluster: &Cluster, facts: &Facts) -> Vec<String> {
    let mut ignored = cluster.kubeadm.ignore_preflight_errors.clone();
    if facts.kernel.cgroup == CgroupVersion::V1 {
        ignored.push("SystemVerification".into());
    }
    if !facts.kernel.bridge_netfilter {
        ignored.push("FileContent--proc-sys-net-bridge-bridge-nf-call-iptables".into());
    }
    if cluster.host.swap == Swap::Stays {
        ignored.push("Swap".into());
    }
    ignored
}

/// Checks that fail because an earlier run got so far: its manifests are there, and what runs
/// from them holds the ports. kubeadm writes the manifests again and keeps the rest.
pub(crate) fn left_behind(host: &Host) -> Result<Vec<String>> {
    let there = present(host);
    let kubelet = Cmd::new("systemctl").args(["is-active", "--quiet", "kubelet.service"]);
    let kubelet = kubelet.accept(&[0, 1, 2, 3, 4]).run()?.code == 0;
    let mut checks: Vec<_> = there
        .iter()
        .map(|manifest| {
            format!("FileAvailable-{}", manifest.display().to_string().replace('/', "-"))
        })
        .collect();
    if kubelet || !there.is_empty() {
        checks.extend(PORTS.map(|port| format!("Port-{port}")));
    }
    Ok(checks)
}

/// Whether a kernel parameter can be set from here; one that cannot was not set by kube-proxy.
fn writable(host: &Host, key: &str) -> bool {
    let path = host.path("/proc/sys").join(key.replace('.', "/"));
    std::fs::OpenOptions::new().write(true).open(path).is_ok()
}

#[cfg(test)]
mod tests {
    use super::ignored;
    use crate::kubeadm_config::tests::{inputs, lab};

    #[test]
    fn a_machine_that_fails_checks_has_them_passed_over() {
        let mut inputs = inputs();
        assert!(ignored(&inputs.cluster, &inputs.facts).is_empty());
        lab(&mut inputs);
        inputs.cluster.host.swap = kspec::cluster::Swap::Stays;
        inputs.cluster.kubeadm.ignore_preflight_errors = vec!["HTTPProxyCIDR".into()];
        assert_eq!(
            ignored(&inputs.cluster, &inputs.facts).join(","),
            "HTTPProxyCIDR,SystemVerification,\
             FileContent--proc-sys-net-bridge-bridge-nf-call-iptables,Swap"
        );
    }
}
