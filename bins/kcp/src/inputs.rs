//! Everything the phase goes by, read and found fit.

use khost::{Error, Result, Tool, static_pod::Component};
use kspec::{
    Cluster, Node, Role,
    state::{Artifacts, Certificate, EtcdState, Facts, Member, NodeState, PkiState},
};

use crate::endpoints;

/// What the operator and the earlier phases say.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) cluster: Cluster,
    pub(crate) node: Node,
    pub(crate) facts: Facts,
    pub(crate) etcd: EtcdState,
    pub(crate) runtime: NodeState,
    /// Issuer of the etcd members' certificates.
    pub(crate) etcd_ca: Certificate,
    /// The API server's client certificate for etcd.
    pub(crate) etcd_client: Certificate,
    pub(crate) kubeadm: Member,
    pub(crate) kubectl: Member,
    /// URL of this node's API server, for this node's own clients.
    pub(crate) local: String,
    /// `HOST:PORT` of the API server, for everyone.
    pub(crate) endpoint: String,
}

impl Inputs {
    pub(crate) fn read(tool: &Tool) -> Result<Self> {
        let cluster = tool.cluster()?;
        let node = tool.node(&cluster)?.clone();
        refuse_others_than_the_first(&cluster, &node)?;
        let facts: Facts = tool.state()?;
        let artifacts: Artifacts = tool.state()?;
        let program = |name: &str| khost::artifacts::program(&artifacts, name).cloned();
        let pki: PkiState = tool.state()?;
        let etcd_client = pki.node.ok_or_else(|| {
            Error::input("etcd-client-missing", "pki.json has no etcd certificate for this node")
                .because("the node was no control plane when kpki ran")
                .hint("run `kpki apply`")
        })?;
        Ok(Self {
            kubeadm: program("kubeadm")?,
            kubectl: program("kubectl")?,
            etcd: tool.state()?,
            runtime: tool.state()?, // without a kubelet and its images, init would wait in vain
            etcd_ca: pki.ca,
            etcd_client,
            local: Component::ApiServer.url(&cluster),
            endpoint: endpoints::for_everyone(&cluster),
            cluster,
            node,
            facts,
        })
    }

    /// Names and addresses in the API server's certificate.
    pub(crate) fn certificate_names(&self) -> Vec<String> {
        endpoints::certificate_names(&self.cluster, &self.node, self.facts.default_address())
    }
}

fn refuse_others_than_the_first(cluster: &Cluster, node: &Node) -> Result<()> {
    let name = &node.name;
    if !node.is(Role::ControlPlane) {
        return Err(Error::input(
            "not-control-plane",
            format!("node `{name}` is no control plane"),
        )
        .because("joining a cluster is not part of this version of kcp")
        .hint("run kcp on the node with the role control-plane"));
    }
    match cluster.with_role(Role::ControlPlane).next() {
        Some(first) if first.name != *name => {
            let first = &first.name;
            Err(Error::input(
                "join-unsupported",
                format!("node `{name}` is a further control plane"),
            )
            .because("joining a cluster is not part of this version of kcp")
            .hint(format!("run kcp on `{first}`, the first control plane")))
        }
        _ => Ok(()),
    }
}
