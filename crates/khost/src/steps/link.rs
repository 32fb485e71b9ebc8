//! A symbolic link.

use std::path::{Path, PathBuf};

use crate::{
    Change, Context, Error, Result, Status, Step, Thing, fs,
    steps::file::{make_parents, missing_parents},
};

/// A link at one path to another.
#[derive(Debug, Clone)]
pub struct Link {
    path: PathBuf,
    target: PathBuf,
    replaces: bool,
}

impl Link {
    /// A link at the host's absolute `path` that says `target`.
    pub fn new(path: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), target: target.into(), replaces: false }
    }

    /// The systemd unit `name` cannot be started, by hand, at boot or for another unit
    /// (systemctl(1), `mask`), wherever its file is; one of the administrator gives way.
    pub fn mask(name: &str) -> Self {
        let path = Path::new(kspec::paths::UNIT_DIR).join(name);
        Self { replaces: true, ..Self::new(path, "/dev/null") }
    }

    fn found(&self, real: &Path) -> Result<Option<PathBuf>> {
        match fs::look(real)? {
            None => Ok(None),
            Some(found) if found.is_symlink() => fs::link_target(real),
            Some(found) if self.replaces && found.is_file() => Ok(None),
            Some(_) => {
                let path = self.path.display();
                Err(Error::host("not-a-link", format!("`{path}` is in the way"))
                    .because("a link is needed there and something else exists")
                    .hint(format!("move `{path}` away and run again")))
            }
        }
    }
}

impl Step for Link {
    fn id(&self) -> String {
        format!("link:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let what = format!("link {} to {}", self.path.display(), self.target.display());
        Ok(match self.found(&context.host.path(&self.path))? {
            Some(found) if found == self.target => Status::Done,
            Some(found) => {
                let (before, after) =
                    (found.display().to_string(), self.target.display().to_string());
                Status::Differs(Change::values(what, before, after))
            }
            None => Status::Differs(Change::new(what)),
        })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        things.push(Thing::File(self.path.clone()));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        make_parents(context.host, &self.path)?;
        fs::link(&context.host.path(&self.path), &self.target)
    }
}
