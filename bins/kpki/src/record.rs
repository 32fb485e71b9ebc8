//! `pki.json`: the certificates on disk, for the other phases.

use std::path::Path;

use khost::{Change, Context, Host, Result, Status, Step, Thing, Tool, steps::file::File};
use kspec::{
    SCHEMA,
    state::{Certificate, PkiState, State as _},
};

use crate::{
    authority::Authority,
    inspect::{Seen, rfc3339},
    leaf::{Leaf, Use},
    pair::Pair,
};

/// The step that leaves `pki.json`. What it says is known only once the certificates are there,
/// so it is put together when it is looked at, not when the list of steps is made.
#[derive(Debug)]
pub(crate) struct Record {
    authority: Authority,
    leaves: Vec<Leaf>,
}

impl Record {
    /// The record of these certificates.
    pub(crate) fn new(authority: &Authority, leaves: &[Leaf]) -> Self {
        Self { authority: authority.clone(), leaves: leaves.to_vec() }
    }

    /// The file as it should be; none while a certificate is still to be issued.
    fn file(&self, host: &Host) -> Result<Option<File>> {
        if !self.authority.is_settled(host)? {
            return Ok(None);
        }
        for leaf in &self.leaves {
            if leaf.must_issue(host)?.is_some() {
                return Ok(None);
            }
        }
        let Some(ca) = describe(&self.authority.pair, host)? else { return Ok(None) };
        let mut state = PkiState { schema: SCHEMA, ca, member: None, admin: None, node: None };
        for leaf in &self.leaves {
            let certificate = describe(&leaf.pair, host)?;
            match leaf.purpose {
                Use::Member => state.member = certificate,
                Use::Admin => state.admin = certificate,
                Use::Node => state.node = certificate,
            }
        }
        Tool::leave(&state).map(Some)
    }
}

fn describe(pair: &Pair, host: &Host) -> Result<Option<Certificate>> {
    let seen: Option<Seen> = pair.certificate(host)?.and_then(Result::ok);
    Ok(seen.map(|seen| Certificate {
        cert: pair.cert.display().to_string(),
        key: pair.key.display().to_string(),
        sha256: seen.sha256,
        not_after: rfc3339(seen.term.until),
        subject: seen.subject,
    }))
}

impl Step for Record {
    fn id(&self) -> String {
        format!("file:{}", PkiState::PATH)
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if let Some(file) = self.file(context.host)? {
            return file.check(context);
        }
        let there = khost::fs::exists(&context.host.path(PkiState::PATH));
        let verb = if there { "change" } else { "create" };
        Ok(Status::Differs(Change::new(format!("{verb} {}", PkiState::PATH))))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        File::new(Path::new(PkiState::PATH)).touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        match self.file(context.host)? {
            Some(file) => file.apply(context),
            None => Ok(()), // the check that follows says what is still missing
        }
    }
}
