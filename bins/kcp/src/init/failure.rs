//! Why `kubeadm init` failed, in words that say what to do.

use khost::{
    Cmd, Error, Host,
    static_pod::{Component, last_words},
};

use crate::{etcd, inputs::Inputs, kubeadm, kubelet};

/// A failed attempt.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: Error,
    /// It may go another way next time.
    pub(super) passing: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { error, passing: false }
    }
}

/// A failure that is known: a code, what it is, what to do, whether it may pass.
type Known = (&'static str, &'static str, &'static str, bool);

const PORT: Known = (
    "port-taken",
    "a port of the control plane is taken",
    "stop what listens there (`ss -tlnp`), then run `kcp apply` again",
    false,
);
const IMAGE: Known = (
    "image-missing",
    "an image of the control plane is neither here nor to be had",
    "run `kfetch apply` and `knode apply`, which bring the images, then `kcp apply` again",
    false,
);
const LEFTOVERS: Known = (
    "cluster-there-already",
    "there are files of another cluster",
    "take it apart with what made it, such as `kubeadm reset`",
    false,
);
const PREFLIGHT: Known = (
    "kubeadm-init-failed",
    "`kubeadm init` refuses this machine",
    "mend what stands after [ERROR, or name it in [kubeadm] ignore-preflight-errors",
    false,
);
const KUBELET: Known = (
    "kubelet-not-running",
    "the kubelet does not run, and starts no control plane",
    "see `journalctl -u kubelet -n 50`; run `knode apply`, then `kcp apply` again",
    true,
);
const CERTIFICATE: Known = (
    "certificate-wrong",
    "a part of the control plane does not accept a certificate",
    "see `kpki status`; run `kpki apply`, then `kcp apply` again",
    false,
);
const ETCD: Known = (
    "etcd-unreachable",
    "the API server did not come up, for etcd does not answer",
    "run `ketcd check`, then `kcp apply` again: it goes on where it stopped",
    true,
);
const SLOW: Known = (
    "api-server-slow",
    "the control plane did not come up in time",
    "raise `init-timeout-seconds` in [kubeadm] on a slow machine; `kcp apply` goes on where it stopped",
    true,
);
const OTHER: Known = (
    "kubeadm-init-failed",
    "`kubeadm init` did not finish",
    "mend what it says and run `kcp apply` again: it goes on where it stopped",
    true,
);

const NO_KUBELET: &str = "the kubelet is not healthy";

/// kubeadm's words, with those of whoever knows more: the static pod that spoke last, the kubelet,
/// etcd.
pub(super) fn explained(host: &Host, inputs: &Inputs, error: Error) -> Failure {
    if error.code() == "kubeadm-busy" {
        return error.into();
    }
    let mut words = kubeadm::words(&error);
    let in_vain = error.code() == "timeout"; // for the API server
    if in_vain && let Some(why) = kubelet::unhealthy() {
        words = format!("{NO_KUBELET}: {why}\n{words}");
    }
    let too_slow = in_vain || error.code() == "program-too-slow";
    // What its pods said of something else leads astray.
    let pod = if too_slow { last_words(host, &Component::ALL) } else { None };
    let etcd = if pod.is_some() { etcd::unhealthy(host, inputs).ok().flatten() } else { None };
    let known = recognised(&words, too_slow, pod.as_deref(), etcd.as_deref());
    let kubelet = (known.0 == KUBELET.0).then(kubelet_said).flatten();
    let cause = [Some(words), pod, etcd.map(|why| format!("etcd: {why}")), kubelet];
    let cause = cause.into_iter().flatten().collect::<Vec<_>>().join("\n");
    let (code, what, hint, passing) = known;
    Failure { error: Error::host(code, what).because(cause).hint(hint), passing }
}

fn recognised(words: &str, too_slow: bool, pod: Option<&str>, etcd: Option<&str>) -> Known {
    let preflight = [
        ("[ERROR ImagePull", IMAGE),
        ("[ERROR Port-", PORT),
        ("[ERROR FileAvailable-", LEFTOVERS),
        ("[ERROR ", PREFLIGHT),
    ];
    if let Some((_, known)) = preflight.into_iter().find(|(sign, _)| words.contains(sign)) {
        return known;
    }
    if words.starts_with(NO_KUBELET) {
        return KUBELET;
    }
    if !too_slow {
        return OTHER;
    }
    match (pod, etcd) {
        (_, Some(why)) if etcd::is_about_certificates(why) => CERTIFICATE,
        (_, Some(_)) => ETCD,
        (Some(pod), None) if pod.contains("x509:") || pod.contains("bad certificate") => {
            CERTIFICATE
        }
        _ => SLOW,
    }
}

/// The kubelet's own last lines.
fn kubelet_said() -> Option<String> {
    let args = ["--unit=kubelet.service", "--lines=5", "--output=cat", "--no-pager", "--quiet"];
    let said = Cmd::new("journalctl").args(args).run().ok()?.stdout;
    (!said.trim().is_empty()).then(|| format!("the kubelet said last:\n{}", said.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::recognised;

    const IN_VAIN: &str = "the API server on https://127.0.0.1:6443/readyz did not come within 300 s: \
                           last seen: connection refused";

    #[test]
    fn known_failures_have_codes_of_their_own() {
        let x509 = "kube-apiserver said last:\ntransport: authentication handshake failed: tls: \
                    failed to verify certificate: x509: certificate signed by unknown authority";
        let cases = [
            (
                "[ERROR ImagePull]: failed to pull image registry.k8s.io/x",
                None,
                None,
                "image-missing",
                false,
            ),
            ("\t[ERROR Port-10259]: Port 10259 is in use", None, None, "port-taken", false),
            (
                "[ERROR FileAvailable--etc-kubernetes-manifests-kube-scheduler.yaml]: exists",
                None,
                None,
                "cluster-there-already",
                false,
            ),
            (
                "[ERROR NumCPU]: the number of available CPUs 1 is less",
                None,
                None,
                "kubeadm-init-failed",
                false,
            ),
            (
                "the kubelet is not healthy: http://127.0.0.1:10248/healthz: connection refused",
                None,
                None,
                "kubelet-not-running",
                true,
            ),
            (
                "error execution phase kubelet-start: is a directory",
                None,
                None,
                "kubeadm-init-failed",
                true,
            ),
            (
                IN_VAIN,
                Some("kube-apiserver said last:\nI0101 starting"),
                None,
                "api-server-slow",
                true,
            ),
            (IN_VAIN, None, None, "api-server-slow", true),
            (IN_VAIN, Some(x509), None, "certificate-wrong", false),
            (IN_VAIN, Some(x509), Some("https://a: connection refused"), "etcd-unreachable", true),
            (
                IN_VAIN,
                Some("x"),
                Some("https://a: invalid peer certificate: UnknownIssuer"),
                "certificate-wrong",
                false,
            ),
        ];
        for (words, pod, etcd, code, passing) in cases {
            let known = recognised(words, words == IN_VAIN, pod, etcd);
            assert_eq!((known.0, known.3), (code, passing), "{words}");
        }
        assert_eq!(recognised("it said nothing", true, None, None).0, "api-server-slow");
    }
}
