//! What is never asked through a proxy.

use super::Cluster;

impl Cluster {
    /// Names, domains and networks that are reached without the proxy: this machine, every node,
    /// services and pods, and what `[proxy] no-proxy` adds; each once. None without a proxy.
    ///
    /// kubespray's list (`roles/kubespray_defaults/tasks/no_proxy.yml`). A leading dot stands for
    /// a domain with all below it, which Go and curl both read so.
    pub fn no_proxy(&self) -> Vec<String> {
        if !self.proxy.is_set() {
            return Vec::new();
        }
        let domain = &self.kubernetes.dns_domain;
        let mut all: Vec<String> =
            ["localhost", "127.0.0.1", "::1"].into_iter().map(Into::into).collect();
        for node in &self.nodes {
            all.extend([node.access().to_string(), node.address.to_string()]);
            all.extend([node.name.clone(), node.short_name().to_owned()]);
        }
        all.extend([self.network.service_cidr, self.network.pod_cidr].map(|net| net.to_string()));
        all.extend([".svc".to_owned(), format!(".{domain}"), format!(".svc.{domain}")]);
        all.extend(self.control_plane.endpoint_host().map(str::to_owned));
        all.extend(self.proxy.no_proxy.iter().cloned());
        let mut seen = std::collections::BTreeSet::new();
        all.retain(|entry| !entry.is_empty() && seen.insert(entry.clone()));
        all
    }
}

#[cfg(test)]
mod tests {
    use crate::Cluster;

    #[test]
    fn the_cluster_is_reached_directly() {
        let mut cluster = Cluster::example("n1.example.com", "192.0.2.1".parse().unwrap());
        assert!(cluster.no_proxy().is_empty(), "without a proxy there is nothing to except");
        cluster.proxy.http = "http://proxy.example:3128".into();
        cluster.proxy.no_proxy = vec![".example.org".into(), "localhost".into()];
        cluster.control_plane.endpoint = Some("k8s.example.com:6443".into());
        insta::assert_snapshot!(cluster.no_proxy().join(" "), @"localhost 127.0.0.1 ::1 192.0.2.1 n1.example.com n1 10.233.0.0/18 10.233.64.0/18 .svc .cluster.local .svc.cluster.local k8s.example.com .example.org");
    }
}
