//! `kpki rotate-ca`: another authority for etcd, without etcd or the API server ever being without
//! one they trust.
//!
//! Three stages, each told from the files alone, so a run that was killed is taken up by the next:
//!
//! 1. a new authority is made beside the old one, and both are trusted;
//! 2. the new one issues everything;
//! 3. the old one is dropped.
//!
//! `ca.pem` holds the authority that issues, and after it the other one while both are trusted.

mod members;

use std::{cell::Cell, path::PathBuf};

use khost::{
    Change, Cmd, Context, Error, Host, Owner, Result, Status, Step, StepList, Thing, Tool, engine,
    error::Exit,
    fs,
    static_pod::{Component, StaticPod},
    steps::{command::Guarded, file::File, trust::TrustAnchor},
};
use kspec::{
    Cluster, Node, Role,
    paths::{BIN_DIR, ETCD_CERT_DIR},
    state::Facts,
};
use rcgen::{KeyPair, PublicKeyData as _};
use time::OffsetDateTime;

use crate::{
    authority::{Authority, Rules},
    inspect::Seen,
    issue,
    leaf::{Leaf, Use},
    record::Record,
    renew,
};

const NEXT: &str = "ca-next.pem";
const NEXT_KEY: &str = "ca-next-key.pem";

/// How far a rotation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// None is going on.
    None,
    /// There is another authority, and perhaps it is trusted.
    Next,
    /// The other authority issues, and both are trusted.
    Switched,
}

/// Do the next stage, or where no other node has to follow, all of them.
///
/// # Errors
/// `ca-elsewhere` on a node that does not make the authority; `rotation-not-settled` while the
/// node has changes of its own to apply; and whatever keeps etcd or the API server from working.
pub(crate) fn run(tool: &Tool) -> Result<Exit> {
    tool.needs_root("rotate-ca")?;
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    let Some((authority, leaves)) = crate::certificates(tool)? else {
        return Err(Error::input("rotation-needless", "this node has nothing to do with etcd")
            .hint("run it on the first etcd node of cluster.toml"));
    };
    authority.refuse_follower()?;
    let rotation = Rotation { tool, cluster: &cluster, node, authority, leaves };
    let begun = stage(&tool.host)?;
    if begun == Stage::None {
        rotation.refuse_unsettled()?;
    }
    let others = rotation.others();
    let steps = if others.is_empty() {
        rotation.steps(&[Stage::None, Stage::Next, Stage::Switched], begun)?
    } else {
        let next = rotation.next(begun)?;
        rotation.refuse_stragglers(next, begun)?;
        rotation.steps(&[next], begun)?
    };
    let exit = engine::apply("kpki", &steps, &tool.context())?;
    if !others.is_empty() && stage(&tool.host)? != Stage::None {
        tool.report.say(&format!(
            "now for each of {}: `kpki export NODE` here, there `kpki import`, then `kpki apply`, \
             `ketcd apply` and `kcp apply`; when all are done, `kpki rotate-ca` here again",
            others.join(", ")
        ));
    }
    Ok(exit)
}

/// Whether another authority is there, that does not issue yet.
pub(crate) fn is_begun(host: &Host) -> bool {
    fs::exists(&host.path(path(NEXT_KEY)))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(ETCD_CERT_DIR).join(name)
}

fn trusted(host: &Host) -> Result<Vec<Seen>> {
    let bytes = fs::read(&host.path(path("ca.pem")))?.unwrap_or_default();
    Ok(Seen::parse_all(&bytes).unwrap_or_default())
}

fn stage(host: &Host) -> Result<Stage> {
    Ok(if is_begun(host) {
        Stage::Next
    } else if trusted(host)?.len() > 1 {
        Stage::Switched
    } else {
        Stage::None
    })
}

struct Rotation<'a> {
    tool: &'a Tool,
    cluster: &'a Cluster,
    node: &'a Node,
    authority: Authority,
    leaves: Vec<Leaf>,
}

