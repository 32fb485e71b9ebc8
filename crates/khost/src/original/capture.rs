//! Looking at a thing before it is changed.

use std::{collections::BTreeMap, os::unix::fs::MetadataExt as _, path::Path};

use super::{Original, Thing};
use crate::{Error, Host, Result, fs, journal::Blobs, steps, systemd};

impl Original {
    /// Look at `thing` as it is now, keeping the bytes of files in `blobs`. None when it is there
    /// already and will not be undone: it was never ours.
    pub(crate) fn capture(thing: &Thing, host: &Host, blobs: &Blobs) -> Result<Option<Self>> {
        Ok(Some(match thing {
            Thing::File(path) => capture_file(path, host, blobs)?,
            Thing::Lines(path) => {
                let bytes = fs::read(&host.path(path))?;
                let bytes = bytes.map(|bytes| blobs.keep(&bytes)).transpose()?;
                Self::Lines { path: path.clone(), bytes }
            }
            Thing::Directory(path) if fs::look(&host.path(path))?.is_none() => {
                Self::AbsentDirectory { path: path.clone() }
            }
            Thing::Directory(path) => match fs::look_behind(&host.path_to(path))? {
                None => return Ok(None), // a link that leads nowhere
                Some(was) => Self::Directory {
                    path: path.clone(),
                    mode: fs::mode(&was),
                    uid: was.uid(),
                    gid: was.gid(),
                },
            },
            Thing::Tree(path) if fs::exists(&host.path(path)) => return Ok(None),
            Thing::Tree(path) => Self::AbsentTree { path: path.clone() },
            Thing::Unit(name) => {
                let unit = systemd::show(name)?;
                Self::Unit { name: name.clone(), enabled: unit.enabled, active: unit.active }
            }
            Thing::OthersUnit(name) => {
                let unit = systemd::show(name)?;
                Self::OthersUnit { name: name.clone(), enabled: unit.enabled, active: unit.active }
            }
            Thing::Sysctl(key) => {
                let value = steps::sysctl::read(host, key)?.unwrap_or_default();
                Self::Sysctl { key: key.clone(), value }
            }
            Thing::User(name) if steps::account::user_exists(name)? => return Ok(None),
            Thing::User(name) => Self::AbsentUser { name: name.clone() },
            Thing::Group(name) if steps::account::group_exists(name)? => return Ok(None),
            Thing::Group(name) => Self::AbsentGroup { name: name.clone() },
            Thing::Hostname => Self::Hostname { name: steps::hostname::current()? },
            // A killed dpkg had all of them there: they are in the journal.
            Thing::Packages { asked, along } if asked.is_empty() && along.is_empty() => {
                return Ok(None);
            }
            Thing::Packages { asked, along } => {
                Self::AbsentPackages { names: asked.clone(), along: along.clone() }
            }
            Thing::InstalledPackages(family, names) => {
                Self::Packages { family: *family, names: names.clone() }
            }
            Thing::Swap => Self::Swap { areas: steps::swap::areas(host)? },
            Thing::Labels(patterns) => Self::AbsentLabels { patterns: patterns.clone() },
            Thing::Selinux => Self::Selinux { enforcing: steps::selinux::is_enforcing(host)? },
            Thing::Module(name) => Self::AbsentModule { name: name.clone() },
            Thing::Interface(name) if steps::network::interface_exists(name) => return Ok(None),
            Thing::Interface(name) => Self::AbsentInterface { name: name.clone() },
            Thing::Chains(prefix) => Self::Chains { prefix: prefix.clone() },
            Thing::Table(table) if steps::network::table_exists(table)? => return Ok(None),
            Thing::Table(table) => Self::AbsentTable { table: table.clone() },
            Thing::Routes(network) => Self::Routes { network: *network },
            Thing::Containers => Self::Containers,
            Thing::Images(names) => Self::AbsentImages { names: names.clone() },
            Thing::Cgroup(path) => Self::Cgroup { path: path.clone() },
            Thing::Mounts(path) => Self::Mounts { path: path.clone() },
            Thing::TrustAnchor(path) => Self::AbsentAnchor { path: path.clone() },
            Thing::Notice(line) => Self::Notice { line: line.clone() },
            Thing::NoticeUnit(name) => Self::NoticeUnit { name: name.clone() },
            Thing::Objects { name, manifest, stateless } => Self::Objects {
                name: name.clone(),
                manifest: blobs.keep(manifest.as_bytes())?,
                stateless: *stateless,
            },
        }))
    }
}

fn capture_file(path: &Path, host: &Host, blobs: &Blobs) -> Result<Original> {
    let real = host.path(path);
    let path = path.to_owned();
    let Some(was) = fs::look(&real)? else { return Ok(Original::Absent { path }) };
    let read_failed = |error| Error::io("read", &real, error);
    if was.is_symlink() {
        let target = std::fs::read_link(&real).map_err(read_failed)?;
        return Ok(Original::Link { path, target });
    }
    if !was.is_file() {
        return Err(Error::host("not-a-file", format!("`{}` is not a file", path.display()))
            .hint("move it away and run again"));
    }
    let mut xattrs = BTreeMap::new();
    for name in xattr::list(&real).map_err(read_failed)? {
        if let Some(value) = xattr::get(&real, &name).map_err(read_failed)? {
            xattrs.insert(name.to_string_lossy().into_owned(), value);
        }
    }
    Ok(Original::File {
        path,
        bytes: blobs.keep(&fs::read(&real)?.unwrap_or_default())?,
        mode: fs::mode(&was),
        uid: was.uid(),
        gid: was.gid(),
        xattrs,
    })
}
