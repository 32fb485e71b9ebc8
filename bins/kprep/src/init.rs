//! `kprep init`: a description to start from, with every key, its default and its meaning.

use std::path::Path;

use khost::{
    Error, Result, Tool,
    fs::{self, Attributes},
    steps::{hostname, network},
};
use kspec::{Cluster, commented};

use crate::facts;

/// Write the description of a cluster of this one machine; with `to_stdout`, or `--config -`, show
/// it only.
pub(crate) fn run(tool: &Tool, name: Option<&str>, to_stdout: bool) -> Result<()> {
    let path = tool.config_path();
    let to_stdout = to_stdout || path == Path::new("-");
    let cluster = this_machine(name)?;
    let text = commented(&cluster)
        .map_err(|error| Error::host("init-failed", "cannot encode").because(error))?;
    if to_stdout {
        tool.report.data(&text);
    } else {
        write(&path, &text)?;
        tool.report.say(&format!("wrote `{}`", path.display()));
    }
    for problem in cluster.problems() {
        tool.report.say(&format!("{}: {}; {}", problem.key, problem.message, problem.remedy));
    }
    if cluster.nodes.iter().any(|node| node.address.is_loopback()) {
        tool.report.say("this machine has no address of its own yet: correct the one of [[node]]");
    }
    Ok(())
}

/// A cluster of one node with this machine's name and main address.
pub(crate) fn this_machine(name: Option<&str>) -> Result<Cluster> {
    let name = match name {
        Some(name) => name.to_owned(),
        None => node_name(&hostname::current()?),
    };
    let address = match facts::default_address() {
        Some(address) => Some(address),
        None => network::addresses()?.into_iter().next(),
    };
    // kubespray's `fallback_ip`
    let address = address.unwrap_or_else(|| std::net::Ipv4Addr::LOCALHOST.into());
    Ok(Cluster::example(&name, address))
}

fn write(path: &Path, text: &str) -> Result<()> {
    if fs::exists(path) {
        let shown = path.display();
        return Err(Error::input("config-exists", format!("`{shown}` exists and is left as it is"))
            .because("a cluster description is only ever written by its operator")
            .hint("edit it, look at a fresh one with `kprep init --stdout`, or name another place with `--config FILE`"));
    }
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::make_dirs(dir, 0o755)?;
    }
    fs::write(path, text.as_bytes(), Attributes { mode: 0o644, owner: None })
}

/// A host name as Kubernetes takes it for a node: RFC 1123 subdomain.
fn node_name(hostname: &str) -> String {
    let fitting = |letter: char| match letter.to_ascii_lowercase() {
        letter if letter.is_ascii_alphanumeric() || letter == '.' => letter,
        _ => '-',
    };
    let name: String = hostname.chars().map(fitting).collect();
    let labels: Vec<_> =
        name.split('.').map(|label| label.trim_matches('-')).filter(|at| !at.is_empty()).collect();
    if labels.first().is_none_or(|first| *first == "localhost") {
        return "node1".into();
    }
    labels.join(".")
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    use super::node_name;

    #[test]
    fn every_host_name_gives_a_node_name() {
        for (hostname, expected) in [
            ("k8s-ctr", "k8s-ctr"),
            ("K8S_Ctr.example.com", "k8s-ctr.example.com"),
            ("localhost.localdomain", "node1"),
            ("localhost", "node1"),
            ("", "node1"),
            ("-web-..x-", "web.x"),
        ] {
            assert_eq!(node_name(hostname), expected);
            let cluster = Cluster::example(&node_name(hostname), "192.0.2.11".parse().unwrap());
            assert_eq!(cluster.problems(), [], "{hostname}");
        }
    }
}
