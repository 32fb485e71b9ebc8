//! Who is in the etcd cluster, and where.

use std::net::{IpAddr, SocketAddr};

use kspec::{Cluster, Node, Role};

/// Port for clients.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Port for the other members.
pub(crate) const PEER_PORT: u16 = 2380;

/// The members in the order of cluster.toml.
#[derive(Debug)]
pub(crate) struct Members(Vec<(String, IpAddr)>);

impl Members {
    /// The nodes of `cluster` with the role etcd.
    pub(crate) fn of(cluster: &Cluster) -> Self {
        let members = cluster.with_role(Role::Etcd);
        Self(members.map(|node| (node.name.clone(), node.access())).collect())
    }

    /// What `node` is called as a member: etcd1, etcd2, ... (kubespray `etcd_member_name`). None
    /// when it is none.
    pub(crate) fn name_of(&self, node: &Node) -> Option<String> {
        self.0.iter().position(|(name, _)| *name == node.name).map(Self::name_at)
    }

    /// Client URLs of all.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        self.0.iter().map(|(_, address)| url(*address, CLIENT_PORT)).collect()
    }

    /// Client URLs of all but `node`.
    pub(crate) fn others(&self, node: &Node) -> Vec<String> {
        let others = self.0.iter().filter(|(name, _)| *name != node.name);
        others.map(|(_, address)| url(*address, CLIENT_PORT)).collect()
    }

    /// The node that starts the cluster: the first of cluster.toml.
    pub(crate) fn founder(&self) -> Option<&str> {
        self.0.first().map(|(name, _)| name.as_str())
    }

    /// Where the other members reach `node`.
    pub(crate) fn peer_url(node: &Node) -> String {
        url(node.access(), PEER_PORT)
    }

    /// All of them as `ETCD_INITIAL_CLUSTER` wants it.
    pub(crate) fn initial_cluster(&self) -> String {
        let all = self.0.iter().enumerate();
        let each = all.map(|(at, (_, address))| {
            format!("{}={}", Self::name_at(at), url(*address, PEER_PORT))
        });
        each.collect::<Vec<_>>().join(",")
    }

    /// The name of the member at this place, counted from 0.
    pub(crate) fn name_at(at: usize) -> String {
        format!("etcd{}", at + 1)
    }
}

/// `https://ADDRESS:PORT`, with brackets where the address needs them.
pub(crate) fn url(address: IpAddr, port: u16) -> String {
    format!("https://{}", SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use kspec::{Cluster, Role};

    use super::Members;

    #[test]
    fn members_are_numbered_and_others_are_not() {
        let mut cluster = Cluster::example("n1", "192.0.2.11".parse().unwrap());
        let mut other = cluster.nodes[0].clone();
        other.name = "n2".into();
        other.address = "2001:db8::2".parse().unwrap();
        cluster.nodes.push(other.clone());
        cluster.nodes[0].roles = vec![Role::Worker];
        let members = Members::of(&cluster);
        assert_eq!(members.name_of(&cluster.nodes[0]), None);
        assert_eq!(members.name_of(&other).unwrap(), "etcd1");
        assert_eq!(members.endpoints(), ["https://[2001:db8::2]:2379"]);
        assert_eq!(members.founder(), Some("n2"));
        assert!(members.others(&other).is_empty());
        cluster.nodes[0].roles = vec![Role::Etcd];
        let members = Members::of(&cluster);
        assert_eq!(members.name_of(&other).unwrap(), "etcd2");
        assert_eq!(
            members.initial_cluster(),
            "etcd1=https://192.0.2.11:2380,etcd2=https://[2001:db8::2]:2380"
        );
    }
}
