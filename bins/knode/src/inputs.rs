//! Everything the phase goes by, read and found fit.

use khost::{Error, Result, Tool, artifacts, fs};
use kspec::{
    Cluster, Node,
    paths::JOIN_DOCUMENT,
    state::{Artifacts, Facts, FileArtifact, ImageArtifact},
};

use crate::{cgroup::Driver, credentials::Credentials};

/// What the operator and the earlier phases say.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    pub(crate) cluster: Cluster,
    pub(crate) node: Node,
    pub(crate) facts: Facts,
    pub(crate) artifacts: Artifacts,
    pub(crate) credentials: Credentials,
    pub(crate) driver: Driver,
    /// `kubeadm init` is to run here, where there is no cluster yet.
    pub(crate) makes_the_cluster: bool,
}

impl Inputs {
    pub(crate) fn read(tool: &Tool) -> Result<Self> {
        let cluster = tool.cluster()?;
        let node = tool.node(&cluster)?.clone();
        let (facts, artifacts): (Facts, Artifacts) = (tool.state()?, tool.state()?);
        if facts.arch != artifacts.arch {
            let (here, there) = (facts.arch, artifacts.arch);
            let message = format!("the store is for {there}, this machine is {here}");
            return Err(
                Error::input("arch-mismatch", message).hint("run `kfetch apply` on this machine")
            );
        }
        let credentials = Credentials::read(&cluster.download, &tool.host)?;
        credentials.stay_private(&cluster.containerd.registries)?;
        let driver = Driver::of(cluster.kubelet.cgroup_driver, &tool.host);
        let makes_the_cluster =
            cluster.is_first_control_plane(&node) && !fs::exists(&tool.host.path(JOIN_DOCUMENT)); // it is being replaced
        Ok(Self { cluster, node, facts, artifacts, credentials, driver, makes_the_cluster })
    }

    /// The file that the lock calls `name`.
    pub(crate) fn file(&self, name: &str) -> Result<&FileArtifact> {
        artifacts::file(&self.artifacts, name)
    }

    /// The image that the lock calls `name`.
    pub(crate) fn image(&self, name: &str) -> Result<&ImageArtifact> {
        artifacts::image(&self.artifacts, name)
    }

    /// Open files a container may have: never more than the machine's own hard limit, since
    /// runc cannot start a container that shall have more.
    pub(crate) fn nofile(&self) -> u64 {
        at_most(self.cluster.containerd.nofile, self.facts.limits.nofile)
    }
}

/// `wanted`, lowered to `limit` where there is one.
pub(crate) fn at_most(wanted: u64, limit: Option<u64>) -> u64 {
    limit.map_or(wanted, |limit| wanted.min(limit))
}

#[cfg(test)]
pub(crate) mod tests {
    use kspec::{
        Cluster, Sha256,
        state::{CgroupVersion, Facts, FileArtifact, Member},
    };

    use super::Inputs;
    use crate::{cgroup::Driver, credentials::Credentials};

    pub(crate) use ktest::facts as machine;

    /// A container that withholds what the lab's node is not given.
    pub(crate) fn confined() -> Facts {
        let mut facts = machine();
        facts.kernel.cgroup = CgroupVersion::V1;
        facts.capabilities.sys_resource = false;
        facts.limits.nofile = Some(20000);
        facts.container = true;
        facts.swap = true;
        facts
    }

    /// The example cluster on `facts`.
    pub(crate) fn inputs(facts: Facts) -> Inputs {
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let node = cluster.nodes[0].clone();
        let file = |version: &str, members: &[&str]| FileArtifact {
            version: version.into(),
            members: members.iter().map(|name| ((*name).to_owned(), member(name))).collect(),
        };
        let files = [
            ("runc", file("1.3.4", &["runc.amd64"])),
            ("containerd", file("2.1.5", &["containerd", "containerd-shim-runc-v2", "ctr"])),
            ("crictl", file("1.33.0", &["crictl"])),
            ("nerdctl", file("2.1.6", &["nerdctl"])),
            ("kubelet", file("1.33.3", &["kubelet"])),
            ("kubeadm", file("1.33.3", &["kubeadm"])),
        ];
        let files = files.map(|(name, file)| (name.to_owned(), file));
        let artifacts =
            ktest::artifacts(files, [ktest::image("pause", "registry.k8s.io/pause:3.10")]);
        let (credentials, driver) = (Credentials::default(), Driver::Systemd);
        let makes_the_cluster = true;
        Inputs { cluster, node, facts, artifacts, credentials, driver, makes_the_cluster }
    }

    fn member(name: &str) -> Member {
        let path = format!("/var/lib/k8steps/store/unpacked/{name}");
        Member { path, sha256: Sha256::of(name) }
    }

    #[test]
    fn the_machine_limits_open_files() {
        assert_eq!(inputs(machine()).nofile(), 65535);
        assert_eq!(inputs(confined()).nofile(), 20000);
    }
}
