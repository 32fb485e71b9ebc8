//! The cluster's certificates, keys and kubeconfigs, which kubeadm issues.

use std::path::{Path, PathBuf};

use khost::{Change, Context, Error, Host, Result, Status, Step, Thing, fs};
use kspec::paths::{KUBE_CERT_DIR, KUBE_DIR};

use crate::{etcd, inputs::Inputs, kubeadm, kubeadm_config, marker::Marker};

/// The step's id.
pub(crate) const ID: &str = "kubeadm:credentials";

/// Seconds for one kubeadm phase: it makes a handful of RSA keys.
const LIMIT: u64 = 120;

/// Certificate and key, or public and private key. kubeadm makes no etcd ones when etcd is not
/// its own.
const PAIRS: [(&str, &str); 6] = [
    ("ca.crt", "ca.key"),
    ("apiserver.crt", "apiserver.key"),
    ("apiserver-kubelet-client.crt", "apiserver-kubelet-client.key"),
    ("front-proxy-ca.crt", "front-proxy-ca.key"),
    ("front-proxy-client.crt", "front-proxy-client.key"),
    ("sa.pub", "sa.key"),
];

/// What cannot be made again for a cluster that exists.
const IRREPLACEABLE: [&str; 4] = ["ca.crt", "front-proxy-ca.crt", "sa.pub", "sa.key"];

/// The last two only where the cluster is made: a kubelet that joins gets its own by a token.
const KUBECONFIGS: [&str; 5] =
    ["admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf", "super-admin.conf"];

/// All of them are there, and the API server's certificate has the wanted names.
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
        refuse_a_second_authority(&marker, &missing)?;
        if !self.inputs.joins && missing.contains(&certificate("ca.crt")) {
            refuse_objects_of_another(context.host, &self.inputs)?;
        }
        Ok(if !missing.is_empty() {
            let what = if missing.len() == all(self.kubeconfigs).count() {
                "let kubeadm issue the cluster's certificates, keys and kubeconfigs".into()
            } else {
                let list: Vec<_> = missing.iter().map(|path| path.display().to_string()).collect();
                format!("let kubeadm issue {}", list.join(", "))
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
            fs::remove(&path)?;
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
        marker.write(host)
    }
}

fn certificate(name: &str) -> PathBuf {
    Path::new(KUBE_CERT_DIR).join(name)
}

fn paths(kubeconfigs: &'static [&'static str]) -> impl Iterator<Item = PathBuf> {
    kubeconfigs.iter().map(|name| Path::new(KUBE_DIR).join(name))
}

/// Every file, by its path on the host.
fn all(kubeconfigs: &'static [&'static str]) -> impl Iterator<Item = PathBuf> {
    let pairs = PAIRS.iter().flat_map(|(cert, key)| [certificate(cert), certificate(key)]);
    pairs.chain(paths(kubeconfigs))
}

/// Those that are not there. The key of an authority may be kept elsewhere (kubeadm's "external
/// CA"), so it is not missed while its certificate is there.
fn missing(host: &Host, kubeconfigs: &'static [&'static str]) -> Vec<PathBuf> {
    let there = |path: &Path| fs::exists(&host.path(path));
    let kept_elsewhere = |path: &Path| {
        path.file_name().is_some_and(|name| name == "ca.key" || name == "front-proxy-ca.key")
            && there(&path.with_extension("crt"))
    };
    all(kubeconfigs).filter(|path| !there(path) && !kept_elsewhere(path)).collect()
}

