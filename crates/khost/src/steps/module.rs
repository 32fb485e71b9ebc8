//! A kernel feature that a module brings, unless it is built in.

use std::path::PathBuf;

use crate::{
    Change, Cmd, Context, Error, Host, Result, Status, Step, Thing, fs, original::Restored,
};

/// The module `name`, told by a file that exists once the feature is there: what counts is the
/// feature, not whether a module is listed.
#[derive(Debug, Clone)]
pub struct Module {
    name: String,
    feature: PathBuf,
}

impl Module {
    /// Module `name`, there when `feature` exists, e.g. `/proc/sys/net/bridge`.
    pub fn new(name: &str, feature: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), feature: feature.into() }
    }

    /// The id of the step that loads `name`.
    pub(crate) fn id_of(name: &str) -> String {
        format!("module:{name}")
    }
}

impl Step for Module {
    fn id(&self) -> String {
        Self::id_of(&self.name)
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(if fs::exists(&context.host.path(&self.feature)) {
            Status::Done
        } else {
            Status::Differs(Change::new(format!("load kernel module {}", self.name)))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Module(self.name.clone())])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        Cmd::new("modprobe").arg(&self.name).run().map(drop).map_err(|error| {
            let name = &self.name;
            Error::host("module-missing", format!("kernel module `{name}` cannot be loaded"))
                .because(error)
                .hint(format!(
                    "install the package with this kernel's modules (Debian: linux-image, \
                     Rocky: kernel-modules), then `modprobe {name}`"
                ))
        })
    }
}

/// Whether this kernel's module tree has `name`, so that it can be loaded at boot.
pub fn is_loadable(host: &Host, name: &str) -> Result<bool> {
    let release = nix::sys::utsname::uname()
        .map_err(|error| Error::host("uname-failed", "cannot ask the kernel").because(error))?;
    let tree = host.path("/lib/modules").join(release.release());
    let list = fs::read_text(&tree.join("modules.dep"))?.unwrap_or_default();
    Ok(list.lines().any(|line| {
        let path = line.split(':').next().unwrap_or_default();
        path.rsplit('/').next().is_some_and(|file| file.split('.').next() == Some(name))
    }))
}

/// Best effort: a module in use stays, and does no harm.
pub(crate) fn unload(name: &str) -> Restored {
    match Cmd::new("modprobe").args(["--remove", name]).run() {
        Ok(_) => Restored::Done,
        Err(_) => Restored::Left(format!("kernel module {name} is still in use")),
    }
}

#[cfg(test)]
mod tests {
    use super::Module;
    use crate::{
        Context, Host, Step as _,
        report::{Loudness, Report},
    };

    /// Nothing is loaded anywhere: there is no module of that name.
    #[test]
    fn a_module_that_nobody_has() {
        let (host, report) = (Host::new("/nowhere"), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let error = Module::new("k8steps_none", "/none").apply(&context).unwrap_err();
        assert_eq!(error.code(), "module-missing");
        assert!(error.chain().contains("kernel module `k8steps_none` cannot be loaded"));
        assert!(error.next().unwrap().contains("kernel-modules"));
    }
}
