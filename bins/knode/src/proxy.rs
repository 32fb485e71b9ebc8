//! containerd pulls images through the proxy of cluster.toml (kubespray: `http-proxy.conf.j2`).

use khost::{
    StepList,
    steps::{absent::Absent, directory::Directory, file::File},
};
use kspec::Cluster;

pub(crate) const PATH: &str = "/etc/systemd/system/containerd.service.d/http-proxy.conf";
const DIR: &str = "/etc/systemd/system/containerd.service.d";

/// The drop-in with a proxy, no drop-in without one.
pub(crate) fn of_containerd(steps: &mut StepList, cluster: &Cluster) {
    if cluster.proxy.is_set() {
        steps.add(Directory::new(DIR));
        steps.add(File::new(PATH).text(render(cluster)));
    } else {
        steps.add(Absent::new(PATH));
    }
}

/// systemd.exec(5), `Environment=`: `%` begins a specifier there.
fn render(cluster: &Cluster) -> String {
    let proxy = &cluster.proxy;
    let line = |name: &str, value: Option<&str>| {
        let value = value.map(|value| value.replace('%', "%%"));
        value.map(|value| format!("Environment=\"{name}={value}\"\n")).unwrap_or_default()
    };
    let none = cluster.no_proxy().join(",");
    let (http, https) =
        (line("HTTP_PROXY", proxy.for_http()), line("HTTPS_PROXY", proxy.for_https()));
    format!("[Service]\n{http}{https}{}", line("NO_PROXY", Some(&none)))
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    #[test]
    fn the_cluster_itself_is_reached_directly() {
        let mut cluster = Cluster::example("node1", "192.0.2.11".parse().unwrap());
        cluster.proxy.https = "http://proxy%2eexample:3128".into();
        insta::assert_snapshot!(super::render(&cluster), @r#"
        [Service]
        Environment="HTTPS_PROXY=http://proxy%%2eexample:3128"
        Environment="NO_PROXY=localhost,127.0.0.1,::1,192.0.2.11,node1,10.233.0.0/18,10.233.64.0/18,.svc,.cluster.local,.svc.cluster.local"
        "#);
    }
}
