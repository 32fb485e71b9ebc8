//! Everything the phase goes by, read and found fit.

use khost::{Error, Result, Tool, fs, static_pod::Component};
use kspec::{
    Cluster, JoinDocument, Node,
    state::{Artifacts, Certificate, EtcdState, Facts, Member, NodeState, PkiState},
};

use crate::{encryption, endpoints, join_document, marker::Marker};

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
    pub(crate) kubectl: Member,
    /// The image that kapps runs as the cluster's DNS, if the lock has one.
    pub(crate) dns_image: Option<String>,
    /// Whether the API server has to know keys: it is to encrypt, or it once did.
    pub(crate) has_encryption_keys: bool,
    /// URL of this node's API server, for this node's own clients.
    pub(crate) local: String,
    /// `HOST:PORT` of the API server, for everyone.
    pub(crate) endpoint: String,
    /// The node joins, or joined, a cluster that other nodes made.
    pub(crate) joins: bool,
    /// How, as long as it has not.
    pub(crate) document: Option<JoinDocument>,
}

impl Inputs {
    pub(crate) fn read(tool: &Tool) -> Result<Self> {
        let cluster = tool.cluster()?;
        let node = tool.node(&cluster)?.clone();
        let document = join_document::kept(tool)?;
        let joins = joins(&cluster, &node, &Marker::read(&tool.host)?, document.is_some());
        if joins {
            join_document::needed(tool, &node.name, document.as_ref())?;
        }
        let facts: Facts = tool.state()?;
        let artifacts: Artifacts = tool.state()?;
        let pki: PkiState = tool.state()?;
        let etcd_client = pki.node.ok_or_else(|| {
            Error::input("etcd-client-missing", "pki.json has no etcd certificate for this node")
                .because("the node was no control plane when kpki ran")
                .hint("run `kpki apply`")
        })?;
        Ok(Self {
            kubectl: khost::artifacts::program(&artifacts, "kubectl")?.clone(),
            dns_image: artifacts.images.get("coredns").map(|image| image.reference.clone()),
            has_encryption_keys: cluster.control_plane.encryption.enabled
                || fs::exists(&tool.host.path(encryption::PATH)),
            etcd: tool.state()?,
            runtime: tool.state()?, // without a kubelet and its images, init would wait in vain
            etcd_ca: pki.ca,
            etcd_client,
            local: Component::ApiServer.url(&cluster),
            endpoint: endpoints::for_everyone(&cluster),
            joins,
            document,
            cluster,
            node,
            facts,
        })
    }

    /// Whether this node, of all control planes, tells the cluster how it is configured: what it
    /// would say otherwise than the others would change back and forth.
    pub(crate) fn speaks_for_all(&self) -> bool {
        self.cluster.is_first_control_plane(&self.node)
    }

    /// Names and addresses in the API server's certificate.
    pub(crate) fn certificate_names(&self) -> Vec<String> {
        endpoints::certificate_names(&self.cluster, &self.node, self.facts.default_address())
    }
}

/// The first control plane makes the cluster, all others join it; and so does the first where it
/// was given a document for that, since it is being replaced.
fn joins(cluster: &Cluster, node: &Node, made: &Marker, has_document: bool) -> bool {
    if made.is_initialised() {
        return made.joined;
    }
    has_document || !cluster.is_first_control_plane(node)
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::joins;
    use crate::marker::Marker;

    #[test]
    fn the_first_control_plane_makes_the_cluster_and_the_others_join() {
        let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
        let mut other = cluster.nodes[0].clone();
        other.name = "node2".into();
        cluster.nodes.push(other.clone());
        let first = cluster.nodes[0].clone();
        let fresh = Marker::default();
        assert!(!joins(&cluster, &first, &fresh, false));
        assert!(joins(&cluster, &first, &fresh, true), "it is being replaced");
        assert!(joins(&cluster, &other, &fresh, false));
        // What was done once stays, wherever the node stands in cluster.toml by now.
        let made = Marker { config: "sha256:1".into(), ..Marker::default() };
        assert!(!joins(&cluster, &other, &made, false));
        let joined = Marker { joined: true, ..made };
        assert!(joins(&cluster, &first, &joined, false));
    }
}
