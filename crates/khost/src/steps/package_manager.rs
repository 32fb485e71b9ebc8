//! apt and dnf: what they have installed, what they would do, and what they are told to do.
//!
//! What they would do is read from a transaction that is not carried out: `Inst` and `Remv` of apt
//! are meant to be read by programs, the table of dnf is the only thing that tells it all.

use std::time::Duration;

use kspec::state::Family;

use crate::{Cmd, Error, Result, steps::dpkg};

/// A mirror may be slow, and dpkg and rpm may wait for another of their kind; a stuck one is given up.
pub(crate) const LIMIT: Duration = Duration::from_secs(600);

/// Packages that are not there and that a transaction would install.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Coming {
    /// Those that it was asked for, by their own names.
    pub(crate) asked: Vec<String>,
    /// Those that come along because these need them.
    pub(crate) along: Vec<String>,
}

/// One transaction that installs the packages `names`, and nothing that they only recommend.
pub(crate) fn installation(family: Family, names: &[String]) -> Cmd {
    let cmd = match family {
        Family::Debian => {
            dpkg::quietly("apt-get").args(["-qq", "--yes", "--no-install-recommends", "install"])
        }
        Family::RedHat => {
            Cmd::new("dnf").args(["--assumeyes", "--quiet", NOTHING_RECOMMENDED, "install"])
        }
    };
    cmd.args(names).limit(LIMIT)
}

const NOTHING_RECOMMENDED: &str = "--setopt=install_weak_deps=False";

/// One transaction that removes the packages `names` and what needs them, and nothing else.
pub(crate) fn removal(family: Family, names: &[String]) -> Cmd {
    let cmd = match family {
        Family::Debian => {
            dpkg::quietly("apt-get").args(["-qq", "--yes", "--no-auto-remove", "remove"])
        }
        Family::RedHat => {
            Cmd::new("dnf").args(["--assumeyes", "--quiet", "--noautoremove", "remove"])
        }
    };
    cmd.args(names).limit(LIMIT)
}

/// What [`installation`] would bring.
pub(crate) fn coming(family: Family, names: &[String]) -> Result<Coming> {
    Ok(match family {
        Family::Debian => {
            let args = ["--simulate", "--no-install-recommends", "install"];
            let text = Cmd::new("apt-get").args(args).args(names).run()?.stdout;
            let all = installed_by_apt(&text).into_iter();
            let (asked, along) = all.partition(|name| names.contains(name));
            Coming { asked, along }
        }
        Family::RedHat => {
            let text = untold(&["--assumeno", NOTHING_RECOMMENDED, "install"], names)?;
            Coming {
                asked: listed(&text, |heading| heading == "Installing:"),
                along: listed(&text, |heading| heading.starts_with("Installing ")),
            }
        }
    })
}

/// What [`removal`] would take away.
pub(crate) fn going(family: Family, names: &[String]) -> Result<Vec<String>> {
    Ok(match family {
        Family::Debian => {
            let args = ["--simulate", "--no-auto-remove", "remove"];
            removed_by_apt(&Cmd::new("apt-get").args(args).args(names).run()?.stdout)
        }
        Family::RedHat => {
            let text = untold(&["--assumeno", "--noautoremove", "remove"], names)?;
            listed(&text, |heading| heading.starts_with("Removing"))
        }
    })
}

/// Those of `names` that are there in any state, were it half.
pub(crate) fn present(family: Family, names: &[String]) -> Result<Vec<String>> {
    let all = match family {
        Family::Debian => dpkg::present()?,
        Family::RedHat => {
            let query = Cmd::new("rpm").args(["--query", "--all", "--queryformat", "%{NAME}\\n"]);
            query.run()?.stdout.lines().map(Into::into).collect()
        }
    };
    Ok(names.iter().filter(|name| all.contains(name)).cloned().collect())
}

/// Those of `names`, installed, that the package manager has noted as wanted for themselves.
pub(crate) fn wanted_for_themselves(family: Family, names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(Vec::new()); // apt-mark would tell of all
    }
    let cmd = match family {
        Family::Debian => Cmd::new("apt-mark").arg("showmanual"),
        Family::RedHat => Cmd::new("dnf").args([
            "--quiet",
            "repoquery",
            "--installed",
            "--queryformat",
            "%{name} %{reason}\\n",
        ]),
    };
    let text = cmd.args(names).limit(LIMIT).run()?.stdout;
    Ok(match family {
        Family::Debian => text.lines().map(Into::into).collect(),
        Family::RedHat => wanted_by_the_user(&text),
    })
}