impl Rotation<'_> {
    /// Nodes that have to follow.
    fn others(&self) -> Vec<String> {
        let others = self
            .cluster
            .nodes
            .iter()
            .filter(|node| node.name != self.node.name && !Use::of(node).is_empty());
        others.map(|node| node.name.clone()).collect()
    }

    /// Which stage comes next, when others follow in between: the one that was begun is finished
    /// first.
    fn next(&self, begun: Stage) -> Result<Stage> {
        let context = self.tool.context();
        let settled = |step: &dyn Step| Ok::<_, Error>(step.check(&context)? == Status::Done);
        Ok(match begun {
            Stage::None => Stage::None,
            Stage::Next if !settled(&Bundle::Both)? || !self.all_read()? => Stage::None,
            Stage::Next => Stage::Next,
            Stage::Switched => {
                for leaf in &self.leaves {
                    if leaf.must_issue(&self.tool.host)?.is_some() {
                        return Ok(Stage::Next);
                    }
                }
                Stage::Switched
            }
        })
    }

    /// Members that have not followed would be cut off.
    fn refuse_stragglers(&self, next: Stage, begun: Stage) -> Result<()> {
        let (host, live) = (&self.tool.host, self.tool.host.is_live());
        match (next, begun) {
            (Stage::Next, Stage::Next) if live => {
                let rules = Rules::new(self.cluster, OffsetDateTime::now_utc())?;
                members::trust_the_new(host, self.cluster, rules)
            }
            (Stage::Switched, _) if live => members::serve_the_new(host, self.cluster),
            _ => Ok(()),
        }
    }

    fn all_read(&self) -> Result<bool> {
        let context = self.tool.context();
        for step in self.readers("") {
            if self.tool.host.is_live() && step.check(&context)? != Status::Done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Changes of its own would come along with a restart of etcd.
    fn refuse_unsettled(&self) -> Result<()> {
        let context = self.tool.context();
        self.authority.refuse_unusable(&self.tool.host)?;
        self.authority.refuse_unsettled(&self.tool.host)?;
        for step in self.readers("") {
            if self.tool.host.is_live()
                && let Status::Differs(change) = step.check(&context)?
            {
                return Err(Error::input(
                    "rotation-not-settled",
                    "this node is not as cluster.toml has it",
                )
                .because(change.what)
                .hint("run `kpki apply`, `ketcd apply` and `kcp apply`, then this again"));
            }
        }
        Ok(())
    }

    /// The steps of these stages.
    fn steps(&self, stages: &[Stage], begun: Stage) -> Result<StepList> {
        let mut steps = StepList::new();
        for stage in stages {
            match stage {
                Stage::None => {
                    let rules = Rules::new(self.cluster, OffsetDateTime::now_utc())?;
                    steps.add(Next { rules, wanted: Cell::new(begun == Stage::None) });
                    steps.add(Bundle::Both);
                    steps.extend(self.readers("both authorities"));
                }
                Stage::Next => {
                    steps.add(Bundle::Switch);
                    renew::add_etcd(&mut steps, self.tool)?;
                }
                Stage::Switched => {
                    steps.add(Bundle::Drop);
                    steps.extend(self.readers("the new authority"));
                }
            }
        }
        if self.cluster.pki.trust_ca && self.tool.host.is_live() {
            let facts: Facts = self.tool.state()?;
            steps.add(TrustAnchor::new(facts.os.family, "etcd-ca", path("ca.pem")));
        }
        steps.add(Record::new(&self.authority, &self.leaves));
        Ok(steps)
    }

    /// What reads the authority only at its start, and is started anew one after the other. etcd's
    /// start is ketcd's business, which also saves what etcd holds before.
    fn readers(&self, what: &'static str) -> Vec<Guarded> {
        let mut readers = Vec::new();
        if self.node.is(Role::Etcd) {
            let [plan, apply] = ["plan", "apply"].map(|verb| {
                let config = self.tool.config_path().into_os_string();
                let (config, node) = (config, self.node.name.clone());
                move || {
                    let ketcd = Cmd::new(format!("{BIN_DIR}/ketcd")).arg(verb).arg("--config");
                    ketcd.arg(config.clone()).args(["--node", &node])
                }
            });
            readers.push(Guarded::new(
                format!("etcd-reads-{what}"),
                move |_: &Context<'_>| {
                    Ok(match plan().accept(&[0, 3]).run()?.code {
                        0 => Status::Done,
                        _ => Status::Differs(Change::new(format!(
                            "let etcd trust {what}: `ketcd apply`"
                        ))),
                    })
                },
                move |_: &Context<'_>| apply().run().map(drop),
            ));
        }
        if self.node.is(Role::ControlPlane) {
            let pod = StaticPod::new(Component::ApiServer, self.cluster);
            let (asked, stamp) = (pod.clone(), pod.stamp());
            let id = format!("api-server-reads-{what}");
            let step = format!("command:{id}");
            let reader = Guarded::new(
                id,
                move |context: &Context<'_>| {
                    let there = asked.is_wanted(context.host);
                    Ok(match asked.stale(context, &step)? {
                        Some(why) if there => {
                            Status::Differs(Change::new(format!("restart the API server: {why}")))
                        }
                        _ => Status::Done,
                    })
                },
                move |context: &Context<'_>| pod.restart(context),
            );
            readers.push(reader.touching([stamp]));
        }
        readers
    }
}

