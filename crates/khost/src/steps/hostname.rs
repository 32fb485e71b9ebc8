//! The machine's host name.

use crate::{Change, Cmd, Context, Error, Result, Status, Step, Thing};

/// The host name, now and after a reboot.
#[derive(Debug, Clone)]
pub struct Hostname {
    name: String,
}

impl Hostname {
    /// The host name `name`.
    pub fn new(name: &str) -> Self {
        Self { name: name.into() }
    }
}

impl Step for Hostname {
    fn id(&self) -> String {
        "hostname".into()
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let found = current()?;
        Ok(if found == self.name {
            Status::Done
        } else {
            Status::Differs(Change::values("set the host name", found, &self.name))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::File("/etc/hostname".into()), Thing::Hostname])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        set(&self.name)
    }
}

/// The host name the kernel has now.
pub fn current() -> Result<String> {
    let name = nix::unistd::gethostname().map_err(|error| {
        Error::host("hostname-failed", "cannot ask for the host name").because(error)
    })?;
    Ok(name.to_string_lossy().into_owned())
}

pub(crate) fn set(name: &str) -> Result<()> {
    Cmd::new("hostnamectl").args(["set-hostname", name]).run().map(drop)
}
