//! What there is of the cluster's credentials, and what of it is of use.

use std::path::{Path, PathBuf};

use khost::{Host, Result, fs, http};
use kspec::paths::{KUBE_CERT_DIR, KUBE_DIR};

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

/// Keys that may be kept elsewhere (kubeadm's "external CA") while their certificate is there.
const KEPT_ELSEWHERE: [&str; 2] = ["ca.key", "front-proxy-ca.key"];

pub(super) fn certificate(name: &str) -> PathBuf {
    Path::new(KUBE_CERT_DIR).join(name)
}

fn paths(kubeconfigs: &'static [&'static str]) -> impl Iterator<Item = PathBuf> {
    kubeconfigs.iter().map(|name| Path::new(KUBE_DIR).join(name))
}

/// Every file, by its path on the host.
pub(super) fn all(kubeconfigs: &'static [&'static str]) -> impl Iterator<Item = PathBuf> {
    let pairs = PAIRS.iter().flat_map(|(cert, key)| [certificate(cert), certificate(key)]);
    pairs.chain(paths(kubeconfigs))
}

/// Those that are not there, but for a key that may be kept elsewhere.
pub(super) fn missing(host: &Host, kubeconfigs: &'static [&'static str]) -> Vec<PathBuf> {
    let there = |path: &Path| fs::exists(&host.path(path));
    let kept_elsewhere = |path: &Path| {
        KEPT_ELSEWHERE.iter().any(|name| path.ends_with(name)) && there(&path.with_extension("crt"))
    };
    all(kubeconfigs).filter(|path| !there(path) && !kept_elsewhere(path)).collect()
}

/// Those that are there and of no use, each with the reason: half a file, or a key of another
/// certificate. An end that has come is no damage: `kpki renew` looks after that.
pub(super) fn damaged(
    host: &Host,
    kubeconfigs: &'static [&'static str],
) -> Result<Vec<(PathBuf, &'static str)>> {
    const TORN: &str = "it is not whole";
    let mut found = Vec::new();
    for (cert, key) in PAIRS.map(|(cert, key)| (certificate(cert), certificate(key))) {
        let before = found.len();
        for path in [&cert, &key] {
            if fs::exists(&host.path(path)) && !is_whole(&host.path(path))? {
                found.push((path.clone(), TORN));
            }
        }
        let both = fs::read(&host.path(&cert))?.zip(fs::read(&host.path(&key))?);
        if let Some((first, second)) = both
            && found.len() == before
            && !cert.ends_with("sa.pub") // no certificate
            && http::proves(&[first, second].concat()).is_err()
        {
            found.push((cert, "it and its key do not fit"));
        }
    }
    for kubeconfig in paths(kubeconfigs) {
        let Some(bytes) = fs::read(&host.path(&kubeconfig))? else { continue };
        if !is_kubeconfig(&String::from_utf8_lossy(&bytes)) {
            found.push((kubeconfig, TORN));
        }
    }
    Ok(found)
}

/// What kubeadm cannot go on with, and has to go before it is asked for more: what is damaged, and
/// half a pair, where an interrupted kubeadm leaves a key without its certificate.
pub(super) fn unusable(host: &Host, kubeconfigs: &'static [&'static str]) -> Result<Vec<PathBuf>> {
    let damaged: Vec<_> = damaged(host, kubeconfigs)?.into_iter().map(|(path, _)| path).collect();
    let fit = |path: &PathBuf| fs::exists(&host.path(path)) && !damaged.contains(path);
    let mut found = Vec::new();
    for (cert, key) in PAIRS.map(|(cert, key)| (certificate(cert), certificate(key))) {
        let elsewhere =
            KEPT_ELSEWHERE.iter().any(|name| key.ends_with(name)) && !fs::exists(&host.path(&key));
        if !(fit(&cert) && (fit(&key) || elsewhere)) {
            found.extend([cert, key]);
        }
    }
    found
        .extend(damaged.into_iter().filter(|path| path.extension().is_some_and(|it| it == "conf")));
    Ok(found)
}

/// Whether `text` is a kubeconfig to its end. clientcmd writes keys in the order of the alphabet:
/// `users` ends every whole one.
pub(crate) fn is_kubeconfig(text: &str) -> bool {
    text.ends_with('\n') && text.contains("\nusers:")
}

/// Whether the PEM file at `path` is there, to its end.
pub(crate) fn is_whole(path: &Path) -> Result<bool> {
    let bytes = fs::read(path)?.unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.contains("-----BEGIN ") && text.trim_end().ends_with("-----"))
}

#[cfg(test)]
mod tests {
    use khost::Host;
    use rcgen::{CertificateParams, KeyPair};

    use super::{damaged, missing, unusable};
    use crate::credentials::{KUBECONFIGS, refuse_a_second_authority};
    use crate::marker::Marker;

    const SSL: &str = "/etc/kubernetes/ssl";
    const CONF: &str = "apiVersion: v1\nusers:\n- name: x\n";

