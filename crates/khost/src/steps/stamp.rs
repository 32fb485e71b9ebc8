//! What a program had read when it was last started or told to read again.

use std::path::PathBuf;

use kspec::Sha256;

use crate::{
    Context, Host, Result, Thing,
    fs::{self, Attributes},
    steps::program::Program,
};

/// Where the stamps are. Phases share it; whose reset leaves it empty removes it.
pub(crate) const STAMP_DIR: &str = "/var/lib/k8steps/started";

/// The digest of a program's files at its last start, kept on disk: whoever changed one since, and
/// however long ago a run was killed between the change and the restart, it shows.
#[derive(Debug, Clone)]
pub(crate) struct Stamp {
    pub(crate) name: String,
    pub(crate) inputs: Vec<PathBuf>,
}

impl Stamp {
    fn path(&self) -> PathBuf {
        PathBuf::from(STAMP_DIR).join(&self.name)
    }

    /// The digest of all inputs, by name and content.
    pub(crate) fn digest(&self, host: &Host) -> Result<Sha256> {
        let mut all = Vec::new();
        for input in &self.inputs {
            let digest = fs::digest(&host.path(input))?;
            let digest = digest.map_or_else(|| "absent".into(), |digest| digest.to_string());
            all.push(format!("{} {digest}", input.display()));
        }
        Ok(Sha256::of(all.join("\n")))
    }

    /// Why the program must read its files again, if it must: they differ from those it has read,
    /// or (in a plan, where nothing is written) a step before `step`, its own, would change one.
    pub(crate) fn stale(&self, context: &Context<'_>, step: &str) -> Result<Option<String>> {
        let stamp = fs::read_text(&context.host.path(self.path()))?.unwrap_or_default();
        let changing = self.inputs.iter().find(|input| {
            let path = input.display();
            context.changes(&format!("file:{path}"))
                || context.changes(&format!("lines:{path}"))
                || context.changes(&format!("kubeconfig:{path}"))
                || context.changes(&Program::id_of(path))
        });
        Ok(match changing {
            Some(input) if !context.changes(step) => Some(format!("{} changes", input.display())),
            _ if stamp.trim() == self.digest(context.host)?.hex() => None,
            _ => Some("its files changed since it was started".into()),
        })
    }

    /// What writing it touches.
    pub(crate) fn thing(&self) -> Thing {
        Thing::File(self.path())
    }

    /// Note `digest`, taken before the program read its files: what changes later is not in it.
    pub(crate) fn write(&self, host: &Host, digest: Sha256) -> Result<()> {
        let path = host.path(self.path());
        if let Some(dir) = path.parent() {
            fs::make_dirs(dir, 0o755)?;
        }
        let attributes = Attributes { mode: 0o644, owner: None };
        fs::write(&path, format!("{}\n", digest.hex()).as_bytes(), attributes)
    }
}