/// The other authority, beside the one there is.
#[derive(Debug)]
struct Next {
    rules: Rules,
    /// It is not made yet, and this run is to.
    wanted: Cell<bool>,
}

impl Step for Next {
    fn id(&self) -> String {
        format!("certificate:{}", path(NEXT).display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let what = format!("make another authority, {}", path(NEXT).display());
        Ok(if self.wanted.get() { Status::Differs(Change::new(what)) } else { Status::Done })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok([NEXT, NEXT_KEY].map(|name| Thing::File(path(name))).into())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let key = issue::key(self.rules.algorithm)?;
        let cert = issue::authority(&key, None, self.rules.term()?)?;
        file(NEXT, 0o644, cert).apply(context)?;
        file(NEXT_KEY, 0o600, key.serialize_pem()).apply(context)?; // last: it marks the stage
        self.wanted.set(false);
        Ok(())
    }
}

fn file(name: &str, mode: u32, text: String) -> File {
    File::new(path(name)).mode(mode).owner(Owner::root()).secret(text)
}

/// Which authorities are trusted, and which of them issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bundle {
    /// The old one issues, both are trusted.
    Both,
    /// The new one issues, both are trusted.
    Switch,
    /// Only the one that issues is trusted.
    Drop,
}

impl Bundle {
    /// What `ca.pem` should say; none when it does.
    fn wanted(self, host: &Host) -> Result<Option<String>> {
        let (pems, next) = (pems(host)?, fs::read_text(&host.path(path(NEXT)))?);
        let wanted = match (self, next) {
            (Self::Both, Some(next)) if pems.len() == 1 => [pems[0].clone(), next].concat(),
            (Self::Switch, Some(next)) => {
                let old = pems.iter().find(|pem| pem.trim() != next.trim());
                [next.clone(), old.cloned().unwrap_or_default()].concat()
            }
            (Self::Drop, None) if pems.len() > 1 => pems[0].clone(),
            _ => return Ok(None),
        };
        Ok((wanted != pems.concat()).then_some(wanted))
    }

    /// Whether the new key has yet to become the key.
    fn key_is_to_move(self, host: &Host) -> bool {
        self == Self::Switch && fs::exists(&host.path(path(NEXT_KEY)))
    }
}

/// The certificates in `ca.pem`, one by one.
fn pems(host: &Host) -> Result<Vec<String>> {
    const END: &str = "-----END CERTIFICATE-----\n";
    let text = fs::read_text(&host.path(path("ca.pem")))?.unwrap_or_default();
    Ok(text.split_inclusive(END).map(str::to_owned).collect())
}

impl Step for Bundle {
    fn id(&self) -> String {
        format!("rotation:{self:?}").to_lowercase()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let differs = self.wanted(context.host)?.is_some() || self.key_is_to_move(context.host);
        let what = match self {
            Self::Both => "trust both authorities, the old one issues",
            Self::Switch => "trust both authorities, the new one issues",
            Self::Drop => "trust the new authority alone",
        };
        Ok(if differs { Status::Differs(Change::new(what)) } else { Status::Done })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(["ca.pem", "ca-key.pem", NEXT, NEXT_KEY].map(|name| Thing::File(path(name))).into())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        if let Some(text) = self.wanted(host)? {
            file("ca.pem", 0o644, text).apply(context)?;
        }
        if self.key_is_to_move(host) {
            // A copy first: until the marks of the stage are gone, all of it can be done again.
            let key = fs::read_text(&host.path(path(NEXT_KEY)))?.unwrap_or_default();
            let usable = KeyPair::from_pem(&key).ok().map(|key| key.subject_public_key_info());
            if usable != trusted(host)?.first().map(|ca| ca.key_info.clone()) {
                return Err(Error::host("ca-key-unusable", "the new authority's key does not fit")
                    .hint(format!("remove `{}`, and start over", path(NEXT_KEY).display())));
            }
            file("ca-key.pem", 0o600, key).apply(context)?;
            fs::remove(&host.path(path(NEXT_KEY)))?;
            fs::remove(&host.path(path(NEXT)))?;
        }
        Ok(())
    }
}
