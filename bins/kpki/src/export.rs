//! `kpki export NODE`: that node's certificates of etcd, for `kpki import` there. The authority's
//! key stays where it is.

use std::{collections::BTreeMap, path::PathBuf};

use khost::{Error, Result, Tool, error::Exit, handover::Outlet, named_node};
use kspec::{PemPair, PkiExport, SCHEMA};
use time::OffsetDateTime;

use crate::{
    authority::{Authority, Rules},
    leaf::{Leaf, Use},
    names,
};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// Which [[node]] it is for
    #[arg(value_name = "NODE")]
    to: String,
    /// Write it to FILE, 0600, instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Issue the certificates that the node needs, and write them out; nothing is kept here.
///
/// # Errors
/// `export-needless`, `export-to-terminal`, and whatever keeps the authority from issuing.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    let outlet = Outlet { file: request.output.as_deref(), taken_by: "kpki import -" };
    outlet.refuse_terminal()?;
    let text = document(tool, &request.to)?.to_json().map_err(|error| {
        Error::host("export-failed", "cannot encode the certificates").because(error)
    })?;
    outlet.give(&tool.report, &text)?;
    Ok(Exit::Done)
}

fn document(tool: &Tool, name: &str) -> Result<PkiExport> {
    let cluster = tool.cluster()?;
    let target = named_node(&cluster, name)?;
    let uses = Use::of(target);
    if uses.is_empty() {
        return Err(Error::input(
            "export-needless",
            format!("node `{name}` needs no certificates of etcd"),
        )
        .hint("only nodes with the role `etcd` or `control-plane` do"));
    }
    let rules = Rules::new(&cluster, OffsetDateTime::now_utc())?;
    let authority = Authority::new(&cluster, tool.node(&cluster)?, rules);
    authority.refuse_unusable(&tool.host)?;
    authority.refuse_unsettled(&tool.host)?;
    let names = names::of(&cluster)?;
    let (ca, _) = authority.signer(&tool.host)?;
    authority.keys.expect(uses.len());
    let mut pairs = BTreeMap::new();
    for purpose in uses {
        let leaf = Leaf::new(purpose, target, &names, &authority, rules);
        let (key, cert) = leaf.make(&tool.host)?;
        pairs.insert(purpose.word().into(), PemPair { cert, key: key.serialize_pem() });
    }
    Ok(PkiExport { schema: SCHEMA, node: name.into(), ca: ca.pem, pairs })
}
