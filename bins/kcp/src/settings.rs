//! A control plane that runs follows cluster.toml: the last step of it.

use khost::{Change, Context, Status, steps::command::Guarded};

use crate::{inputs::Inputs, kubeadm, marker::Marker};

/// Seconds for one kubeadm phase.
const LIMIT: u64 = 60;

/// When kubeadm's configuration is another than the control plane was made with, and the static
/// pods and kube-proxy follow it (the steps before this one), it is uploaded for kubeadm on other
/// nodes and noted. The digest in the marker tells, so dying on the way loses nothing.
pub(crate) fn applied(inputs: &Inputs, config: &str) -> Guarded {
    let wanted = Marker::wanted(inputs, config);
    let (asked, speaks) = (wanted.clone(), inputs.speaks_for_all());
    Guarded::new(
        "control-plane-settings",
        move |context: &Context<'_>| {
            let marker = Marker::read(context.host)?;
            Ok(if marker.is_initialised() && marker.config != asked.config {
                let what = "tell the cluster of the changed kubeadm-config.yaml";
                Status::Differs(Change::new(what))
            } else {
                Status::Done // or not made yet: then `kubeadm init` uses it
            })
        },
        move |context: &Context<'_>| {
            if speaks {
                kubeadm::run(context, &["init", "phase", "upload-config", "kubeadm"], LIMIT)?;
            }
            wanted.write(context.host)
        },
    )
    .touching([Marker::thing()])
}