/// A new authority or a new key for service accounts would cut off everything that runs.
fn refuse_a_second_authority(marker: &Marker, missing: &[PathBuf]) -> Result<()> {
    let lost = missing.iter().find(|path| IRREPLACEABLE.iter().any(|name| path.ends_with(name)));
    match lost {
        Some(lost) if marker.is_initialised() => {
            let lost = lost.display();
            Err(Error::host("cluster-key-lost", format!("`{lost}` is gone, and a cluster uses it"))
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

/// What an interrupted kubeadm left and cannot go on with: it writes files in place, a key before
/// its certificate, and stops at a key without one.
fn unusable(host: &Host, kubeconfigs: &'static [&'static str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for (cert, key) in PAIRS.map(|(cert, key)| (certificate(cert), certificate(key))) {
        let (cert, key) = (host.path(cert), host.path(key));
        if !is_whole(&cert)? {
            found.extend([cert, key]);
        }
    }
    for kubeconfig in paths(kubeconfigs).map(|path| host.path(path)) {
        // clientcmd writes keys in the order of the alphabet: `users` ends every whole one.
        let text = fs::read_text(&kubeconfig)?.unwrap_or_default();
        if !(text.ends_with('\n') && text.contains("\nusers:")) {
            found.push(kubeconfig);
        }
    }
    Ok(found)
}

/// Whether the PEM file at `path` is there, to its end.
pub(crate) fn is_whole(path: &Path) -> Result<bool> {
    let text = fs::read_text(path)?.unwrap_or_default();
    Ok(text.contains("-----BEGIN ") && text.trim_end().ends_with("-----"))
}

#[cfg(test)]
mod tests {
    use khost::Host;

    use super::{missing, refuse_a_second_authority, unusable};
    use crate::marker::Marker;

    const PEM: &str = "-----BEGIN X-----\nAA==\n-----END X-----\n";
    const CONF: &str = "apiVersion: v1\nusers:\n- name: x\n";

    /// A tree in which everything is whole.
    fn tree() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        std::fs::create_dir_all(host.path("/etc/kubernetes/ssl")).unwrap();
        for path in super::all(&super::KUBECONFIGS) {
            let text = if path.extension().unwrap() == "conf" { CONF } else { PEM };
            put(&host, &path.display().to_string(), text);
        }
        (root, host)
    }

    #[expect(clippy::disallowed_methods, reason = "kubeadm's hand, in a test")]
    fn put(host: &Host, path: &str, text: &str) {
        std::fs::write(host.path(path), text).unwrap();
    }

    #[expect(clippy::disallowed_methods, reason = "somebody's hand, in a test")]
    fn take(host: &Host, path: &str) {
        std::fs::remove_file(host.path(path)).unwrap();
    }

    #[test]
    fn what_is_whole_stays() {
        let (_root, host) = tree();
        assert!(missing(&host, &super::KUBECONFIGS).is_empty());
        assert!(unusable(&host, &super::KUBECONFIGS).unwrap().is_empty());
    }

    #[test]
    fn a_key_without_its_certificate_and_a_torn_kubeconfig_go() {
        let (_root, host) = tree();
        take(&host, "/etc/kubernetes/ssl/apiserver.crt");
        put(&host, "/etc/kubernetes/ssl/sa.pub", "-----BEGIN PUBLIC KEY-----\nMIIB");
        put(&host, "/etc/kubernetes/scheduler.conf", "apiVersion: v1\nclusters:\n- clu");
        let found = unusable(&host, &super::KUBECONFIGS).unwrap();
        let names: Vec<_> = found.iter().map(|path| path.file_name().unwrap()).collect();
        assert_eq!(names, ["apiserver.crt", "apiserver.key", "sa.pub", "sa.key", "scheduler.conf"]);
    }

    #[test]
    fn who_joined_makes_no_kubeconfig_for_its_kubelet() {
        let (_root, host) = tree();
        for name in ["kubelet.conf", "super-admin.conf"] {
            take(&host, &format!("/etc/kubernetes/{name}"));
        }
        assert_eq!(missing(&host, &super::KUBECONFIGS).len(), 2);
        assert!(missing(&host, &super::KUBECONFIGS[..3]).is_empty());
        assert!(unusable(&host, &super::KUBECONFIGS[..3]).unwrap().is_empty());
    }

    #[test]
    fn an_authority_whose_key_is_kept_elsewhere_is_complete() {
        let (_root, host) = tree();
        take(&host, "/etc/kubernetes/ssl/ca.key");
        assert!(missing(&host, &super::KUBECONFIGS).is_empty());
        assert!(unusable(&host, &super::KUBECONFIGS).unwrap().is_empty());
    }

    #[test]
    fn a_running_cluster_gets_no_second_authority() {
        let (_root, host) = tree();
        take(&host, "/etc/kubernetes/ssl/ca.crt");
        let missing = missing(&host, &super::KUBECONFIGS);
        let made = Marker { names: "n".into(), config: "c".into(), joined: false };
        let error = refuse_a_second_authority(&made, &missing).unwrap_err();
        assert_eq!(error.code(), "cluster-key-lost");
        refuse_a_second_authority(&Marker::default(), &missing).unwrap();
    }
}