    /// A certificate and its key.
    fn pair() -> (String, String) {
        let key = KeyPair::generate().unwrap();
        (CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    /// A tree in which everything is whole.
    fn tree() -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        std::fs::create_dir_all(host.path(SSL)).unwrap();
        let (cert, key) = pair();
        for path in super::all(&KUBECONFIGS) {
            let text = match path.extension().unwrap().to_str().unwrap() {
                "conf" => CONF,
                "key" => &key,
                _ => &cert,
            };
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

    /// Names of the files that are found to be damaged, each with why, and of those that go.
    fn found(host: &Host) -> (String, String) {
        let name = |path: &std::path::Path| path.file_name().unwrap().display().to_string();
        let damaged = damaged(host, &KUBECONFIGS).unwrap();
        let damaged: Vec<_> =
            damaged.iter().map(|(path, why)| format!("{}: {why}", name(path))).collect();
        let unusable = unusable(host, &KUBECONFIGS).unwrap();
        let unusable: Vec<_> = unusable.iter().map(|path| name(path)).collect();
        (damaged.join(", "), unusable.join(", "))
    }

    #[test]
    fn what_is_whole_stays() {
        let (_root, host) = tree();
        assert!(missing(&host, &KUBECONFIGS).is_empty());
        assert_eq!(found(&host), Default::default());
    }

    #[test]
    fn half_a_pair_and_a_torn_file_go() {
        let (_root, host) = tree();
        take(&host, "/etc/kubernetes/ssl/apiserver.crt");
        take(&host, "/etc/kubernetes/ssl/front-proxy-client.key");
        put(&host, "/etc/kubernetes/ssl/sa.pub", "-----BEGIN PUBLIC KEY-----\nMIIB");
        put(&host, "/etc/kubernetes/scheduler.conf", "apiVersion: v1\nclusters:\n- clu");
        put(&host, "/etc/kubernetes/admin.conf", "");
        let (damaged, unusable) = found(&host);
        assert_eq!(
            damaged,
            "sa.pub: it is not whole, admin.conf: it is not whole, scheduler.conf: it is not whole"
        );
        assert_eq!(
            unusable,
            "apiserver.crt, apiserver.key, front-proxy-client.crt, front-proxy-client.key, sa.pub, \
             sa.key, admin.conf, scheduler.conf"
        );
    }

    #[test]
    fn a_key_of_another_certificate_goes_with_it() {
        let (_root, host) = tree();
        put(&host, "/etc/kubernetes/ssl/apiserver.key", &pair().1);
        put(&host, "/etc/kubernetes/ssl/apiserver-kubelet-client.key", "");
        let garbage = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
        put(&host, "/etc/kubernetes/ssl/front-proxy-client.crt", garbage);
        let (damaged, unusable) = found(&host);
        assert_eq!(
            damaged,
            "apiserver.crt: it and its key do not fit, apiserver-kubelet-client.key: it is not \
             whole, front-proxy-client.crt: it and its key do not fit"
        );
        assert_eq!(
            unusable,
            "apiserver.crt, apiserver.key, apiserver-kubelet-client.crt, \
             apiserver-kubelet-client.key, front-proxy-client.crt, front-proxy-client.key"
        );
    }

    #[test]
    fn who_joined_makes_no_kubeconfig_for_its_kubelet() {
        let (_root, host) = tree();
        for name in ["kubelet.conf", "super-admin.conf"] {
            take(&host, &format!("/etc/kubernetes/{name}"));
        }
        assert_eq!(missing(&host, &KUBECONFIGS).len(), 2);
        assert!(missing(&host, &KUBECONFIGS[..3]).is_empty());
        assert!(unusable(&host, &KUBECONFIGS[..3]).unwrap().is_empty());
    }

    #[test]
    fn an_authority_whose_key_is_kept_elsewhere_is_complete() {
        let (_root, host) = tree();
        take(&host, "/etc/kubernetes/ssl/ca.key");
        assert!(missing(&host, &KUBECONFIGS).is_empty());
        assert_eq!(found(&host), Default::default());
    }

    #[test]
    fn a_running_cluster_gets_no_second_authority() {
        let (_root, host) = tree();
        let made = Marker { names: "n".into(), config: "c".into(), joined: false };
        let refused = |marker: &Marker| {
            let damaged = damaged(&host, &KUBECONFIGS).unwrap();
            refuse_a_second_authority(marker, &missing(&host, &KUBECONFIGS), &damaged)
        };
        refused(&made).unwrap();
        put(&host, "/etc/kubernetes/ssl/ca.key", "");
        let error = refused(&made).unwrap_err();
        assert_eq!(error.code(), "cluster-key-lost");
        let said =
            "`/etc/kubernetes/ssl/ca.key` cannot be used (it is not whole), and a cluster uses it";
        assert!(error.chain().starts_with(said), "{}", error.chain());
        refused(&Marker::default()).unwrap();
        take(&host, "/etc/kubernetes/ssl/ca.crt");
        let error = refused(&made).unwrap_err();
        assert_eq!(error.code(), "cluster-key-lost");
        assert!(error.chain().starts_with("`/etc/kubernetes/ssl/ca.crt` is gone"));
        refused(&Marker::default()).unwrap();
    }
}
