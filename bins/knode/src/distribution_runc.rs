//! The distribution's runc, which kubespray removes: here with consent, and only then.
//!
//! containerd is told the path of ours, so another does no harm to pods. But it comes with engines
//! that use it, and whoever types `runc` may get the one or the other.

use std::{collections::BTreeSet, path::Path};

use khost::{
    Error, Host, Result, StepList, fs,
    steps::{absent::Absent, package_off, package_off::PackagesOff},
};

use crate::inputs::Inputs;

/// Where distributions put it.
const PLACES: [&str; 2] = ["/usr/bin/runc", "/usr/sbin/runc"];

/// Refuse while it is there, or with consent remove its package; the file alone where no package
/// brought it.
///
/// # Errors
/// `runc-foreign`, before anything is changed.
pub(crate) fn give_way(steps: &mut StepList, inputs: &Inputs, host: &Host) -> Result<()> {
    let mut packages = BTreeSet::new();
    for place in PLACES {
        if !fs::exists(&host.path(place)) {
            continue;
        }
        let family = inputs.facts.os.family;
        let package = host.is_live().then(|| package_off::owner(family, &[Path::new(place)]));
        let package = package.flatten();
        if !inputs.cluster.containerd.remove_distribution_runc {
            return Err(refused(place, package.as_deref()));
        }
        match package {
            Some(name) => drop(packages.insert(name)),
            None => steps.add(Absent::new(place)),
        }
    }
    if !packages.is_empty() {
        steps.add(PackagesOff::new(inputs.facts.os.family, packages));
    }
    Ok(())
}

fn refused(place: &str, package: Option<&str>) -> Error {
    let (whose, by_hand) = match package {
        Some(name) => (format!(" (package {name})"), format!("remove the package {name}")),
        None => (String::new(), format!("remove {place}")),
    };
    let message = format!("the distribution's runc is on this machine: {place}{whose}");
    Error::input("runc-foreign", message).hint(format!(
        "set `remove-distribution-runc = true` in [containerd] (`knode plan` then shows what goes \
         along), or {by_hand} yourself"
    ))
}
