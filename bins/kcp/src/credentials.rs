//! The cluster's certificates, keys and kubeconfigs, which kubeadm issues.

mod found;

use std::path::PathBuf;

use khost::{
    Change, Context, Error, Host, Result, Status, Step, Thing, fs,
    static_pod::{self, StaticPod},
};
use kspec::paths::{KUBE_CERT_DIR, KUBE_DIR};

use self::found::{all, certificate, damaged, missing, unusable};
pub(crate) use self::found::{is_kubeconfig, is_whole};
use crate::{etcd, inputs::Inputs, kubeadm, kubeadm_config, marker::Marker};

/// The step's id.
pub(crate) const ID: &str = "kubeadm:credentials";

/// Seconds for one kubeadm phase: it makes a handful of RSA keys.
const LIMIT: u64 = 120;

/// What cannot be made again for a cluster that exists.
const IRREPLACEABLE: [&str; 6] =
    ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.pub", "sa.key"];

/// The last two only where the cluster is made: a kubelet that joins gets its own by a token.
const KUBECONFIGS: [&str; 5] =
    ["admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf", "super-admin.conf"];

/// All of them are there and whole, and the API server's certificate has the wanted names.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// Digest of the names in the API server's certificate.
    names: String,
    kubeconfigs: &'static [&'static str],
    inputs: Inputs,
}

impl Credentials {
    pub(crate) fn new(inputs: &Inputs) -> Self {
        let kubeconfigs = if inputs.joins { &KUBECONFIGS[..3] } else { &KUBECONFIGS[..] };
        Self { names: Marker::wanted(inputs, "").names, kubeconfigs, inputs: inputs.clone() }
    }
}

impl Step for Credentials {
    fn id(&self) -> String {
        ID.into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let marker = Marker::read(context.host)?;
        let missing = missing(context.host, self.kubeconfigs);
        let damaged = damaged(context.host, self.kubeconfigs)?;
        refuse_a_second_authority(&marker, &missing, &damaged)?;
        let ca = certificate("ca.crt");
        if !self.inputs.joins
            && (missing.contains(&ca) || damaged.iter().any(|(path, _)| *path == ca))
        {
            refuse_objects_of_another(context.host, &self.inputs)?;
        }
        Ok(if !(missing.is_empty() && damaged.is_empty()) {
            let what = if missing.len() == all(self.kubeconfigs).count() {
                "let kubeadm issue the cluster's certificates, keys and kubeconfigs".into()
            } else {
                let damaged =
                    damaged.iter().map(|(path, why)| format!("{} ({why})", path.display()));
                let list = missing.iter().map(|path| path.display().to_string()).chain(damaged);
                format!("let kubeadm issue {}", list.collect::<Vec<_>>().join(", "))
            };
            Status::Differs(Change::new(what))
        } else if marker.names == self.names {
            Status::Done
        } else if marker.names.is_empty() {
            Status::Differs(Change::new("note the names in the API server's certificate"))
        } else {
            Status::Differs(Change::new("issue the API server's certificate anew, for other names"))
        })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let absent = |dir: &&str| !fs::exists(&context.host.path(dir));
        let mut things: Vec<_> = [KUBE_DIR, KUBE_CERT_DIR]
            .iter()
            .filter(|dir| absent(dir))
            .map(|dir| Thing::Directory(dir.into()))
            .collect();
        things.push(Marker::thing());
        things.extend(all(self.kubeconfigs).map(Thing::File));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        kubeadm::validate(&host.path(kubeadm_config::PATH))?;
        let mut marker = Marker::read(host)?;
        for path in unusable(host, self.kubeconfigs)? {
            fs::remove(&host.path(path))?;
        }
        if marker.names != self.names {
            // An existing certificate with other names would make kubeadm stop.
            for name in ["apiserver.crt", "apiserver.key"] {
                fs::remove(&host.path(certificate(name)))?;
            }
        }
        kubeadm::run(context, &["init", "phase", "certs", "all"], LIMIT)?;
        let one_by_one = self.kubeconfigs.iter().map(|name| name.trim_end_matches(".conf"));
        let phases: Vec<_> =
            if self.kubeconfigs == KUBECONFIGS { vec!["all"] } else { one_by_one.collect() };
        for phase in phases {
            kubeadm::run(context, &["init", "phase", "kubeconfig", phase], LIMIT)?;
        }
        marker.names.clone_from(&self.names);
        marker.write(host)?;
        let pods = static_pod::Component::ALL.map(|one| StaticPod::new(one, &self.inputs.cluster));
        static_pod::try_at_once(host, &pods)
    }
}

/// A new authority or a new key for service accounts would cut off everything that runs.
fn refuse_a_second_authority(
    marker: &Marker,
    missing: &[PathBuf],
    damaged: &[(PathBuf, &str)],
) -> Result<()> {
    let gone = missing.iter().map(|path| (path, "is gone".to_owned()));
    let useless = damaged.iter().map(|(path, why)| (path, format!("cannot be used ({why})")));
    let lost =
        gone.chain(useless).find(|(path, _)| IRREPLACEABLE.iter().any(|name| path.ends_with(name)));
    match lost {
        Some((lost, how)) if marker.is_initialised() => {
            let lost = lost.display();
            Err(Error::host("cluster-key-lost", format!("`{lost}` {how}, and a cluster uses it"))
                .because("a new one would cut off every node, pod and user of this cluster")
                .hint(format!(
                    "restore `{lost}` from a backup, or give the cluster up with `kcp reset`"
                )))
        }
        _ => Ok(()),
    }
}

/// Objects in etcd that were made under another authority: their tokens and certificates would be
/// worth nothing, their nodes strangers. Whether there are any is not known while etcd is silent.
fn refuse_objects_of_another(host: &Host, inputs: &Inputs) -> Result<()> {
    if etcd::holds_a_cluster(host, inputs)? != Some(true) {
        return Ok(());
    }
    let ca = certificate("ca.crt");
    Err(Error::host("cluster-there-already", "etcd holds the objects of a cluster already")
        .because(format!("they were made under another authority than the one `{}` would be", ca.display()))
        .hint("bring that cluster's /etc/kubernetes/ssl back, or empty etcd: `ketcd reset`, `ketcd apply`"))
}
