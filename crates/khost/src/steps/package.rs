//! Packages of the distribution, in one transaction.

use std::time::Duration;

use kspec::state::Family;

use crate::{
    Change, Cmd, Context, Error, Result, Status, Step, Thing,
    steps::{
        dpkg,
        package_manager::{self as manager, LIMIT},
    },
    wait,
};

/// How often an installation is tried, as kubespray does (`pkg_install_retries`).
const ATTEMPTS: u32 = 4;

/// These packages are installed. Only the missing ones are asked for.
#[derive(Debug, Clone)]
pub struct Packages {
    family: Family,
    names: Vec<String>,
}

impl Packages {
    /// The packages `names` of a distribution of `family`.
    pub fn new(family: Family, names: &[&str]) -> Self {
        Self { family, names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    /// Those that are not installed.
    pub fn missing(&self) -> Result<Vec<String>> {
        let installed = match self.family {
            Family::Debian => dpkg::installed()?,
            Family::RedHat => {
                // A package counts by its name or by what it provides.
                let mut found = Vec::new();
                for name in &self.names {
                    let query =
                        Cmd::new("rpm").args(["--query", "--quiet", "--whatprovides", name]);
                    if query.accept(&[0, 1]).run()?.code == 0 {
                        found.push(name.clone());
                    }
                }
                found
            }
        };
        Ok(self.names.iter().filter(|name| !installed.contains(name)).cloned().collect())
    }

    /// What installing `missing` would bring, by what the machine's sources have now. That their
    /// lists are read anew changes nothing of the machine's own.
    fn resolve(&self, missing: &[String]) -> Result<manager::Coming> {
        if self.family == Family::Debian {
            Cmd::new("apt-get").args(["-qq", "update"]).limit(LIMIT).run()?;
        }
        manager::coming(self.family, missing)
    }

    fn install(&self, missing: &[String]) -> Result<()> {
        if self.family == Family::RedHat {
            return manager::installation(self.family, missing).run().map(drop);
        }
        dpkg::finish()?;
        let torn = dpkg::torn()?;
        if torn.is_empty() {
            return manager::installation(self.family, missing).run().map(drop);
        }
        let automatic = dpkg::automatic(&torn)?;
        let all = manager::installation(self.family, &[missing, &torn].concat());
        all.arg("--reinstall").run()?;
        if !automatic.is_empty() {
            Cmd::new("apt-mark").arg("auto").args(automatic).run()?; // nobody asked for them
        }
        Ok(())
    }
}

/// Try it a few times: a mirror may be away for a moment.
fn patiently<T>(
    context: &Context<'_>,
    names: &[String],
    attempt: impl Fn() -> Result<T>,
) -> Result<T> {
    let mut number = 1;
    loop {
        let error = match attempt() {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        context.report.say(&format!("attempt {number} of {ATTEMPTS}: {error}"));
        if number == ATTEMPTS {
            let what = format!("cannot install: {}", names.join(" "));
            return Err(Error::host("packages-failed", what)
                .because(error)
                .hint("install them by hand, or set `manage-packages = false` in [host]"));
        }
        wait::nap(Duration::from_secs(u64::from(number)));
        number += 1;
    }
}

impl Step for Packages {
    fn id(&self) -> String {
        "packages".into()
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let missing = self.missing()?;
        Ok(if missing.is_empty() {
            Status::Done
        } else {
            Status::Differs(Change::new(format!("install packages: {}", missing.join(" "))))
        })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let missing = self.missing()?;
        let coming = patiently(context, &missing, || self.resolve(&missing))?;
        Ok(vec![Thing::Packages { asked: coming.asked, along: coming.along }])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let missing = self.missing()?;
        patiently(context, &missing, || self.install(&missing))
    }
}