/// What dnf says of a transaction that it is told not to carry out.
fn untold(args: &[&str], names: &[String]) -> Result<String> {
    let cmd = Cmd::new("dnf").args(args).args(names).env("LC_ALL", "C").limit(LIMIT);
    let line = cmd.line();
    let output = cmd.accept(&[0, 1]).run()?;
    // 1: it was not carried out, as it was told; or it cannot be.
    if output.code == 1 && !output.stdout.contains("Transaction Summary") {
        return Err(Error::host("program-failed", format!("`{line}` failed with code 1"))
            .because(output.stderr.trim()));
    }
    Ok(output.stdout)
}

/// `apt-get --simulate`: `Inst NAME (VERSION ...)` for each new one; `[OLD]` comes before the
/// version of one that is there.
fn installed_by_apt(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, rest) = line.strip_prefix("Inst ")?.split_once(' ')?;
        (!rest.starts_with('[')).then(|| name.into())
    };
    text.lines().filter_map(name).collect()
}

/// `apt-get --simulate`: `Remv NAME [VERSION] ...` for each.
fn removed_by_apt(text: &str) -> Vec<String> {
    let name = |line: &str| line.strip_prefix("Remv ")?.split(' ').next().map(Into::into);
    text.lines().filter_map(name).collect()
}

/// dnf's table: below a heading `Removing:` or its like, one line a package, each indented by one
/// space, its first column the name. A long name has the other columns on a line of their own.
fn listed(text: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let mut names = Vec::new();
    let mut below = false;
    for line in text.lines() {
        match line.strip_prefix(' ') {
            Some(row) if below && !row.starts_with(' ') => {
                names.extend(row.split_whitespace().next().map(Into::into));
            }
            Some(_) => {}
            None => below = wanted(line),
        }
    }
    names
}

/// `NAME REASON` a line. dnf notes a reason when it is done; one that was killed leaves `unknown`.
fn wanted_by_the_user(text: &str) -> Vec<String> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    let by_user = pairs.filter(|(_, reason)| reason.trim().eq_ignore_ascii_case("user"));
    by_user.map(|(name, _)| name.into()).collect()
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
        assert_eq!(super::listed(dnf, |heading| heading.starts_with("Removing")), expected);
    }

    #[test]
    fn what_comes_along_is_told_from_what_is_there() {
        let apt = "\
Reading package lists...
The following NEW packages will be installed:
  ipset libipset13
Inst libc6 [2.36-9+deb12u9] (2.36-9+deb12u10 Debian:12.8/stable [amd64]) []
Inst libipset13 (7.17-1 Debian:12.8/stable [amd64])
Inst ipset (7.17-1 Debian:12.8/stable [amd64])
Conf libipset13 (7.17-1 Debian:12.8/stable [amd64])
";
        assert_eq!(super::installed_by_apt(apt), ["libipset13", "ipset"]);
        let dnf = "\
Last metadata expiration check: 0:03:35 ago on Thu Nov 26 06:58:47 2026.
Package tar-2:1.35-7.el10.x86_64 is already installed.
Dependencies resolved.
================================================================================
 Package                      Architecture Version           Repository    Size
================================================================================
Installing:
 ipset                        x86_64       7.22-1.el10       baseos       6.1 k
     replacing  ipset-service.noarch 7.11-1.el9
Upgrading:
 glibc                        x86_64       2.39-46.el10      baseos       2.1 M
Installing dependencies:
 ipset-libs                   x86_64       7.22-1.el10       baseos       6.1 k
Installing weak dependencies:
 ipset-extra                  x86_64       7.22-1.el10       baseos       6.1 k

Transaction Summary
================================================================================
Install  3 Packages
Upgrade  1 Package
";
        assert_eq!(super::listed(dnf, |heading| heading == "Installing:"), ["ipset"]);
        let along = super::listed(dnf, |heading| heading.starts_with("Installing "));
        assert_eq!(along, ["ipset-libs", "ipset-extra"]);
    }

    #[test]
    fn dnf_says_who_wanted_a_package() {
        let text = "ipset user\n\nipset-libs dependency\n\nlibmnl unknown\ncurl User\n";
        assert_eq!(super::wanted_by_the_user(text), ["ipset", "curl"]);
    }
}
