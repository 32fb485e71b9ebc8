//! A control plane that runs follows cluster.toml.

use std::time::Duration;

use khost::{
    Change, Context, Result, Status, fs,
    kubectl::Kubectl,
    steps::command::Guarded,
    wait::{Awaited, Seen, until},
};
use kspec::paths::MANIFEST_DIR;

use crate::{inputs::Inputs, kubeadm, marker::Marker};

/// Seconds for one kubeadm phase.
const LIMIT: u64 = 60;

/// When kubeadm's configuration is another than the control plane was made with, its phases that
/// put it to work are run again: the `ConfigMap`, kube-proxy, and last the static pods' manifests,
/// which the kubelet picks up. The digest in the marker tells, so dying on the way loses nothing.
pub(crate) fn applied(inputs: &Inputs, config: &str) -> Guarded {
    let wanted = Marker::wanted(inputs, config);
    let speaks = inputs.speaks_for_all();
    let (asked, pod) = (wanted.clone(), format!("kube-apiserver-{}", inputs.node.name));
    Guarded::new(
        "control-plane-settings",
        move |context: &Context<'_>| {
            let marker = Marker::read(context.host)?;
            Ok(if marker.is_initialised() && marker.config != asked.config {
                let what =
                    "bring kube-proxy and the static pods to the changed kubeadm-config.yaml";
                Status::Differs(Change::new(what))
            } else {
                Status::Done // or not made yet: then `kubeadm init` uses it
            })
        },
        move |context: &Context<'_>| {
            kubeadm::validate(context)?;
            if speaks {
                kubeadm::run(context, &["init", "phase", "upload-config", "kubeadm"], LIMIT)?;
                kubeadm::run(context, &["init", "phase", "addon", "kube-proxy"], LIMIT)?;
                let restart =
                    ["rollout", "restart", "daemonset/kube-proxy", "--namespace=kube-system"];
                Kubectl::admin().cmd(&restart).run()?; // it reads its ConfigMap only at its start
            }
            replace_static_pods(context, &pod)?;
            wanted.write(context.host)
        },
    )
    .touching([Marker::thing()])
}

/// Write the manifests, and when the API server's changed wait until the new one answers: what
/// comes next must not talk to one that is about to end.
fn replace_static_pods(context: &Context<'_>, pod: &str) -> Result<()> {
    let manifest = context.host.path(format!("{MANIFEST_DIR}/kube-apiserver.yaml"));
    let (before, running) = (fs::digest(&manifest)?, running_config(pod));
    kubeadm::run(context, &["init", "phase", "control-plane", "all"], LIMIT)?;
    if fs::digest(&manifest)? == before {
        return Ok(());
    }
    let awaited = Awaited {
        id: "api-server-replaced".into(),
        what: format!("pod {pod} with its new settings"),
        limit: Duration::from_secs(180),
        look: "journalctl -u kubelet -n 50".into(),
    };
    until(context, &awaited, || {
        Ok(match running_config(pod) {
            None => Seen::not_yet("the API server does not answer"),
            Some(config) if Some(&config) == running.as_ref() => {
                Seen::not_yet("the kubelet has not picked up the new manifest")
            }
            Some(_) => Seen::Ready,
        })
    })
}

/// The digest that the kubelet gives the manifest a static pod runs from.
fn running_config(pod: &str) -> Option<String> {
    let pod = Kubectl::admin().get_json(&["pod", pod, "--namespace=kube-system"]).ok()?;
    let digest = pod.pointer("/metadata/annotations/kubernetes.io~1config.hash")?;
    Some(digest.as_str()?.to_owned())
}
