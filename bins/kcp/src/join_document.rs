//! `kcp join FILE|-`: what `kcp join-command` wrote for this node, kept until `kcp apply` has used
//! it.

use std::path::PathBuf;

use khost::{
    Error, Result, StepList, Tool, engine,
    error::Exit,
    fs, handover,
    steps::{directory::Directory, file::File},
};
use kspec::{
    JoinDocument, Role, SCHEMA,
    paths::{JOIN_DOCUMENT, KUBE_CERT_DIR, KUBE_DIR},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{encryption, endpoints, marker::Marker};

const AGAIN: &str = "make it anew with `kcp join-command` and bring it whole";

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// What `kcp join-command` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Look at it, and keep it for `kcp apply`.
///
/// # Errors
/// `join-invalid`, `join-expired`, `join-other-node`, `join-other-cluster`,
/// `join-without-certificates`, `join-needless`; each before anything is changed.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    tool.needs_root("join")?;
    let bytes = handover::take(&request.file)?;
    let document = parse(&bytes)?;
    tool.alone()?;
    refuse_unfit(tool, &document)?;
    let text = document
        .to_json()
        .map_err(|error| Error::host("join-failed", "cannot encode the document").because(error))?;
    let mut steps = StepList::new();
    if !fs::exists(&tool.host.path(KUBE_DIR)) {
        steps.add(Directory::new(KUBE_DIR));
    }
    if let Some(keys) = &document.encryption {
        if !fs::exists(&tool.host.path(KUBE_CERT_DIR)) {
            steps.add(Directory::new(KUBE_CERT_DIR));
        }
        steps.add(File::new(encryption::PATH).mode(0o600).secret(keys.clone()));
    }
    steps.add(File::new(JOIN_DOCUMENT).mode(0o600).secret(text));
    engine::apply("kcp", &steps, &tool.context())?;
    tool.report
        .say(&format!("`kcp apply` joins `{}` now; until {}", document.node, document.expires));
    Ok(Exit::Done)
}

/// The document that is kept here, if there is one.
pub(crate) fn kept(tool: &Tool) -> Result<Option<JoinDocument>> {
    fs::read(&tool.host.path(JOIN_DOCUMENT))?.map(|bytes| parse(&bytes)).transpose()
}

/// Refuse to begin on the machine of `node`, which joins and has not yet, without a document.
pub(crate) fn needed(tool: &Tool, node: &str, document: Option<&JoinDocument>) -> Result<()> {
    let joined = Marker::read(&tool.host)?.is_initialised();
    if joined || document.is_some() || !tool.host.is_live() {
        return Ok(()); // in a tree nothing joins
    }
    Err(missing(node))
}

/// The error where one is needed and there is none.
pub(crate) fn missing(node: &str) -> Error {
    Error::input("join-document-missing", format!("`{JOIN_DOCUMENT}` does not exist"))
        .because(format!("node `{node}` joins a cluster that other nodes make"))
        .hint(how_to_get(node))
}

/// What to type, and where.
pub(crate) fn how_to_get(node: &str) -> String {
    format!(
        "run `kcp join-command {node}` on a control plane, and `kcp join -` here with what it says"
    )
}

fn parse(bytes: &[u8]) -> Result<JoinDocument> {
    let invalid = |why: String| {
        Error::input("join-invalid", "it is not what `kcp join-command` writes")
            .because(why)
            .hint(AGAIN)
    };
    let document: JoinDocument = serde_json::from_slice(bytes).map_err(|error| {
        // Where, not what: the text is a secret.
        let kind = if error.is_eof() { "it ends too early" } else { "it cannot be read" };
        invalid(format!("{kind}, at line {} column {}", error.line(), error.column()))
    })?;
    match document.schema {
        SCHEMA => Ok(document),
        other => Err(invalid(format!("schema {other} is not supported"))),
    }
}

fn refuse_unfit(tool: &Tool, document: &JoinDocument) -> Result<()> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let refused = |code, message: String| Error::input(code, message).hint(how_to_get(&node.name));
    if document.node != node.name {
        let message = format!("it is for node `{}`, and this is `{}`", document.node, node.name);
        return Err(refused("join-other-node", message));
    }
    let expires = OffsetDateTime::parse(&document.expires, &Rfc3339);
    match expires {
        Ok(expires) if expires > OffsetDateTime::now_utc() => {}
        _ => return Err(refused("join-expired", format!("it served until {}", document.expires))),
    }
    if node.is(Role::ControlPlane) && document.certificate_key.is_none() {
        let message = "it is for a worker, and this node is a control plane".to_owned();
        return Err(refused("join-without-certificates", message));
    }
    for (what, given, own) in [
        ("cluster", &document.cluster, &cluster.kubernetes.cluster_name),
        ("Kubernetes version", &document.version, &cluster.kubernetes.version.to_string()),
        ("API server", &document.endpoint, &endpoints::for_everyone(&cluster)),
    ] {
        if given != own {
            return Err(Error::input(
                "join-other-cluster",
                format!("its {what} is {given}, here it is {own}"),
            )
            .hint("give all nodes the same cluster.toml"));
        }
    }
    if Marker::read(&tool.host)?.is_initialised() {
        return Err(Error::input("join-needless", "this node is part of a cluster already")
            .hint("run `kcp check`; to take it out, `kcp reset`"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn fuzz_join() {
        let seed = r#"{"schema":1,"node":"n","cluster":"c","version":"1.33.3","endpoint":"a:6443",
            "token":"abcdef.0123456789abcdef","ca-key-hash":"sha256:00","certificate-key":"00",
            "encryption":"kind: EncryptionConfiguration","expires":"2026-01-01T00:00:00Z"}"#;
        fuzz::target([seed], |bytes| match parse(bytes) {
            Ok(document) => drop(document.to_json().unwrap()),
            Err(error) => assert_eq!(error.code(), "join-invalid"),
        });
    }
}
