//! Container engines of others: they give way with consent, and only then.
//!
//! kubespray drains the node and removes them (`validate-container-engine`). Here their units are
//! stopped and disabled, and reset starts them again; their packages, images and containers stay.

use std::path::{Path, PathBuf};

use khost::{
    Error, Host, Result, StepList,
    engines::{CLUSTERS, CONTAINERD, ENGINES},
    fs,
    steps::{give_way::GiveWay, package_off},
    systemd,
};
use kspec::{paths::UNIT_DIR, state::Family};

use crate::{containerd_unit, inputs::Inputs};

/// A unit that runs, or starts at boot.
#[derive(Debug)]
struct Engine {
    unit: &'static str,
    file: PathBuf,
    /// Its main process, while it runs.
    pid: Option<u32>,
}

/// Refuse while there is an engine of others, or with consent let it give way.
///
/// # Errors
/// `cluster-foreign`, `engine-in-use` and `engine-foreign`, before anything is changed.
pub(crate) fn give_way(steps: &mut StepList, inputs: &Inputs, host: &Host) -> Result<()> {
    for (unit, remove) in CLUSTERS {
        if let Some(engine) = find(host, unit)? {
            let message = format!("another Kubernetes is on this machine: {}", engine.told(inputs));
            return Err(Error::input("cluster-foreign", message)
                .because("its containers go on without its unit, and its network with them")
                .hint(format!("remove it with `{remove}`, or use another machine")));
        }
    }
    let mut found = Vec::new();
    for unit in ENGINES {
        found.extend(find(host, unit)?);
    }
    let Some(engine) = found.iter().find(|engine| engine.pid.is_some()).or(found.first()) else {
        return Ok(());
    };
    if serves_a_kubelet(host)? {
        let message = format!("this node's kubelet works through {}", engine.told(inputs));
        return Err(Error::input("engine-in-use", message)
            .because("its pods cannot be carried over to another engine")
            .hint("drain the node, `kubeadm reset` it, and run again"));
    }
    if inputs.cluster.containerd.stop_other_engines {
        steps.add(GiveWay::new(found.iter().map(|engine| engine.unit)));
        return Ok(());
    }
    let all: Vec<_> = found.iter().map(|engine| engine.told(inputs)).collect();
    let message = format!("another container engine is on this machine: {}", all.join(", "));
    let units: Vec<_> = found.iter().map(|engine| engine.unit).collect();
    Err(Error::input("engine-foreign", message).hint(format!(
        "set `stop-other-engines = true` in [containerd] to have it stopped and disabled (`knode \
         reset` starts it again), or run `systemctl disable --now {}`",
        units.join(" ")
    )))
}

impl Engine {
    /// The unit, the package that brought it, its process.
    fn told(&self, inputs: &Inputs) -> String {
        let mut more = Vec::new();
        more.extend(
            package(inputs.facts.os.family, &self.file).map(|name| format!("package {name}")),
        );
        more.extend(self.pid.map(|pid| format!("process {pid}")));
        let more = if more.is_empty() { String::new() } else { format!(" ({})", more.join(", ")) };
        format!("{}{more}", self.unit)
    }
}

/// The unit, where it runs or starts at boot; in a tree nothing runs.
fn find(host: &Host, unit: &'static str) -> Result<Option<Engine>> {
    let Some(file) = systemd::unit_file(host, unit) else { return Ok(None) };
    if unit == CONTAINERD && file == Path::new(containerd_unit::PATH) {
        return Ok(None);
    }
    if !host.is_live() {
        return Ok(starts_at_boot(host, unit)?.then_some(Engine { unit, file, pid: None }));
    }
    let now = systemd::show(unit)?;
    let there = now.active || now.enabled == "enabled";
    Ok(there.then_some(Engine { unit, file, pid: now.pid }))
}

/// What `systemctl enable` made: a link below a target or socket that wants it.
fn starts_at_boot(host: &Host, unit: &str) -> Result<bool> {
    let dirs = fs::names(&host.path(UNIT_DIR))?;
    let mut wants =
        dirs.iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "wants"));
    Ok(wants.any(|dir| fs::exists(&host.path(UNIT_DIR).join(dir).join(unit))))
}

/// A kubelet runs, and not with a containerd of ours.
fn serves_a_kubelet(host: &Host) -> Result<bool> {
    let ours = fs::exists(&host.path(containerd_unit::PATH));
    Ok(host.is_live() && !ours && systemd::show("kubelet.service")?.active)
}

/// dpkg may know a file by either of the two names that `/usr/lib` has.
fn package(family: Family, file: &Path) -> Option<String> {
    let other = file.strip_prefix("/usr").map(|rest| Path::new("/").join(rest));
    let other =
        other.unwrap_or_else(|_| Path::new("/usr").join(file.strip_prefix("/").unwrap_or(file)));
    package_off::owner(family, &[file, &other])
}
