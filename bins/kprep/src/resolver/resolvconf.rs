//! The resolvconf programs, which collect servers from whoever knows some: Debian's, by its `head`
//! and `base`, and openresolv, by its `resolvconf.conf`.

use khost::{
    Host, Result, StepList, fs,
    steps::{lines::Lines, reload::Reload},
};
use kspec::Cluster;

use super::{Told, conf::ResolvConf, upstream::without_ours};

/// Debian's resolvconf(8): what comes before all that was collected, and what is collected last.
const HEAD: &str = "/etc/resolvconf/resolv.conf.d/head";
const BASE: &str = "/etc/resolvconf/resolv.conf.d/base";
const BASE_DIR: &str = "/etc/resolvconf/resolv.conf.d";
/// Where Debian's keeps what it has collected, one file for each source.
const RECORDS: &str = "/run/resolvconf/interface";
/// openresolv's resolvconf.conf(5), which is read by a shell.
const OPENRESOLV: &str = "/etc/resolvconf.conf";

pub(super) fn tell(steps: &mut StepList, host: &Host, told: &Told) {
    let servers = ResolvConf { servers: told.servers.clone(), ..ResolvConf::default() };
    let (searches, options) = (told.searches.clone(), told.options.clone());
    let rest = ResolvConf { searches, options, ..ResolvConf::default() };
    let files = if is_debians(host) {
        // Only `head` keeps the order; lists of domains are only merged from `base`.
        steps.add(Lines::block(HEAD, servers.lines("")));
        steps.add(Lines::block(BASE, rest.lines("")));
        vec![HEAD, BASE]
    } else {
        steps.add(Lines::block(OPENRESOLV, variables(told)));
        vec![OPENRESOLV]
    };
    let line = ["resolvconf", "-u"].map(Into::into).into();
    steps.add(Reload::command("resolvconf", line, files));
}

fn is_debians(host: &Host) -> bool {
    fs::exists(&host.path(BASE_DIR))
}

/// What others set in the file stays, after ours: openresolv reads the file more than once, and
/// names a server or a domain once, but an option each time. So options are said as they end up.
fn variables(told: &Told) -> String {
    let servers: Vec<_> = told.servers.iter().map(ToString::to_string).collect();
    let line = |(name, words): (&str, &[String])| match words {
        [] => String::new(),
        words => format!("{name}=\"{} ${{{name}:-}}\"\n", words.join(" ")),
    };
    let lists = [("name_servers", &servers[..]), ("search_domains", &told.searches)];
    let lists: String = lists.into_iter().map(line).collect();
    match told.all().options.as_slice() {
        [] => lists,
        options => format!("{lists}resolv_conf_options=\"{}\"\n", options.join(" ")),
    }
}

/// What was collected, without what was told by us. A local cache that hides whom it asks is
/// passed over for the records themselves.
pub(super) fn own(host: &Host, cluster: &Cluster, present: ResolvConf) -> Result<ResolvConf> {
    let mut own = without_ours(present, cluster);
    if own.servers.iter().all(std::net::IpAddr::is_loopback) {
        for name in fs::names(&host.path(RECORDS))? {
            let record = fs::read_text(&host.path(RECORDS).join(name))?.unwrap_or_default();
            own.servers.extend(ResolvConf::parse(&record).servers);
        }
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::variables;
    use crate::resolver::{Told, conf::ResolvConf};

    #[test]
    fn what_others_set_stays_after_ours() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let told = |servers: &[&str]| Told {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            searches: words("default.svc.cluster.local svc.cluster.local"),
            options: words("ndots:2 timeout:2"),
            own: ResolvConf::parse("options rotate ndots:5\n"),
        };
        insta::assert_snapshot!(variables(&told(&["10.233.0.3"])), @r#"
        name_servers="10.233.0.3 ${name_servers:-}"
        search_domains="default.svc.cluster.local svc.cluster.local ${search_domains:-}"
        resolv_conf_options="ndots:2 timeout:2 rotate"
        "#);
        assert!(!variables(&told(&[])).contains("name_servers"));
    }
}
