//! A further control plane issues in the name of the same authorities as the first.

use std::path::{Path, PathBuf};

use khost::{Change, Context, Result, Status, Step, Thing, fs};
use kspec::{JoinDocument, paths::KUBE_CERT_DIR};

use crate::{
    credentials::is_whole,
    inputs::Inputs,
    join_config::{self, Joining},
    join_document, kubeadm,
    marker::Marker,
};

/// What all control planes share.
const SHARED: [&str; 6] =
    ["ca.crt", "ca.key", "front-proxy-ca.crt", "front-proxy-ca.key", "sa.pub", "sa.key"];

/// They are here: kubeadm fetches them from the cluster, where `kcp join-command` laid them ready.
#[derive(Debug)]
pub(crate) struct Brought {
    joining: Joining,
    document: Option<JoinDocument>,
}

impl Brought {
    pub(crate) fn new(inputs: &Inputs) -> Self {
        Self { joining: Joining::of(inputs), document: inputs.document.clone() }
    }
}

fn all() -> impl Iterator<Item = PathBuf> {
    SHARED.iter().map(|name| Path::new(KUBE_CERT_DIR).join(name))
}

impl Step for Brought {
    fn id(&self) -> String {
        "kubeadm:authorities".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let host = context.host;
        // Later they may be kept elsewhere; and what is lost then is for `kubeadm:credentials`.
        let mut whole = true;
        for path in all() {
            whole = whole && is_whole(&host.path(path))?;
        }
        if whole || Marker::read(host)?.is_initialised() {
            return Ok(Status::Done);
        }
        if self.document.is_none() {
            return Err(join_document::missing(&self.joining.node.name));
        }
        let what = "fetch the authorities of the cluster from its other control planes";
        Ok(Status::Differs(Change::new(what)))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let dir = Path::new(KUBE_CERT_DIR);
        let made = !fs::exists(&context.host.path(dir));
        let dir = made.then(|| Thing::Directory(dir.into()));
        Ok(dir.into_iter().chain(all().map(Thing::File)).collect())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let Some(document) = &self.document else {
            return Err(join_document::missing(&self.joining.node.name));
        };
        let config = join_config::render(&self.joining, document)?;
        let args = ["join", "phase", "control-plane-prepare", "download-certs"];
        kubeadm::run_with(context, &args, &config, 120).map_err(|error| {
            khost::Error::host("certificates-not-fetched", "cannot fetch the cluster's authorities")
                .because(kubeadm::words(&error))
                .hint(join_document::how_to_get(&self.joining.node.name))
        })
    }
}
