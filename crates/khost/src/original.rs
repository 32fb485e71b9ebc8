//! How a thing was before it was changed, and how to put it back.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use kspec::{Cidr, Sha256, state::Family};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Host, Result,
    fs::{self, Attributes},
    journal::Blobs,
    steps, systemd,
};

/// Something on the machine that a step is about to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// A file or link, by its path on the host.
    File(PathBuf),
    /// A file of others that gets lines of ours, by its path on the host.
    Lines(PathBuf),
    /// A directory: its existence and attributes, not what is in it.
    Directory(PathBuf),
    /// A directory or file that programs fill while the node runs; all of it is ours if it was
    /// not there before.
    Tree(PathBuf),
    /// A systemd unit: whether it is enabled and running.
    Unit(String),
    /// A systemd unit of others that gives way to ours, which may have the same name.
    OthersUnit(String),
    /// A kernel parameter, by its dotted name.
    Sysctl(String),
    /// A user, by name.
    User(String),
    /// A group, by name.
    Group(String),
    /// The host name.
    Hostname,
    /// Packages that are not installed, by name.
    Packages(Vec<String>),
    /// Packages that are installed and will be removed, by name.
    InstalledPackages(Family, Vec<String>),
    /// Swap areas in use.
    Swap,
    /// Whether `SELinux` forbids or only logs.
    Selinux,
    /// Types of files that `SELinux` has not been told, by the pattern of their paths.
    Labels(Vec<String>),
    /// A kernel module, by name.
    Module(String),
    /// A network interface, by name.
    Interface(String),
    /// Packet filter chains whose names begin so; all are ours.
    Chains(String),
    /// A table of nftables, as `FAMILY NAME`.
    Table(String),
    /// Routes to parts of a network; all are ours.
    Routes(Cidr),
    /// Everything containerd runs in its `k8s.io` namespace.
    Containers,
    /// Images that containerd does not have, by reference.
    Images(Vec<String>),
    /// A control group with the processes in it, relative to the root of every hierarchy.
    Cgroup(String),
    /// What is mounted below a directory.
    Mounts(PathBuf),
    /// A certificate authority the machine trusts, by its file.
    TrustAnchor(PathBuf),
    /// What a program of others has read: the command that makes it read again, which is run when
    /// everything else is back.
    Notice(Vec<String>),
    /// Objects in the cluster.
    Objects {
        /// What they are together, e.g. `coredns`.
        name: String,
        /// What makes them.
        manifest: String,
    },
}

/// How a [`Thing`] was. Serialised into the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "was")]
pub(crate) enum Original {
    Absent {
        path: PathBuf,
    },
    File {
        path: PathBuf,
        bytes: Sha256,
        mode: u32,
        uid: u32,
        gid: u32,
        xattrs: BTreeMap<String, Vec<u8>>,
    },
    Link {
        path: PathBuf,
        target: PathBuf,
    },
    Lines {
        path: PathBuf,
        bytes: Option<Sha256>,
    },
    AbsentDirectory {
        path: PathBuf,
    },
    Directory {
        path: PathBuf,
        mode: u32,
        uid: u32,
        gid: u32,
    },
    AbsentTree {
        path: PathBuf,
    },
    Unit {
        name: String,
        enabled: String,
        active: bool,
    },
    OthersUnit {
        name: String,
        enabled: String,
        active: bool,
    },
    Sysctl {
        key: String,
        value: String,
    },
    AbsentUser {
        name: String,
    },
    AbsentGroup {
        name: String,
    },
    Hostname {
        name: String,
    },
    AbsentPackages {
        names: Vec<String>,
    },
    Packages {
        family: Family,
        names: Vec<String>,
    },
    Swap {
        areas: Vec<String>,
    },
    Selinux {
        enforcing: bool,
    },
    AbsentLabels {
        patterns: Vec<String>,
    },
    AbsentModule {
        name: String,
    },
    AbsentInterface {
        name: String,
    },
    Chains {
        prefix: String,
    },
    AbsentTable {
        table: String,
    },
    Routes {
        network: Cidr,
    },
    Containers,
    AbsentImages {
        names: Vec<String>,
    },
    Cgroup {
        path: String,
    },
    Mounts {
        path: PathBuf,
    },
    AbsentAnchor {
        path: PathBuf,
    },
    Notice {
        line: Vec<String>,
    },
    Objects {
        name: String,
        manifest: Sha256,
    },
}

