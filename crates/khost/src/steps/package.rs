//! Packages of the distribution, in one transaction.

use std::time::Duration;

use kspec::state::Family;

use crate::{Change, Cmd, Context, Error, Host, Result, Status, Step, Thing, os, wait};

/// How often an installation is tried, as kubespray does (`pkg_install_retries`).
const ATTEMPTS: u32 = 4;
/// A mirror may be slow; a stuck one is given up.
const LIMIT: Duration = Duration::from_secs(600);

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
            Family::Debian => installed_by_dpkg()?,
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

    fn install(&self, missing: &[String]) -> Result<()> {
        if self.family == Family::Debian {
            Cmd::new("apt-get").args(["-qq", "update"]).limit(LIMIT).run()?;
        }
        installation(self.family, missing).run().map(drop)
    }
}

/// One transaction that installs the packages `names`, and nothing that they only recommend.
pub(crate) fn installation(family: Family, names: &[String]) -> Cmd {
    let cmd = match family {
        Family::Debian => Cmd::new("apt-get")
            .args(["-qq", "--yes", "--no-install-recommends", "install"])
            .env("DEBIAN_FRONTEND", "noninteractive"),
        Family::RedHat => Cmd::new("dnf").args(["--assumeyes", "--quiet", "install"]),
    };
    cmd.args(names).limit(LIMIT)
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

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Packages(self.missing()?)])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let missing = self.missing()?;
        let mut last = None;
        for attempt in 1..=ATTEMPTS {
            match self.install(&missing) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    context.report.say(&format!("attempt {attempt} of {ATTEMPTS}: {error}"));
                    last = Some(error);
                }
            }
            wait::nap(Duration::from_secs(u64::from(attempt)));
        }
        let names = missing.join(" ");
        let failed = Error::host("packages-failed", format!("cannot install: {names}"))
            .hint("install them by hand, or set `manage-packages = false` in [host]");
        Err(last.into_iter().fold(failed, Error::because))
    }
}

/// The names of all packages that dpkg has installed.
pub(crate) fn installed_by_dpkg() -> Result<Vec<String>> {
    let format = "--showformat=${Package} ${db:Status-Status}\\n";
    let list = Cmd::new("dpkg-query").args(["--show", format]).run()?.stdout;
    Ok(list.lines().filter_map(|line| line.strip_suffix(" installed").map(Into::into)).collect())
}

/// Remove packages that were not there before.
pub(crate) fn remove(host: &Host, names: &[String]) -> Result<()> {
    let family = os::operating_system(host)?.family;
    let wanted: Vec<_> = names.iter().map(String::as_str).collect();
    let missing = Packages::new(family, &wanted).missing()?;
    let present: Vec<_> = names.iter().filter(|name| !missing.contains(name)).collect();
    if present.is_empty() {
        return Ok(());
    }
    let cmd = match family {
        Family::Debian => Cmd::new("apt-get").args(["-qq", "--yes", "remove"]),
        Family::RedHat => Cmd::new("dnf").args(["--assumeyes", "--quiet", "remove"]),
    };
    cmd.args(present).limit(LIMIT).run().map(drop)
}
