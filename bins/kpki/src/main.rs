//! kpki: issue the certificates of etcd, once.
//!
//! Reads  `cluster.toml`, `facts.json`
//! Writes `pki.json`, `/etc/ssl/etcd/ssl/*.pem`; makes the user etcd, which owns them

mod authority;
mod export;
mod holder;
mod import;
mod inspect;
mod inventory;
mod issue;
mod keys;
mod kubeconfig;
mod leaf;
mod names;
mod pair;
mod record;
mod renew;
mod rotate;
mod status;
mod timer;

use std::process::ExitCode;

use khost::{
    Result, StepList, Tool,
    app::Cli,
    error::Exit,
    steps::{
        account::{Group, User},
        trust::TrustAnchor,
    },
};
use kspec::state::Facts;
use time::OffsetDateTime;

use crate::{
    authority::{Authority, Rules},
    leaf::{Leaf, Use},
    record::Record,
};

const ABOUT: &str = "Issue the certificates of etcd, once

Keeps etcd's certificate authority and this node's certificates in /etc/ssl/etcd/ssl: member (etcd) \
and admin (etcdctl) on etcd nodes, node (the API server) on control planes. A certificate is issued \
again only when its names, its key, its issuer or its remaining life give a reason; the authority \
keeps its key for good. Also makes the user etcd, which owns the directory.

The first etcd node of cluster.toml makes the authority, and issues what the other etcd nodes and \
control planes need: before `kpki apply` there,

  kpki export node2 | ssh node2 kpki import -

Then, on any of them,

  kpki plan      which certificates would be issued, and why
  kpki status    what there is, and how long it lasts
  kpki renew     renew what ends soon, kubeadm's and the kubelet's as well";

/// What kpki can do.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// List every certificate of this node; exits 3 when one is not good
    Status,
    /// Renew what ends soon, one after the other, seeing each at work before the next
    ///
    /// Where something does not work with its new certificate, the old one is put back. It needs no
    /// API server: also when everything has ended, it is renewed.
    Renew(renew::Request),
    /// Replace etcd's authority: trust both, issue anew, drop the old one
    ///
    /// Killed anywhere, it is taken up by the next run. Where other nodes have to follow, each run
    /// does one of three stages and says what to do on them.
    RotateCa,
    /// Issue another node's certificates, for `import` there
    Export(export::Request),
    /// Take what `export` made for this node, all of it or nothing
    Import(import::Request),
}

fn main() -> ExitCode {
    khost::app::main("kpki", ABOUT, run)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that khost::app::main calls")]
fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("kpki", &cli.common);
    match &cli.verb {
        Verb::Phase(verb) => tool.run::<Verb>(verb, ABOUT, steps),
        Verb::Renew(request) => renew::run(&tool, request),
        Verb::RotateCa => rotate::run(&tool),
        Verb::Export(request) => export::run(&tool, request),
        Verb::Import(request) => import::run(&tool, request),
        Verb::Status => status::print(&tool),
    }
}

/// The phase as a list.
fn steps(tool: &Tool) -> Result<StepList> {
    let mut steps = StepList::new();
    let Some((authority, leaves)) = certificates(tool)? else { return Ok(steps) };
    let facts: Facts = tool.state()?;
    authority.refuse_unusable(&tool.host)?;
    leaves.iter().try_for_each(|leaf| leaf.refuse_unissuable(&tool.host))?;
    let mut keys = usize::from(authority.is_to_be_made(&tool.host)?);
    for leaf in &leaves {
        keys += usize::from(leaf.must_issue(&tool.host)?.is_some());
    }
    authority.keys.expect(keys);

    steps.add(Group::new("etcd"));
    steps.add(User::new("etcd", "etcd", "Etcd user"));
    steps.add(authority::directory());
    steps.add(authority.clone());
    steps.extend(leaves.clone());
    let cluster = tool.cluster()?;
    steps.add(Record::new(&authority, &leaves));
    steps.milestone("issued");
    timer::add_to(&mut steps, &cluster);
    // Last: it takes the distribution's program seconds, and nobody waits for it.
    if cluster.pki.trust_ca {
        steps.add(TrustAnchor::new(facts.os.family, "etcd-ca", &authority.pair.cert));
    }
    Ok(steps)
}

/// The authority and what it issues for this node; none for a node that never talks to etcd.
fn certificates(tool: &Tool) -> Result<Option<(Authority, Vec<Leaf>)>> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let rules = Rules::new(&cluster, OffsetDateTime::now_utc())?;
    let names = names::of(&cluster)?;
    let uses = Use::of(node);
    if uses.is_empty() {
        return Ok(None);
    }
    let authority = Authority::new(&cluster, node, rules);
    let leaf = |purpose| Leaf::new(purpose, node, &names, &authority, rules);
    let leaves = uses.into_iter().map(leaf).collect();
    Ok(Some((authority, leaves)))
}