/// What became of an attempt to put something back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Restored {
    /// It is as it was.
    Done,
    /// It was left, for this reason.
    Left(String),
}

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
            Thing::Directory(path) => match fs::look(&host.path(path))? {
                None => Self::AbsentDirectory { path: path.clone() },
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
            Thing::Packages(names) => Self::AbsentPackages { names: names.clone() },
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
            Thing::Objects { name, manifest } => {
                Self::Objects { name: name.clone(), manifest: blobs.keep(manifest.as_bytes())? }
            }
        }))
    }

    /// What is remembered once only: the first original of a thing is the one to go back to.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Absent { path }
            | Self::File { path, .. }
            | Self::Link { path, .. }
            | Self::Lines { path, .. }
            | Self::AbsentDirectory { path }
            | Self::Directory { path, .. }
            | Self::AbsentTree { path } => format!("path {}", path.display()),
            Self::Unit { name, .. } => format!("unit {name}"),
            Self::OthersUnit { name, .. } => format!("unit {name} of others"),
            Self::Sysctl { key, .. } => format!("sysctl {key}"),
            Self::AbsentUser { name } => format!("user {name}"),
            Self::AbsentGroup { name } => format!("group {name}"),
            Self::Hostname { .. } => "host name".into(),
            Self::AbsentPackages { names } => format!("packages {}", names.join(" ")),
            Self::Packages { names, .. } => format!("installed packages {}", names.join(" ")),
            Self::Swap { .. } => "swap".into(),
            Self::Selinux { .. } => "SELinux".into(),
            Self::AbsentLabels { patterns } => format!("types of {}", patterns.join(", ")),
            Self::AbsentModule { name } => format!("kernel module {name}"),
            Self::AbsentInterface { name } => format!("network interface {name}"),
            Self::Chains { prefix } => format!("packet filter chains {prefix}*"),
            Self::AbsentTable { table } => format!("nftables table {table}"),
            Self::Routes { network } => format!("routes into {network}"),
            Self::Containers => "containers".into(),
            Self::AbsentImages { names } => format!("images {}", names.join(" ")),
            Self::Cgroup { path } => format!("control group {path}"),
            Self::Mounts { path } => format!("mounts below {}", path.display()),
            Self::AbsentAnchor { path } => format!("trust in {}", path.display()),
            Self::Notice { line } => format!("notice {}", line.join(" ")),
            Self::Objects { name, manifest } => {
                format!("{name} from the cluster ({})", manifest.short())
            }
        }
    }

    /// What putting it back means, for people.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } | Self::Directory { path, .. } => {
                format!("restore {}", path.display())
            }
            Self::Absent { path } | Self::AbsentTree { path } => {
                format!("remove {}", path.display())
            }
            Self::AbsentDirectory { path } => format!("remove {} when empty", path.display()),
            Self::Lines { path, .. } => format!("take our lines out of {}", path.display()),
            Self::Unit { name, active: false, .. } => format!("stop {name}"),
            Self::Unit { name, .. } => format!("restore {name}"),
            Self::OthersUnit { name, active: true, .. } => format!("start {name} of others again"),
            Self::OthersUnit { name, .. } => format!("restore {name} of others"),
            Self::Sysctl { key, value } => format!("set {key} back to {value}"),
            Self::Hostname { name } => format!("set the host name back to {name}"),
            Self::Packages { names, .. } => format!("install again: {}", names.join(" ")),
            Self::Swap { areas } if areas.is_empty() => "leave swap off, as it was".into(),
            Self::Swap { areas } => format!("switch swap on: {}", areas.join(", ")),
            Self::Selinux { enforcing: true } => "let SELinux forbid, as it did".into(),
            Self::Selinux { .. } => "let SELinux only log, as it did".into(),
            Self::Containers => "stop and remove all containers of Kubernetes".into(),
            Self::AbsentImages { names } => format!("remove {} images", names.len()),
            Self::Cgroup { path } => format!("end what still runs in {path}"),
            Self::Mounts { path } => format!("unmount what is below {}", path.display()),
            Self::Notice { line } => format!("run {}", line.join(" ")),
            other => format!("remove {}", other.key()),
        }
    }

    /// Put it back. Doing it twice is fine.
    pub(crate) fn restore(&self, host: &Host, blobs: &Blobs) -> Result<Restored> {
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
                fs::make_dir(&host.path(path), Attributes { mode: *mode, owner })?;
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
            Self::AbsentPackages { names } => steps::package::remove(host, names)?,
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
            Self::Objects { manifest, .. } => {
                return steps::manifest::delete(host, &blobs.get(*manifest)?);
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
        matches!(self, Self::Notice { .. })
    }

    /// Whether putting it back leaves systemd with a stale view of its units.
    pub(crate) fn is_unit_file(&self) -> bool {
        let (Self::Absent { path } | Self::File { path, .. } | Self::Link { path, .. }) = self
        else {
            return false;
        };
        path.starts_with(kspec::paths::UNIT_DIR)
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
