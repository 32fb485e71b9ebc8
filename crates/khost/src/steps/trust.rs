//! A certificate authority that the whole machine trusts, by the distribution's own program.

use std::path::{Path, PathBuf};

use kspec::state::Family;

use crate::{
    Change, Cmd, Context, Host, Result, Status, Step, Thing,
    fs::{self, Attributes},
    os,
};

const END: &str = "-----END CERTIFICATE-----\n";

/// A CA certificate in the distribution's place for local authorities.
#[derive(Debug, Clone)]
pub struct TrustAnchor {
    path: PathBuf,
    from: PathBuf,
    family: Family,
}

impl TrustAnchor {
    /// The PEM file `from`, trusted under `name` (without an ending).
    pub fn new(family: Family, name: &str, from: impl Into<PathBuf>) -> Self {
        // update-ca-certificates(8) and update-ca-trust(8)
        let dir = match family {
            Family::Debian => "/usr/local/share/ca-certificates",
            Family::RedHat => "/etc/pki/ca-trust/source/anchors",
        };
        Self { path: Path::new(dir).join(format!("{name}.crt")), from: from.into(), family }
    }

    /// The file the machine's programs read.
    fn bundle(&self) -> &'static str {
        match self.family {
            Family::Debian => "/etc/ssl/certs/ca-certificates.crt",
            Family::RedHat => "/etc/pki/tls/certs/ca-bundle.crt",
        }
    }
}

impl Step for TrustAnchor {
    fn id(&self) -> String {
        format!("trust:{}", self.path.display())
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let host = context.host;
        let wanted = fs::read_text(&host.path(&self.from))?.unwrap_or_default();
        let anchor = fs::read_text(&host.path(&self.path))?.unwrap_or_default();
        let bundle = fs::read_text(&host.path(self.bundle()))?.unwrap_or_default();
        // While an authority is replaced the file holds two, which the bundle may have apart.
        let known = wanted.split_inclusive(END).all(|pem| bundle.contains(pem.trim()));
        let trusted = !wanted.is_empty() && anchor == wanted && known;
        // In a plan, where nothing is written: an earlier step would make it anew.
        let renewed = context.changes(&format!("certificate:{}", self.from.display()));
        Ok(if trusted && (!renewed || context.changes(&self.id())) {
            Status::Done
        } else {
            let what = format!("trust the CA of {} machine-wide", self.from.display());
            Status::Differs(Change::new(what))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::TrustAnchor(self.path.clone())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let pem = fs::read(&host.path(&self.from))?.unwrap_or_default();
        let path = host.path(&self.path);
        if let Some(dir) = path.parent() {
            fs::make_dirs(dir, 0o755)?;
        }
        fs::write(&path, &pem, Attributes { mode: 0o644, owner: None })?;
        // A link that is there may be to another certificate, or without its hash: a killed run's.
        let known = Path::new("/etc/ssl/certs")
            .join(self.path.with_extension("pem").file_name().unwrap_or_default());
        let is_new = fs::look(&host.path(known))?.is_none();
        refresh(host, &self.path, if is_new { "" } else { AFRESH })
    }
}

/// Take the anchor away and let the distribution rebuild its bundle.
pub(crate) fn remove(host: &Host, path: &Path) -> Result<()> {
    fs::remove(&host.path(path))?;
    refresh(host, path, AFRESH)
}

/// Without it Debian's program leaves links to authorities that were taken away, and makes no hash
/// for a link that is there. With it there is no link to any authority for a while, and each is made
/// anew, which takes half as long again: not for an authority that is only added.
const AFRESH: &str = "--fresh";

/// Debian's program appends to what an update that died left behind, and dies itself when nobody
/// reads what it says.
const DEBIAN: &str = "rm -f /etc/ssl/certs/ca-certificates.crt.new; \
                      update-ca-certificates $1 >/dev/null";
const RED_HAT: &str = "update-ca-trust extract";

/// Rebuild the bundle. A killed run leaves its update at work, and two at once spoil the bundle:
/// flock(1) keeps the second waiting, with the directory of anchors as the lock.
fn refresh(host: &Host, anchor: &Path, how: &str) -> Result<()> {
    let dir = anchor.parent().unwrap_or(anchor);
    let script = match os::operating_system(host)?.family {
        Family::Debian => DEBIAN,
        Family::RedHat => RED_HAT,
    };
    Cmd::new("flock").arg(dir).args(["sh", "-c", script, "sh", how]).run().map(drop)
}
