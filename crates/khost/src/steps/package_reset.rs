//! Packages that came with an installation, away again.

use kspec::state::Family;

use crate::{
    Host, Result,
    original::Restored,
    os,
    steps::{dpkg, package_manager as manager},
};

/// Remove packages that were not there before: those asked for, and those that came `along`. What
/// somebody needs or wants since then stays, and is told: another package may not go with ours.
pub(crate) fn remove(host: &Host, asked: &[String], along: &[String]) -> Result<Restored> {
    let family = os::operating_system(host)?.family;
    if family == Family::Debian {
        dpkg::finish()?;
    }
    let came_along = manager::present(family, along)?;
    let wanted = manager::wanted_for_themselves(family, &came_along)?;
    let mut ours = manager::present(family, asked)?;
    ours.extend(came_along.into_iter().filter(|name| !wanted.contains(name)));
    let Sorted { free, needed, by } = free(&ours, |names| manager::going(family, names))?;
    if !free.is_empty() {
        let cmd = manager::removal(family, &free);
        match family {
            // What was killed while it was unpacked goes as well.
            Family::Debian => cmd.args(["-o", "DPkg::Options::=--force-remove-reinstreq"]),
            Family::RedHat => cmd,
        }
        .run()?;
    }
    let mut left = Vec::new();
    if !needed.is_empty() {
        left.push(format!("{}: needed by {}", needed.join(" "), by.join(" ")));
    }
    if !wanted.is_empty() {
        left.push(format!("{}: somebody asked for it since", wanted.join(" ")));
    }
    Ok(if left.is_empty() {
        Restored::Done
    } else {
        Restored::Left(format!("packages stay: {}", left.join("; ")))
    })
}

/// Which packages can go without others.
#[derive(Debug, PartialEq, Eq)]
struct Sorted {
    free: Vec<String>,
    needed: Vec<String>,
    /// Who needs them.
    by: Vec<String>,
}

/// As many of `ours` as can go without another package going along; `going` tells what would go.
fn free(ours: &[String], going: impl Fn(&[String]) -> Result<Vec<String>>) -> Result<Sorted> {
    let others = |names: &[String]| -> Result<Vec<String>> {
        Ok(going(names)?.into_iter().filter(|name| !ours.contains(name)).collect())
    };
    let by = if ours.is_empty() { Vec::new() } else { others(ours)? };
    if by.is_empty() {
        return Ok(Sorted { free: ours.to_vec(), needed: Vec::new(), by });
    }
    // One after the other: where either of two does for another package, one of them can go.
    let (mut free, mut needed) = (Vec::new(), Vec::new());
    for name in ours {
        free.push(name.clone());
        if !others(&free)?.is_empty() {
            needed.extend(free.pop());
        }
    }
    Ok(Sorted { free, needed, by })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Sorted, free};

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(Into::into).collect()
    }

    /// What goes with packages, where each of `needs` needs one of those named with it.
    fn going(needs: &BTreeMap<&str, &str>, gone: &[String]) -> Vec<String> {
        let mut gone = gone.to_vec();
        loop {
            let lost = |needed: &str| names(needed).iter().all(|name| gone.contains(name));
            let next = needs
                .iter()
                .find(|(name, needed)| !gone.contains(&(**name).to_owned()) && lost(needed));
            match next {
                Some((name, _)) => gone.push((*name).to_owned()),
                None => return gone,
            }
        }
    }

    #[test]
    fn where_nothing_is_ours_nothing_is_asked() {
        let found = free(&[], |names| panic!("{names:?}")).unwrap();
        assert_eq!(found, Sorted { free: Vec::new(), needed: Vec::new(), by: Vec::new() });
    }

    #[test]
    fn what_others_need_stays_and_nothing_else() {
        let ours = names("ipset ipset-libs conntrack either or");
        for (needs, left, by) in [
            (vec![("ipset", "ipset-libs")], "", ""),
            (vec![("ipset", "ipset-libs"), ("mine", "ipset")], "ipset ipset-libs", "mine"),
            (vec![("ipset", "ipset-libs"), ("mine", "ipset-libs")], "ipset-libs", "mine"),
            (vec![("mine", "either or"), ("more", "mine")], "or", "mine more"),
        ] {
            let needs = BTreeMap::from_iter(needs);
            let found = free(&ours, |names| Ok(going(&needs, names))).unwrap();
            let needed = names(left);
            let can_go = ours.iter().filter(|name| !needed.contains(name)).cloned().collect();
            assert_eq!(found, Sorted { free: can_go, needed, by: names(by) });
        }
    }
}
