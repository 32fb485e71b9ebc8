//! `kpki import FILE|-`: take what `kpki export` made for this node, all of it or nothing.

use std::path::{Path, PathBuf};

use khost::{
    Change, Context, Error, Owner, Result, Status, Step, StepList, Thing, Tool, engine,
    error::Exit,
    fs, handover,
    steps::{
        account::{Group, User},
        file::File,
    },
};
use kspec::{PemPair, PkiExport, SCHEMA};
use rcgen::{KeyPair, PublicKeyData as _};
use time::OffsetDateTime;

use crate::{
    authority::{self, Authority, Identity, Rules},
    inspect::Seen,
    leaf::{Leaf, Use},
    names,
    pair::Pair,
};

const AGAIN: &str = "run `kpki export` again where it was made, and bring it whole";

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// What `kpki export` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Look at all of it, and only then put it in its place. `kpki apply` goes on from there.
///
/// # Errors
/// `import-exposed`, `import-invalid`, `import-other-node`, `import-mismatch`,
/// `import-other-authority`; each before anything is changed.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    tool.needs_root("import")?;
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let export = parse(&handover::take(&request.file)?)?;
    tool.alone()?;
    if export.node != node.name {
        return Err(Error::input(
            "import-other-node",
            format!("it is for node `{}`, and this is `{}`", export.node, node.name),
        )
        .hint(format!("run `kpki export {}` where the authority is made", node.name)));
    }
    let rules = Rules::new(&cluster, OffsetDateTime::now_utc())?;
    let authority = Authority::new(&cluster, node, rules);
    let names = names::of(&cluster)?;
    let leaf = |purpose| Leaf::new(purpose, node, &names, &authority, rules);
    let leaves: Vec<_> = Use::of(node).into_iter().map(leaf).collect();

    let cas = usable_authorities(&export, rules)?;
    refuse_another_authority(tool, &authority, &cas)?;
    let given = matching(export.pairs, &leaves, &cas)?;

    let mut steps = StepList::new();
    steps.add(Group::new("etcd"));
    steps.add(User::new("etcd", "etcd", "Etcd user"));
    steps.add(authority::directory());
    steps.add(File::new(&authority.pair.cert).mode(0o644).owner(Owner::root()).secret(export.ca));
    steps.extend(given);
    engine::apply("kpki", &steps, &tool.context())
}

fn parse(bytes: &[u8]) -> Result<PkiExport> {
    let invalid = |why: String| {
        Error::input("import-invalid", "it is not what `kpki export` writes")
            .because(why)
            .hint(AGAIN)
    };
    let export: PkiExport = serde_json::from_slice(bytes).map_err(|error| {
        // Where, not what: the text is a secret.
        let kind = if error.is_eof() { "it ends too early" } else { "it cannot be read" };
        invalid(format!("{kind}, at line {} column {}", error.line(), error.column()))
    })?;
    match export.schema {
        SCHEMA => Ok(export),
        other => Err(invalid(format!("schema {other} is not supported"))),
    }
}

/// The authorities it names: all are, and the first issues.
fn usable_authorities(export: &PkiExport, rules: Rules) -> Result<Vec<Seen>> {
    let mismatch = |why: String| {
        Error::input("import-mismatch", "its authority cannot be used").because(why).hint(AGAIN)
    };
    let cas = Seen::parse_all(export.ca.as_bytes()).map_err(mismatch)?;
    for ca in &cas {
        if !ca.is_authority {
            return Err(mismatch(format!("{} is no certificate authority", ca.subject)));
        }
    }
    match cas.first().and_then(|ca| ca.out_of_term(rules.now, 0)) {
        Some(why) => Err(mismatch(why)),
        None => Ok(cas),
    }
}

