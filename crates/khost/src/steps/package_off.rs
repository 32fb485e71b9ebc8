//! Packages of the distribution that shall not be there, with what goes along with them.

use std::{path::Path, time::Duration};

use kspec::state::Family;

use crate::{
    Change, Cmd, Context, Detail, Result, Status, Step, Thing,
    original::Restored,
    steps::package::{Packages, installation, installed_by_dpkg},
};

/// dpkg and rpm may wait for another of their kind.
const LIMIT: Duration = Duration::from_secs(600);

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
            Family::Debian => installed_by_dpkg()?,
            Family::RedHat => {
                let query = Cmd::new("rpm").args(["--query", "--queryformat", "%{NAME}\\n"]);
                // Each that is not installed is told so on a line of its own, and counts in the code.
                let told = query.args(&self.names).accept(&[0, 1, 2, 3, 4]).run()?.stdout;
                told.lines().map(str::to_owned).collect()
            }
        };
        Ok(self.names.iter().filter(|name| all.contains(name)).cloned().collect())
    }

    /// What would go, by a transaction that is not carried out.
    fn going(&self, names: &[String]) -> Result<Vec<String>> {
        Ok(match self.family {
            Family::Debian => {
                let args = ["--simulate", "--no-auto-remove", "remove"];
                removed_by_apt(&Cmd::new("apt-get").args(args).args(names).run()?.stdout)
            }
            Family::RedHat => {
                // 1: it was not carried out, as it was told.
                let cmd = Cmd::new("dnf").args(["--assumeno", "--noautoremove", "remove"]);
                let cmd = cmd.args(names).env("LC_ALL", "C").accept(&[0, 1]);
                removed_by_dnf(&cmd.limit(LIMIT).run()?.stdout)
            }
        })
    }
}

/// `apt-get --simulate`: `Remv NAME [VERSION] ...` for each.
fn removed_by_apt(text: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Remv ")?.split(' ').next().map(Into::into);
    text.lines().filter_map(name).collect()
}

/// dnf's table: below a heading `Removing...:`, one line a package, each indented by one space, its
/// first column the name. A long name has the other columns on a line of their own.
fn removed_by_dnf(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut removing = false;
    for line in text.lines() {
        match line.strip_prefix(' ') {
            Some(row) if removing && !row.starts_with(' ') => {
                names.extend(row.split_whitespace().next().map(Into::into));
            }
            Some(_) => {}
            None => removing = line.starts_with("Removing"),
        }
    }
    names
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
        let going = self.going(&installed)?;
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
        let going = self.going(&self.installed()?)?;
        Ok(vec![Thing::InstalledPackages(self.family, going)])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        let cmd = match self.family {
            Family::Debian => Cmd::new("apt-get")
                .args(["-qq", "--yes", "--no-auto-remove", "remove"])
                .env("DEBIAN_FRONTEND", "noninteractive"),
            Family::RedHat => {
                Cmd::new("dnf").args(["--assumeyes", "--quiet", "--noautoremove", "remove"])
            }
        };
        cmd.args(self.installed()?).limit(LIMIT).run().map(drop)
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

#[cfg(test)]
mod tests {
    #[test]
    fn what_goes_along_is_read_from_the_plans_of_apt_and_dnf() {
        let apt = "\
Reading package lists...
The following packages will be REMOVED:
  containerd docker.io runc
Remv docker.io [20.10.24+dfsg1-1+deb12u1+b6]
Remv containerd [1.6.20~ds1-1+deb12u3]
Remv runc [1.1.5+ds1-1+deb12u1]
";
        assert_eq!(super::removed_by_apt(apt), ["docker.io", "containerd", "runc"]);
        let dnf = "\
Dependencies resolved.
================================================================================
 Package              Architecture  Version               Repository       Size
================================================================================
Removing:
 runc                 x86_64        4:1.2.4-2.el10        @appstream       10 M
Removing dependent packages:
 a-package-with-a-name-that-needs-a-line-of-its-own
                      x86_64        1.0-1.el10            @local          1.0 k
 podman               x86_64        6:5.4.0-1.el10        @appstream       60 M

Transaction Summary
================================================================================
Remove  3 Packages
";
        let expected = ["runc", "a-package-with-a-name-that-needs-a-line-of-its-own", "podman"];
        assert_eq!(super::removed_by_dnf(dnf), expected);
    }
}
