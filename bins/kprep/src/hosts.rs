//! The names of all nodes in `/etc/hosts`, so that they find each other without a DNS server.

use khost::steps::lines::Lines;
use kspec::Cluster;

const PATH: &str = "/etc/hosts";

/// The block of the nodes' names; other lines of the file stay as they are.
pub(crate) fn names(cluster: &Cluster) -> Lines {
    Lines::block(PATH, render(cluster))
}

/// One line a node: address, name, and for a name with dots its first label (hosts(5)).
fn render(cluster: &Cluster) -> String {
    let line = |node: &kspec::Node| match node.short_name() {
        short if short == node.name => format!("{} {}\n", node.access(), node.name),
        short => format!("{} {} {short}\n", node.access(), node.name),
    };
    cluster.nodes.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    #[test]
    fn a_line_for_every_node() {
        let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
        let mut second = cluster.nodes[0].clone();
        second.name = "node2.example.com".into();
        second.address = "2001:db8::12".parse().unwrap();
        cluster.nodes.push(second);
        insta::assert_snapshot!(super::render(&cluster), @"
        192.0.2.11 node1
        2001:db8::12 node2.example.com node2
        ");
    }
}
