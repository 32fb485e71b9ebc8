//! dpkg's own list of packages, and what it left when it was killed.

use crate::{Cmd, Result, steps::package_manager::LIMIT};

/// A program that asks nobody anything when it sets up packages.
pub(crate) fn quietly(program: &str) -> Cmd {
    Cmd::new(program).env("DEBIAN_FRONTEND", "noninteractive")
}

/// The names of all packages that are installed.
pub(crate) fn installed() -> Result<Vec<String>> {
    in_state(is_installed)
}

/// The names of all packages that are there, were it half.
pub(crate) fn present() -> Result<Vec<String>> {
    in_state(is_there)
}

/// Finish what a killed dpkg began: apt does nothing before. What it cannot finish, for something
/// is missing, is seen by what comes next.
pub(crate) fn finish() -> Result<()> {
    let cmd = quietly("dpkg").args(["--configure", "--pending"]);
    cmd.accept(&[0, 1]).limit(LIMIT).run().map(drop)
}

/// The names of packages that a killed dpkg had begun to unpack. apt takes them for installed, and
/// does nothing about them until it is told to install them anew.
pub(crate) fn torn() -> Result<Vec<String>> {
    in_state(is_torn)
}

/// Those of `names` that apt notes as needed by others only.
pub(crate) fn automatic(names: &[String]) -> Result<Vec<String>> {
    if names.is_empty() {
        return Ok(Vec::new()); // it would tell of all
    }
    let told = Cmd::new("apt-mark").arg("showauto").args(names).run()?.stdout;
    Ok(told.lines().map(Into::into).collect())
}

fn is_installed(state: &str) -> bool {
    state == "installed"
}

fn is_there(state: &str) -> bool {
    !["not-installed", "config-files"].contains(&state)
}

fn is_torn(state: &str) -> bool {
    state == "half-installed"
}

fn in_state(wanted: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    let format = "--showformat=${Package} ${db:Status-Status}\\n";
    let list = Cmd::new("dpkg-query").args(["--show", format]).run()?.stdout;
    Ok(read(&list, wanted))
}

fn read(list: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let pairs = list.lines().filter_map(|line| line.split_once(' '));
    pairs.filter(|(_, state)| wanted(state)).map(|(name, _)| name.into()).collect()
}

#[cfg(test)]
mod tests {
    use super::{is_installed, is_there, is_torn, read};

    #[test]
    fn the_state_tells_a_package_from_what_is_left_of_one() {
        let list = "curl installed\nipset half-installed\nnano not-installed\n\
                    rsync config-files\nsocat unpacked\ntar half-configured\n";
        assert_eq!(read(list, is_installed), ["curl"]);
        assert_eq!(read(list, is_torn), ["ipset"]);
        assert_eq!(read(list, is_there), ["curl", "ipset", "socat", "tar"]);
    }
}
