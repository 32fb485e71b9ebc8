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

mod bundle;
mod members;

use khost::{
    Change, Cmd, Context, Error, Host, Result, Status, Step, StepList, Tool, engine,
    error::Exit,
    fs,
    static_pod::{Component, StaticPod},
    steps::{command::Guarded, trust::TrustAnchor},
};
use kspec::{Cluster, Node, Role, paths::BIN_DIR, state::Facts};
use time::OffsetDateTime;

use self::bundle::{Bundle, NEXT_KEY, Next, path, trusted};
use crate::{
    authority::{Authority, Rules},
    leaf::{Leaf, Use},
    record::Record,
    renew,
};

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
    tool.alone()?;
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
        if let Some(etcd) = self.etcd("")
            && self.tool.host.is_live()
            && let Status::Differs(change) = etcd.check(&context)?
        {
            let what = "this node is not as cluster.toml has it";
            return Err(Error::input("rotation-not-settled", what)
                .because(change.what)
                .hint("run `kpki apply`, `ketcd apply` and `kcp apply`, then this again"));
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
                    steps.add(Next::new(rules, begun == Stage::None));
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

    /// What reads the authority only at its start, and is started anew one after the other.
    fn readers(&self, what: &'static str) -> Vec<Guarded> {
        self.etcd(what).into_iter().chain(self.api_server(what)).collect()
    }

    /// etcd's start is ketcd's business, which also saves what etcd holds before.
    fn etcd(&self, what: &'static str) -> Option<Guarded> {
        if !self.node.is(Role::Etcd) {
            return None;
        }
        let (config, node) = (self.tool.config_path(), self.node.name.clone());
        let ketcd = move |verb: &str| {
            let ketcd = Cmd::new(format!("{BIN_DIR}/ketcd")).arg(verb);
            ketcd.arg("--config").arg(config.clone()).args(["--node", &node])
        };
        let asked = ketcd.clone();
        Some(Guarded::new(
            format!("etcd-reads-{what}"),
            move |_: &Context<'_>| {
                let plan = asked("plan").accept(&[0, 3]).run()?;
                let what = format!("let etcd trust {what}: `ketcd apply`");
                Ok(if plan.code == 0 { Status::Done } else { Status::Differs(Change::new(what)) })
            },
            move |_: &Context<'_>| ketcd("apply").run().map(drop),
        ))
    }

    fn api_server(&self, what: &'static str) -> Option<Guarded> {
        if !self.node.is(Role::ControlPlane) {
            return None;
        }
        let pod = StaticPod::new(Component::ApiServer, self.cluster);
        let (asked, stamp) = (pod.clone(), pod.stamp());
        let id = format!("api-server-reads-{what}");
        let step = format!("command:{id}");
        let check = move |context: &Context<'_>| {
            let there = asked.is_wanted(context.host);
            Ok(match asked.stale(context, &step)? {
                Some(why) if there => {
                    Status::Differs(Change::new(format!("restart the API server: {why}")))
                }
                _ => Status::Done,
            })
        };
        let restart = move |context: &Context<'_>| pod.restart(context);
        Some(Guarded::new(id, check, restart).touching([stamp]))
    }
}
