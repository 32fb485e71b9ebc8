//! dhclient: lines for its next lease, and the present file changed as it would be by them
//! (kubespray: `preinstall/tasks/0100-dhclient-hooks.yml`).

use khost::{Host, Result, StepList, fs, steps::lines::Lines};

use super::{Told, conf::ResolvConf, plain};
use crate::facts::resolver;

/// Where kubespray looks, in this order.
const PATHS: [&str; 2] = ["/etc/dhclient.conf", "/etc/dhcp/dhclient.conf"];

pub(super) fn tell(steps: &mut StepList, host: &Host, told: &Told) -> Result<()> {
    let exists = |path: &&&str| fs::exists(&host.path(path));
    let path = PATHS.iter().find(exists).unwrap_or(&PATHS[1]);
    steps.add(Lines::block(*path, render(told)));
    // Otherwise a lease has brought it.
    if !is_said(&resolver::raw(host)?, told) {
        steps.add(plain::head(host, told)?.written_anew());
    }
    Ok(())
}

/// dhclient.conf(5). What a lease brings comes after ours; kubespray supersedes it.
fn render(told: &Told) -> String {
    let servers: Vec<_> = told.servers.iter().map(ToString::to_string).collect();
    let domains: Vec<_> = told.searches.iter().map(|name| format!("\"{name}\"")).collect();
    let set = [("domain-name-servers", servers), ("domain-search", domains)];
    let line = |(option, values): &(&str, Vec<String>)| match values.as_slice() {
        [] => String::new(),
        values => format!("prepend {option} {};\n", values.join(", ")),
    };
    set.iter().map(line).collect()
}

/// Whether `text`, as dhclient wrote it, begins with ours and no more than ours is first.
fn is_said(text: &str, told: &Told) -> bool {
    let found = ResolvConf::parse(text);
    let ours = khost::steps::lines::undone(text) != text;
    !ours
        && found.servers.starts_with(&told.servers)
        && found.servers[told.servers.len()..]
            .iter()
            .all(|server| told.own.servers.contains(server))
        && told.searches.iter().all(|name| found.searches.contains(name))
}

#[cfg(test)]
mod tests {
    use super::{is_said, render};
    use crate::resolver::{Told, conf::ResolvConf};

    fn told(servers: &[&str]) -> Told {
        Told {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            searches: vec!["default.svc.cluster.local".into(), "svc.cluster.local".into()],
            options: Vec::new(),
            own: ResolvConf::parse("nameserver 192.0.2.53\n"),
        }
    }

    #[test]
    fn a_lease_comes_after_ours() {
        insta::assert_snapshot!(render(&told(&["10.233.0.3"])), @r#"
        prepend domain-name-servers 10.233.0.3;
        prepend domain-search "default.svc.cluster.local", "svc.cluster.local";
        "#);
    }

    #[test]
    fn what_a_lease_has_brought_is_left() {
        let leased = "search default.svc.cluster.local svc.cluster.local corp\n\
                      nameserver 10.233.0.3\nnameserver 192.0.2.53\n";
        assert!(is_said(leased, &told(&["10.233.0.3"])));
        assert!(!is_said(leased, &told(&[])), "it is to be taken out again");
        assert!(!is_said("nameserver 192.0.2.53\n", &told(&[])));
    }
}
