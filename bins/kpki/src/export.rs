//! `kpki export NODE`: that node's certificates of etcd, for `kpki import` there. The authority's
//! key stays where it is.

use std::{
    collections::BTreeMap,
    fs::{File, Permissions},
    io::{self, IsTerminal as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use khost::{
    Error, Result, Tool,
    error::Exit,
    fs::{self, Attributes},
    named_node,
};
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
    let terminal = request.output.is_none() && io::stdout().is_terminal();
    if terminal {
        return Err(Error::input("export-to-terminal", "private keys would be shown")
            .hint("pipe it into `kpki import -` on the other node, or write it to a file: `--output FILE`"));
    }
    let text = document(tool, &request.to)?.to_json().map_err(|error| {
        Error::host("export-failed", "cannot encode the certificates").because(error)
    })?;
    if let Some(file) = &request.output {
        fs::write(&here(file), text.as_bytes(), Attributes { mode: 0o600, owner: None })?;
    } else {
        keep_private(&io::stdout()).map_err(|error| {
            Error::host("export-exposed", "others could read what is exported")
                .because(error)
                .hint("write it to a file of its own: `--output FILE`")
        })?;
        tool.report.data(&text);
    }
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
    let mut pairs = BTreeMap::new();
    for purpose in uses {
        let leaf = Leaf::new(purpose, target, &names, &authority, rules);
        let (key, cert) = leaf.make(&tool.host)?;
        pairs.insert(purpose.word().into(), PemPair { cert, key: key.serialize_pem() });
    }
    Ok(PkiExport { schema: SCHEMA, node: name.into(), ca: ca.pem, pairs })
}

/// A file that a shell opened for it (`> FILE`) has the shell's mode; it becomes 0600 before the
/// first byte. Pipes have no mode.
fn keep_private(out: &io::Stdout) -> io::Result<()> {
    let file = File::from(out.as_fd().try_clone_to_owned()?);
    let found = file.metadata()?;
    if found.is_file() && found.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// `path` with its directory named, which files are replaced in.
fn here(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new(".").join(path),
        _ => path.to_owned(),
    }
}
