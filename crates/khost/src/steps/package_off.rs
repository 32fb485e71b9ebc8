//! Packages of the distribution that shall not be there, with what goes along with them.

use std::path::Path;

use kspec::state::Family;

use crate::{
    Change, Cmd, Context, Detail, Result, Status, Step, Thing,
    original::Restored,
    steps::{
        dpkg,
        package::Packages,
        package_manager::{going, installation, removal},
    },
};

/// These packages are not installed. What needs them goes along and is shown; what only they
/// needed stays. Reset installs all of it again, in the version that the machine's sources have.
#[derive(Debug, Clone)]
pub struct PackagesOff {
    family: Family,
    names: Vec<String>,
}

impl PackagesOff {
    /// The packages `names` of a distribution of `family`.
    pub fn new(family: Family, names: impl IntoIterator<Item = String>) -> Self {
        Self { family, names: names.into_iter().collect() }
    }

    /// Those that are installed.
    fn installed(&self) -> Result<Vec<String>> {
        let all = match self.family {
            Family::Debian => dpkg::installed()?,
            Family::RedHat => {
                let query = Cmd::new("rpm").args(["--query", "--queryformat", "%{NAME}\\n"]);
                // Each that is not installed is told so on a line of its own, and counts in the code.
                let told = query.args(&self.names).accept(&[0, 1, 2, 3, 4]).run()?.stdout;
                told.lines().map(str::to_owned).collect()
            }
        };
        Ok(self.names.iter().filter(|name| all.contains(name)).cloned().collect())
    }
}

impl Step for PackagesOff {
    fn id(&self) -> String {
        format!("packages-off:{}", self.names.join(","))
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let installed = self.installed()?;
        if installed.is_empty() {
            return Ok(Status::Done);
        }
        let going = going(self.family, &installed)?;
        let along = going.iter().filter(|name| !installed.contains(name)).count();
        let names = installed.join(" ");
        let what = match along {
            0 => format!("remove packages: {names}"),
            along => format!("remove packages: {names}, with {along} more"),
        };
        let diff = format!("-{}\n", going.join("\n-"));
        Ok(Status::Differs(Change { what, detail: Some(Detail::Diff(diff)) }))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        let going = going(self.family, &self.installed()?)?;
        Ok(vec![Thing::InstalledPackages(self.family, going)])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        removal(self.family, &self.installed()?).run().map(drop)
    }
}

/// Packages that were removed, from the machine's own sources. Where those do not answer, or have
/// them no more, that is said: nothing else of a reset has to wait for it.
pub(crate) fn install_again(family: Family, names: &[String]) -> Result<Restored> {
    let wanted: Vec<_> = names.iter().map(String::as_str).collect();
    let missing = Packages::new(family, &wanted).missing()?;
    if missing.is_empty() {
        return Ok(Restored::Done);
    }
    let cmd = installation(family, &missing);
    let line = cmd.line();
    Ok(match cmd.run() {
        Ok(_) => Restored::Done,
        Err(error) => {
            tracing::debug!("{}", error.chain());
            Restored::Left(format!("not installed again; run `{line}` once its sources answer"))
        }
    })
}

/// The package that brought one of `files`, by the machine's own database; none when no package
/// did, or when there is no such database.
pub fn owner(family: Family, files: &[&Path]) -> Option<String> {
    let paths = files.iter().map(|path| path.as_os_str());
    let (cmd, end) = match family {
        Family::Debian => (Cmd::new("dpkg-query").arg("--search"), ':'),
        Family::RedHat => {
            (Cmd::new("rpm").args(["--query", "--queryformat", "%{NAME}\\n", "--file"]), '\n')
        }
    };
    let told = cmd.args(paths).accept(&[0, 1, 2]).run().ok()?.stdout;
    // `NAME: PATH`, or only `NAME`; of a file that no package brought, a sentence.
    let mut names = told.lines().filter_map(|line| line.split(end).next());
    names.find(|name| !name.contains(' ')).map(Into::into)
}
