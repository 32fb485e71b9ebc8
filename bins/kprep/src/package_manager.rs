//! The package manager's own settings (kubespray `bootstrap_os/tasks/centos.yml`).

use khost::{
    Host, StepList, fs,
    steps::{absent::Absent, file::File, ini::Ini},
};
use kspec::{Cluster, cluster::Proxy, state::Family};

const DNF: &str = "/etc/dnf/dnf.conf";
/// Looks for the quickest of many mirrors at each run; of use to nobody with one mirror.
const FASTEST_MIRROR: &str = "/etc/yum/pluginconf.d/fastestmirror.conf";
/// Docker's old repository, whose packages are in the way of ours.
const DOCKER: &str = "/etc/yum.repos.d/docker.repo";
const APT: &str = "/etc/apt/apt.conf.d/90k8steps-proxy";

/// The proxy of `cluster`, or none; mirrors and repositories as Kubernetes wants them.
pub(crate) fn set_up(steps: &mut StepList, host: &Host, cluster: &Cluster, family: Family) {
    let proxy = &cluster.proxy;
    match family {
        Family::Debian if proxy.is_set() => steps.add(File::new(APT).text(apt(proxy))),
        Family::Debian => steps.add(Absent::new(APT)),
        Family::RedHat => {
            // dnf has one proxy for all addresses (dnf.conf(5)).
            steps.add(match proxy.for_http().or(proxy.for_https()) {
                Some(url) => Ini::set(DNF, "main", "proxy", url),
                None => Ini::unset(DNF, "main", "proxy"),
            });
            if fs::exists(&host.path(FASTEST_MIRROR)) {
                steps.add(Ini::set(FASTEST_MIRROR, "main", "enabled", "0"));
            }
            steps.add(Absent::new(DOCKER));
        }
    }
}

/// apt.conf(5), `Acquire`.
fn apt(proxy: &Proxy) -> String {
    let line = |scheme: &str, url: Option<&str>| {
        url.map(|url| format!("Acquire::{scheme}::Proxy \"{url}\";\n")).unwrap_or_default()
    };
    let (http, https) = (line("http", proxy.for_http()), line("https", proxy.for_https()));
    format!("// kprep: the proxy of cluster.toml\n{http}{https}")
}

#[cfg(test)]
mod tests {
    use kspec::cluster::Proxy;

    #[test]
    fn apt_has_a_proxy_for_each_scheme() {
        let mut proxy = Proxy { http: "http://proxy.example:3128".into(), ..Proxy::default() };
        insta::assert_snapshot!(super::apt(&proxy), @r#"
        // kprep: the proxy of cluster.toml
        Acquire::http::Proxy "http://proxy.example:3128";
        Acquire::https::Proxy "http://proxy.example:3128";
        "#);
        proxy.https = "http://other.example:3129".into();
        insta::assert_snapshot!(super::apt(&proxy), @r#"
        // kprep: the proxy of cluster.toml
        Acquire::http::Proxy "http://proxy.example:3128";
        Acquire::https::Proxy "http://other.example:3129";
        "#);
    }
}
