//! A plain `/etc/resolv.conf` that nobody writes: a block of ours at its top.

use khost::{Error, Host, Result, StepList, fs, steps::lines::Lines};

use super::{
    Told,
    conf::{ResolvConf, is_search_or_options},
};
use crate::facts::resolver::RESOLV_CONF;

pub(super) fn tell(steps: &mut StepList, host: &Host, told: &Told) -> Result<()> {
    steps.add(head(host, told)?);
    Ok(())
}

/// resolv.conf(5) counts the first three servers, but of lists of domains the last one: those of
/// others are said again in ours, and switched off.
pub(super) fn head(host: &Host, told: &Told) -> Result<Lines> {
    let real = host.path(RESOLV_CONF);
    if let Some(target) = fs::link_target(&real)? {
        let seen = format!("it is a link to `{}`, and no resolver kprep knows", target.display());
        return Err(refused("resolver-unknown", seen).hint(format!(
            "put a file at `{RESOLV_CONF}`, or set manage = false in [host.resolver] and give the \
             machine the cluster's DNS by hand"
        )));
    }
    if fs::is_mount_point(&real)? {
        let seen = "it is mounted from elsewhere, and cannot be replaced";
        return Err(refused("resolver-mounted", seen).hint(
            "set manage = false in [host.resolver]: whoever runs this container keeps the file",
        ));
    }
    let all = told.all();
    let ours = ResolvConf { servers: told.servers.clone(), ..all };
    Ok(Lines::head(RESOLV_CONF, ours.lines(""), is_search_or_options))
}

fn refused(code: &'static str, seen: impl Into<String>) -> Error {
    Error::host(code, format!("`{RESOLV_CONF}` is not kprep's to change")).because(seen.into())
}
