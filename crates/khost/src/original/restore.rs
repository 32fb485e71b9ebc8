//! Putting a thing back.

use super::{Original, Restored};
use crate::{
    Error, Host, Result,
    fs::{self, Attributes},
    journal::Journal,
    steps, systemd,
};

impl Original {
    /// Put it back. Doing it twice is fine.
    pub(crate) fn restore(&self, host: &Host, journal: &Journal) -> Result<Restored> {
        let blobs = journal.blobs();
        match self {
            Self::Absent { path } => fs::remove(&host.path(path))?,
            Self::File { path, bytes, mode, uid, gid, xattrs } => {
                let real = host.path(path);
                let owner = host.is_live().then_some((*uid, *gid));
                fs::write(&real, &blobs.get(*bytes)?, Attributes { mode: *mode, owner })?;
                for (name, value) in xattrs {
                    xattr::set(&real, name, value)
                        .map_err(|error| Error::io("change", &real, error))?;
                }
            }
            Self::Link { path, target } => fs::link(&host.path(path), target)?,
            Self::Lines { path, bytes } => {
                let was = bytes.map(|bytes| blobs.get(bytes)).transpose()?;
                steps::lines::restore(host, path, was.as_deref())?;
            }
            Self::AbsentDirectory { path } => {
                if !fs::remove_empty_dir(&host.path(path))? {
                    return Ok(Restored::Left(format!("{} is not empty", path.display())));
                }
            }
            Self::Directory { path, mode, uid, gid } => {
                let owner = host.is_live().then_some((*uid, *gid));
                fs::make_dir(&host.path_to(path), Attributes { mode: *mode, owner })?;
            }
            Self::AbsentTree { path } => fs::remove_tree(&host.path(path))?,
            Self::Unit { name, enabled, active } => systemd::restore(name, enabled, *active)?,
            Self::OthersUnit { name, enabled, active } => {
                systemd::reload()?; // a unit of ours that had the name is gone by now
                if systemd::unit_file(host, name).is_none() {
                    return Ok(Restored::Left(format!("{name} is not there any more")));
                }
                systemd::restore(name, enabled, *active)?;
            }
            Self::Sysctl { key, value } => steps::sysctl::write(host, key, value)?,
            Self::AbsentUser { name } => steps::account::remove_user(name)?,
            Self::AbsentGroup { name } => steps::account::remove_group(name)?,
            Self::Hostname { name } => steps::hostname::set(name)?,
            Self::AbsentPackages { names, along } => {
                return steps::package_reset::remove(host, names, along);
            }
            Self::Packages { family, names } => {
                return steps::package_off::install_again(*family, names);
            }
            Self::Swap { areas } => steps::swap::switch_on(areas)?,
            Self::Selinux { enforcing } => {
                if steps::selinux::is_on(host) {
                    steps::selinux::set_enforcing(*enforcing)?;
                }
            }
            Self::AbsentLabels { patterns } => steps::selinux::forget(patterns)?,
            Self::AbsentModule { name } => return Ok(steps::module::unload(name)),
            Self::AbsentInterface { name } => steps::network::remove_interface(name)?,
            Self::Chains { prefix } => steps::network::remove_chains(prefix)?,
            Self::AbsentTable { table } => steps::network::remove_table(table)?,
            Self::Routes { network } => steps::network::remove_routes(network)?,
            Self::Containers => steps::containers::remove_all(host)?,
            Self::AbsentImages { names } => steps::containers::remove_images(host, names)?,
            Self::Cgroup { path } => return steps::cgroup::remove(path),
            Self::Mounts { path } => steps::containers::unmount_below(&host.path(path))?,
            Self::AbsentAnchor { path } => steps::trust::remove(host, path)?,
            Self::Notice { line } => return steps::reload::notify(line),
            Self::NoticeUnit { name } => return steps::reload::notify_unit(name),
            Self::Objects { .. } => {
                return journal
                    .all_objects(|all, stateless| steps::manifest::delete(host, all, stateless));
            }
        }
        Ok(Restored::Done)
    }

    /// Whether a file or tree is as it was. Said of nothing else.
    pub(crate) fn is_back(&self, host: &Host) -> Result<bool> {
        Ok(match self {
            Self::Absent { path } | Self::AbsentTree { path } => !fs::exists(&host.path(path)),
            Self::File { path, bytes, .. } => fs::digest(&host.path(path))? == Some(*bytes),
            _ => true,
        })
    }

    /// Whether it comes after all others: a program reads its files when they are back.
    pub(crate) fn is_notice(&self) -> bool {
        matches!(self, Self::Notice { .. } | Self::NoticeUnit { .. })
    }

    /// Whether putting it back leaves systemd with a stale view of its units.
    pub(crate) fn is_unit_file(&self) -> bool {
        match self {
            Self::Absent { path } | Self::File { path, .. } | Self::Link { path, .. } => {
                path.starts_with(kspec::paths::UNIT_DIR)
            }
            Self::Unit { enabled, .. } | Self::OthersUnit { enabled, .. } => enabled != "enabled",
            _ => false,
        }
    }
}
