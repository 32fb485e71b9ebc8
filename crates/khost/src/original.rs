//! How a thing was before it was changed, and how to put it back.

mod capture;
mod restore;
mod words;

use std::{collections::BTreeMap, path::PathBuf};

use kspec::{Cidr, Sha256, state::Family};
use serde::{Deserialize, Serialize};

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
    /// Packages that are not installed and will be: those asked for, and those that come along.
    Packages {
        /// By their own names.
        asked: Vec<String>,
        /// By their own names.
        along: Vec<String>,
    },
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
    /// What a systemd unit of others has read, by the unit's name: if it runs when everything else
    /// is back, it reads again, or starts again where it cannot.
    NoticeUnit(String),
    /// Objects in the cluster.
    Objects {
        /// What they are together, e.g. `coredns`.
        name: String,
        /// What makes them.
        manifest: String,
        /// Their pods keep nothing that they would have to save at their end.
        stateless: bool,
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
        #[serde(default)]
        along: Vec<String>,
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
    NoticeUnit {
        name: String,
    },
    Objects {
        name: String,
        manifest: Sha256,
        #[serde(default)]
        stateless: bool,
    },
}

/// What became of an attempt to put something back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restored {
    /// It is as it was.
    Done,
    /// It was left, for this reason.
    Left(String),
}

#[cfg(test)]
mod tests {
    use super::Original;

    /// Reset reads journals that earlier releases wrote.
    #[test]
    fn notices_are_kept_as_they_always_were() {
        for (kept, words) in [
            (r#"{"was":"notice","line":["resolvconf","-u"]}"#, "run resolvconf -u"),
            (r#"{"was":"notice-unit","name":"a.service"}"#, "let a.service read its files again"),
        ] {
            let read: Original = serde_json::from_str(kept).unwrap();
            assert_eq!(serde_json::to_string(&read).unwrap(), kept);
            assert_eq!(read.describe(), words);
            assert!(read.is_notice(), "{kept}");
        }
    }
}
