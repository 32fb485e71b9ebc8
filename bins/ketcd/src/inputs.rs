//! What the earlier phases left for a member, read and found complete.

use khost::{Error, Owner, Result, Tool};
use kspec::state::{Artifacts, Certificate, Facts, Member, PkiState};
use semver::Version;

/// Programs of the artifact `etcd`.
const PROGRAMS: [&str; 3] = ["etcd", "etcdctl", "etcdutl"];

/// What a member is made of.
#[derive(Debug, Clone)]
pub(crate) struct Inputs {
    /// What the machine is.
    pub(crate) facts: Facts,
    /// Version of etcd.
    pub(crate) version: Version,
    /// Its programs by name.
    pub(crate) programs: Vec<(String, Member)>,
    /// PEM file of the authority.
    pub(crate) ca: String,
    /// etcd's own certificate.
    pub(crate) member: Certificate,
    /// etcdctl's certificate, and that of the health probe.
    pub(crate) admin: Certificate,
}

impl Inputs {
    /// The program `name` in the store.
    pub(crate) fn program(&self, name: &str) -> Option<&Member> {
        self.programs.iter().find(|(known, _)| known == name).map(|(_, program)| program)
    }

    /// Read them.
    pub(crate) fn read(tool: &Tool) -> Result<Self> {
        let facts: Facts = tool.state()?;
        let artifacts: Artifacts = tool.state()?;
        let pki: PkiState = tool.state()?;
        if tool.host.is_live() && Owner::new("etcd", "etcd").ids()?.is_none() {
            return Err(Error::host("user-missing", "there is no user `etcd`")
                .because("etcd runs as this user, who owns its certificates")
                .hint("run `kpki apply`, which makes it"));
        }
        let (version, programs) = programs(&artifacts)?;
        let certificate = |which: Option<Certificate>, name: &str| {
            which.ok_or_else(|| {
                Error::input(
                    "certificate-missing",
                    format!("pki.json has no {name} certificate for this node"),
                )
                .because("the node did not have the role etcd when kpki ran")
                .hint("run `kpki apply`")
            })
        };
        Ok(Self {
            facts,
            version,
            programs,
            ca: pki.ca.cert,
            member: certificate(pki.member, "member")?,
            admin: certificate(pki.admin, "admin")?,
        })
    }
}

fn programs(artifacts: &Artifacts) -> Result<(Version, Vec<(String, Member)>)> {
    let unusable = |what: String| {
        Error::input("artifact-unusable", what).hint(
            "name etcd with its members etcd, etcdctl and etcdutl in artifacts.lock (`make install` \
             puts a complete one there), then run `kfetch apply`",
        )
    };
    let Some(etcd) = artifacts.files.get("etcd") else {
        return Err(unusable("artifacts.json has no `etcd`".into()));
    };
    let version = etcd.version.trim_start_matches('v');
    let version = Version::parse(version).map_err(|error| {
        unusable(format!("`{}` is no version of etcd", etcd.version)).because(error)
    })?;
    let mut programs = Vec::new();
    for name in PROGRAMS {
        let Some(member) = artifacts.member("etcd", name) else {
            return Err(unusable(format!("the artifact etcd {version} has no `{name}`")));
        };
        programs.push((name.to_owned(), member.clone()));
    }
    Ok((version, programs))
}
