//! `kprep dns`: the cluster's DNS first in the machine's name lookups, once it answers.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use khost::{
    Context, Error, Result, StepList, Tool, engine,
    error::Exit,
    fs, lookup,
    steps::{absent::Absent, file::File, wait::Wait},
    wait::{Awaited, Seen},
};
use kspec::{Cluster, state::Facts};

use crate::{
    facts,
    resolver::{self, CLUSTER_FIRST, conf::ResolvConf, upstream},
};

/// What `kprep dns` is asked to do.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Request {
    /// Take it out again: the machine looks names up as before
    #[arg(long)]
    undo: bool,
    /// Only show what would change; exits 3 when there is something
    #[arg(long)]
    plan: bool,
}

pub(crate) fn run(tool: &Tool, request: Request) -> Result<Exit> {
    if !request.plan {
        tool.needs_root("dns")?;
        tool.alone()?;
    }
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    tool.state::<Facts>()?; // kprep was here: its files are the ones to change
    let facts = facts::gather(&tool.host, &cluster, node)?;
    let is_first = fs::exists(&tool.host.path(CLUSTER_FIRST));
    if is_first && !cluster.host.resolver.manage {
        return Err(unmanaged());
    }
    if let Some(why) = unwanted(&cluster).filter(|_| !request.undo && !is_first) {
        tool.report.summary(&format!("nothing to do: {why}"));
        return Ok(Exit::Done);
    }
    let steps = if request.undo {
        taken_out(tool, &cluster, &facts)?
    } else {
        put_first(tool, &cluster, &facts)?
    };
    if request.plan {
        return engine::plan(&steps, &tool.context());
    }
    let done = engine::apply("kprep", &steps, &tool.context());
    let made_here = !request.undo && !is_first && fs::exists(&tool.host.path(CLUSTER_FIRST));
    match done {
        Err(error) if made_here => Err(taken_back(tool, &cluster, &facts, &error)),
        done => done,
    }
}

/// Why nobody is to be put first.
fn unwanted(cluster: &Cluster) -> Option<&'static str> {
    if !cluster.host.resolver.manage {
        Some("host.resolver.manage is false")
    } else if !cluster.addons.coredns.enabled {
        Some("addons.coredns.enabled is false")
    } else {
        None
    }
}

/// It was put first, and the operator has since said that lookups are not ours.
fn unmanaged() -> Error {
    Error::input("resolver-unmanaged", "the cluster's DNS is first, and is not kprep's to change")
        .because("host.resolver.manage is false")
        .hint("set manage = true in [host.resolver], run `kprep dns --undo`, and set it back")
}

fn put_first(tool: &Tool, cluster: &Cluster, facts: &Facts) -> Result<StepList> {
    let server = cluster.cluster_dns().ok_or_else(|| {
        Error::input("cluster-dns-missing", "the service network has no address for DNS")
            .hint("set network.cluster-dns in cluster.toml")
    })?;
    let mut steps = StepList::new();
    steps.add(lookup::answered(server, &cluster.kubernetes.dns_domain));
    steps.add(passes_on(server));
    steps.add(File::new(CLUSTER_FIRST).text(format!("{server}\n")));
    resolver::set(&mut steps, &tool.host, cluster, facts, Some(server))?;
    steps.add(found_by_the_machine(&cluster.kubernetes.dns_domain));
    Ok(steps)
}

fn taken_out(tool: &Tool, cluster: &Cluster, facts: &Facts) -> Result<StepList> {
    let mut steps = StepList::new();
    steps.add(Absent::new(CLUSTER_FIRST));
    resolver::set(&mut steps, &tool.host, cluster, facts, None)?;
    Ok(steps)
}

/// Undo what this run did: the machine is not to be left without lookups.
fn taken_back(tool: &Tool, cluster: &Cluster, facts: &Facts, error: &Error) -> Error {
    let undone = taken_out(tool, cluster, facts)
        .and_then(|steps| engine::apply("kprep", &steps, &tool.context()));
    after_undoing(error, undone.map(drop))
}

/// What is to be said of `error` once it has been undone, or could not be.
fn after_undoing(error: &Error, undone: Result<()>) -> Error {
    match undone {
        Ok(()) => Error::host(
            "cluster-dns-taken-back",
            "the cluster's DNS was put first, did not serve, and was taken out again",
        )
        .because(error.chain())
        .hint("see who keeps /etc/resolv.conf with `kprep facts`, then run `kprep dns` again"),
        Err(second) => Error::host(
            "cluster-dns-stuck",
            "the cluster's DNS was put first, did not serve, and could not be taken out",
        )
        .because(format!("{}\n{}", error.chain(), second.chain()))
        .hint("run `kprep dns --undo`"),
    }
}

/// `server` looks outside names up, if the machine's own servers do: who is first is asked for
/// everything.
fn passes_on(server: IpAddr) -> Wait {
    let awaited = Awaited {
        id: "coredns-passes-on".into(),
        what: format!("an answer from {server} for names outside the cluster"),
        limit: Duration::from_secs(30),
        look: "kubectl -n kube-system logs -l k8s-app=kube-dns".into(),
    };
    Wait::new(awaited, move |context| {
        let Err(reason) = lookup::reaches_the_root(SocketAddr::new(server, 53)) else {
            return Ok(Seen::Ready);
        };
        let text = fs::read_text(&context.host.path(upstream::PATH))?.unwrap_or_default();
        let can = |own: &IpAddr| lookup::reaches_the_root(SocketAddr::new(*own, 53)).is_ok();
        Ok(match ResolvConf::parse(&text).servers.into_iter().find(can) {
            Some(own) => Seen::not_yet(format!("{reason}, and {own} answers it")),
            None => Seen::Ready, // nobody can: nothing is lost
        })
    })
}

/// Programs on the machine find the cluster's Services: the first server of their list knows them.
fn found_by_the_machine(domain: &str) -> Wait {
    let name = lookup::service(domain);
    let awaited = Awaited {
        id: "cluster-found".into(),
        what: format!("{name} in the machine's own lookups"),
        limit: Duration::from_secs(20),
        look: "cat /etc/resolv.conf".into(),
    };
    Wait::new(awaited, move |context| ask_as_programs_do(context, &name))
}

fn ask_as_programs_do(context: &Context<'_>, name: &str) -> Result<Seen> {
    let path = facts::resolver::RESOLV_CONF;
    let listed = ResolvConf::parse(&facts::resolver::raw(context.host)?).servers;
    let Some(first) = listed.first() else {
        return Ok(Seen::not_yet(format!("{path} names no server")));
    };
    Ok(match lookup::addresses(SocketAddr::new(*first, 53), name) {
        Ok(_) => Seen::Ready,
        Err(reason) => Seen::not_yet(format!("{first}, first in {path}: {reason}")),
    })
}

#[cfg(test)]
mod tests {
    use khost::Error;

    #[test]
    fn whether_it_could_be_undone_is_said() {
        let first = Error::host("timeout", "no answer from 10.233.0.3");
        let error = super::after_undoing(&first, Ok(()));
        assert_eq!(error.code(), "cluster-dns-taken-back");
        assert!(error.chain().contains("10.233.0.3"), "{}", error.chain());
        let second = Error::host("program-failed", "nmcli failed");
        let error = super::after_undoing(&first, Err(second));
        assert_eq!(error.code(), "cluster-dns-stuck");
        let chain = error.chain();
        assert!(chain.contains("10.233.0.3") && chain.contains("nmcli failed"), "{chain}");
        assert_eq!(error.next(), Some("run `kprep dns --undo`"));
    }
}
