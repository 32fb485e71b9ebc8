//! This node's kubelet has its certificate, and no other node waits for one.

use std::{collections::BTreeSet, time::Duration};

use khost::{
    Change, Context, Result, Status, Step, Thing, fs,
    wait::{Awaited, Seen, until},
};
use kspec::Cluster;

use super::{approve, pending};

/// Where kubelet keeps the one it serves with (`--cert-dir`, `certificate.NewFileStore`).
const CURRENT: &str = "/var/lib/kubelet/pki/kubelet-server-current.pem";

/// Requests of the cluster's nodes are approved, and this node's has been answered.
#[derive(Debug)]
pub(crate) struct Signed {
    cluster: Cluster,
}

impl Signed {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone() }
    }
}

impl Step for Signed {
    fn id(&self) -> String {
        "kubelet-certificates".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let requests = pending()?;
        // A kubelet asks again until it is answered: the set says each node once.
        let nodes: BTreeSet<_> =
            requests.iter().filter_map(|request| request.allowed(&self.cluster).ok()).collect();
        Ok(if !nodes.is_empty() {
            let nodes = Vec::from_iter(nodes).join(", ");
            Status::Differs(Change::new(format!("approve the certificate of kubelet on {nodes}")))
        } else if fs::exists(&context.host.path(CURRENT)) {
            Status::Done
        } else {
            Status::Differs(Change::new("have the certificate of this node's kubelet signed"))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // kubelet's file, in knode's tree
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let awaited = Awaited {
            id: "kubelet-certificate".into(),
            what: "a certificate of the cluster's CA for this node's kubelet".into(),
            limit: Duration::from_secs(60),
            look: "kubectl get csr; journalctl -u kubelet".into(),
        };
        until(context, &awaited, || {
            let answer = approve(&self.cluster)?;
            Ok(if fs::exists(&context.host.path(CURRENT)) {
                Seen::Ready
            } else if let Some(why) = answer.refused.first() {
                Seen::NotYet(format!("not approved: {why}"))
            } else {
                Seen::not_yet(
                    "kubelet has no certificate yet, and none that it asks for is pending; it \
                     asks with `serverTLSBootstrap`, which `knode apply` sets",
                )
            })
        })
    }
}