/// One authority may follow another only if they vouch for each other: a bundle that holds one
/// that this node trusts already.
fn refuse_another_authority(tool: &Tool, own: &Authority, cas: &[Seen]) -> Result<()> {
    let other = |file: &Path| {
        let file = file.display();
        Error::input("import-other-authority", format!("`{file}` is of another authority"))
            .because("what runs here would no longer be trusted")
            .hint(format!(
                "move `{file}` away if this node is to go over to the other, or run `kpki export` \
                 where its own authority is made"
            ))
    };
    let pair = &own.pair;
    if let Some(bytes) = fs::read(&tool.host.path(&pair.cert))?
        && let Ok(trusted) = Seen::parse_all(&bytes)
        && !trusted.iter().any(|one| cas.iter().any(|ca| ca.key_info == one.key_info))
    {
        return Err(other(&pair.cert));
    }
    match pair.private_key(&tool.host)? {
        Some(Ok(key))
            if cas.first().is_some_and(|ca| ca.key_info != key.subject_public_key_info()) =>
        {
            Err(other(&pair.key))
        }
        _ => Ok(()),
    }
}

/// Each of `leaves` with its pair, when these are exactly the ones that are given and each is what
/// `kpki apply` would have issued here.
fn matching(
    mut pairs: std::collections::BTreeMap<String, PemPair>,
    leaves: &[Leaf],
    cas: &[Seen],
) -> Result<Vec<Given>> {
    let mismatch = |name: &str, why: String| {
        Error::input("import-mismatch", format!("its `{name}` certificate cannot be used"))
            .because(why)
            .hint("give both nodes the same cluster.toml, then export again")
    };
    let issuer =
        cas.first().map(|ca| Identity { key_info: ca.key_info.clone(), key_id: ca.key_id.clone() });
    let mut given = Vec::new();
    for leaf in leaves {
        let name = leaf.purpose.word();
        let pem = pairs
            .remove(name)
            .ok_or_else(|| mismatch(name, "it is missing, and this node needs it".into()))?;
        let seen = Seen::parse(pem.cert.as_bytes()).map_err(|why| mismatch(name, why))?;
        let key = KeyPair::from_pem(&pem.key)
            .map_err(|_| mismatch(name, "its key cannot be read".into()))?;
        if let Some(why) = leaf.fault(&seen, &key, issuer.as_ref()) {
            return Err(mismatch(name, why));
        }
        given.push(Given { pair: leaf.pair.clone(), pem });
    }
    match pairs.keys().next() {
        Some(name) => Err(mismatch(name, "this node needs no such certificate".into())),
        None => Ok(given),
    }
}

/// A certificate with its key, brought from elsewhere.
#[derive(Debug)]
struct Given {
    pair: Pair,
    pem: PemPair,
}

impl Step for Given {
    fn id(&self) -> String {
        self.pair.id()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let is = |path: &Path, text: &str| -> Result<bool> {
            Ok(fs::read(&context.host.path(path))?.is_some_and(|bytes| bytes == text.as_bytes()))
        };
        if is(&self.pair.cert, &self.pem.cert)? && is(&self.pair.key, &self.pem.key)? {
            return self.pair.attributes(context);
        }
        Ok(Status::Differs(Change::new(format!("take over {}", self.pair.cert.display()))))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(self.pair.things())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.pair.put(context, Some(&self.pem.key), &self.pem.cert)
    }
}

#[cfg(test)]
mod tests {
    use kspec::{PemPair, PkiExport, SCHEMA};

    use super::{Seen, parse};

    #[test]
    fn fuzz_export() {
        let pem = || "-----BEGIN CERTIFICATE-----\nMA==\n-----END CERTIFICATE-----\n".to_owned();
        let pairs = [("member".into(), PemPair { cert: pem(), key: pem() })].into();
        let export = PkiExport { schema: SCHEMA, node: "node1".into(), ca: pem(), pairs };
        fuzz::target([export.to_json().unwrap()], |bytes| match parse(bytes) {
            Ok(export) => drop(Seen::parse_all(export.ca.as_bytes())),
            Err(error) => assert_eq!(error.code(), "import-invalid"),
        });
    }
}
