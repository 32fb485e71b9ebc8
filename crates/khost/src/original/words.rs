//! What a thing and its way back are called: in the journal, and for people.

use super::Original;

impl Original {
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
            Self::AbsentPackages { names, along } => {
                format!("packages {}", [&names[..], along].concat().join(" "))
            }
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
            Self::NoticeUnit { name } => format!("notice to {name}"),
            Self::Objects { name, manifest, .. } => {
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
            Self::NoticeUnit { name } => format!("let {name} read its files again"),
            other => format!("remove {}", other.key()),
        }
    }
}
