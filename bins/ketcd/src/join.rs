//! Becoming a member of a cluster that exists, as a learner first: one that does not vote yet, so
//! that nothing is lost when it never comes up.
//!
//! The first etcd node of cluster.toml starts the cluster, alone; the others join it one at a
//! time. What was done is read off etcd's own list, so a run that was killed is gone on with.

use std::time::Duration;

use khost::{
    Change, Context, Error, Host, Result, Status, Step, Thing, fs,
    wait::{Awaited, Seen, until},
};
use kspec::{Node, paths::ETCD_DATA_DIR};

use crate::{
    env::{self, Start},
    living::{LiveMember, Living},
    members::Members,
};

/// The step's id.
pub(crate) const ID: &str = "etcd-member";

/// This node's place among the members.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// What it is called, when nobody else is called so.
    name: String,
    /// Where the others reach it.
    peer_url: String,
    /// It starts the cluster when there is none.
    founder: Option<String>,
    /// All of cluster.toml, as `ETCD_INITIAL_CLUSTER` wants it.
    described: String,
    /// The other members.
    others: Living,
}

/// How the cluster sees this node, whose data directory is empty.
#[derive(Debug, PartialEq, Eq)]
enum Standing<'a> {
    /// Not at all.
    Unknown,
    /// It was added and is expected.
    Expected,
    /// It was a member, and what it had is gone.
    Lost(&'a LiveMember),
}

impl Place {
    /// Of `node`, called `name`; `others` can be asked about the cluster.
    pub(crate) fn new(members: &Members, node: &Node, name: &str, others: Living) -> Self {
        let founder = members.founder().filter(|founder| *founder != node.name);
        Self {
            name: name.into(),
            peer_url: Members::peer_url(node),
            founder: founder.map(str::to_owned),
            described: members.initial_cluster(),
            others,
        }
    }

    /// etcd has started here once: its log is there, which it makes in one go.
    pub(crate) fn has_data(host: &Host) -> bool {
        fs::exists(&host.path(format!("{ETCD_DATA_DIR}/member/wal")))
    }

    /// This node as the cluster lists it.
    pub(crate) fn listed(&self) -> Result<Option<LiveMember>> {
        let found = self.others.members()?;
        Ok(found.into_iter().find(|member| member.is_at(&self.peer_url)))
    }

    /// The other members.
    pub(crate) fn others(&self) -> &Living {
        &self.others
    }

    fn standing<'a>(&self, members: &'a [LiveMember]) -> Standing<'a> {
        match members.iter().find(|member| member.is_at(&self.peer_url)) {
            None => Standing::Unknown,
            Some(member) if member.has_started() => Standing::Lost(member),
            Some(_) => Standing::Expected,
        }
    }

    /// With what etcd starts. None while that is not known: before it is a member.
    ///
    /// A started member is left what it was started with, since it no longer looks at it; another
    /// text would restart it for nothing.
    pub(crate) fn start(&self, host: &Host) -> Result<Option<Start>> {
        if Self::has_data(host)
            && let Some(kept) = env::started_with(host)?
        {
            return Ok(Some(kept));
        }
        if self.others.can_ask(host) && !self.others.is_empty() {
            match self.others.members() {
                Ok(found) if self.standing(&found) == Standing::Expected => {
                    return Ok(Some(self.joining(&found)));
                }
                Err(_) if self.founder.is_none() => {}
                Ok(_) | Err(_) => return Ok(None),
            }
        }
        Ok(match (&self.founder, host.is_live()) {
            (None, _) => Some(self.founding()),
            (Some(_), true) => None,
            (Some(_), false) => Some(self.described()),
        })
    }

    fn founding(&self) -> Start {
        let initial_cluster = format!("{}={}", self.name, self.peer_url);
        let alone = self.described == initial_cluster;
        Start { name: self.name.clone(), state: "new".into(), initial_cluster, alone }
    }

    /// In a tree nobody can be asked.
    pub(crate) fn described(&self) -> Start {
        let initial_cluster = self.described.clone();
        let (name, state) = (self.name.clone(), "existing".into());
        Start { name, state, initial_cluster, alone: false }
    }

    /// etcd compares the URLs with those of the cluster, and wants them all.
    fn joining(&self, members: &[LiveMember]) -> Start {
        let name = self.free_name(members);
        let each = members.iter().flat_map(|member| {
            let called = if member.is_at(&self.peer_url) {
                name.clone()
            } else if member.has_started() {
                member.name.clone()
            } else {
                member.id() // any name will do for one that has not told its own
            };
            member.peer_urls.iter().map(move |url| format!("{called}={url}"))
        });
        let initial_cluster = each.collect::<Vec<_>>().join(",");
        Start { name, state: "existing".into(), initial_cluster, alone: false }
    }

    /// Its name by its place in cluster.toml. Where nodes came and went, an earlier member may
    /// have it; then the first that nobody has.
    fn free_name(&self, members: &[LiveMember]) -> String {
        let taken = |name: &str| {
            members.iter().any(|member| member.name == name && !member.is_at(&self.peer_url))
        };
        if !taken(&self.name) {
            return self.name.clone();
        }
        let free = (0..=members.len()).map(Members::name_at).find(|name| !taken(name));
        free.unwrap_or_else(|| self.name.clone())
    }

    /// One look at the cluster, and one step towards being in it.
    fn approach(&self) -> Result<Seen> {
        let found = match self.others.members() {
            Ok(found) => found,
            Err(error) => return Ok(Seen::NotYet(error.chain())),
        };
        let done = match self.standing(&found) {
            Standing::Expected => return Ok(Seen::Ready),
            Standing::Unknown => self.others.add_learner(&self.free_name(&found), &self.peer_url),
            Standing::Lost(member) => self.others.remove(member),
        };
        match done {
            Ok(()) => Ok(Seen::not_yet("the cluster has yet to list it")),
            Err(error) => refused(error).map(Seen::NotYet),
        }
    }
}

/// What etcd refuses for now, in words; all else is an error.
fn refused(error: Error) -> Result<String> {
    let words = error.chain();
    Ok(if words.contains("too many learner members") {
        "another member is joining, and etcd takes one at a time".into()
    } else if words.contains("unhealthy cluster") || words.contains("not enough started members") {
        "too few of the other members run for the cluster to change".into()
    } else if words.contains("already exists") || words.contains("deadline exceeded") {
        words
    } else {
        return Err(error);
    })
}

/// This node is a member of the cluster that exists, if one does.
#[derive(Debug)]
pub(crate) struct Join(pub(crate) Place);

impl Step for Join {
    fn id(&self) -> String {
        ID.into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let Self(place) = self;
        if Place::has_data(context.host) || place.others.is_empty() {
            return Ok(Status::Done);
        }
        let join = Status::Differs(Change::new("join the etcd cluster as a learner"));
        let asked = place.others.can_ask(context.host).then(|| place.others.members());
        Ok(match asked {
            Some(Ok(found)) => match place.standing(&found) {
                Standing::Expected => Status::Done,
                Standing::Unknown => join,
                Standing::Lost(member) => Status::Differs(Change::new(format!(
                    "join the etcd cluster as a learner, in place of member {}, whose data is gone",
                    member.id()
                ))),
            },
            Some(Err(_)) | None if place.founder.is_none() => Status::Done,
            Some(Err(_)) | None => join,
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // a member leaves before its reset: see `leave`
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let founder = self.0.founder.as_deref().unwrap_or("one of the others");
        let awaited = Awaited {
            id: ID.into(),
            what: "a place in the etcd cluster".into(),
            limit: Duration::from_secs(120),
            look: format!("ketcd check` on `{founder}"),
        };
        until(context, &awaited, || self.0.approach())
    }
}

#[cfg(test)]
mod tests {
    use khost::Error;
    use kspec::Cluster;

    use super::{Place, Standing, refused};
    use crate::{
        living::{Living, tests::member},
        members::Members,
    };

    /// The place of the node at 192.0.2.NUMBER in a cluster of 11, 12 and 13.
    fn place(number: usize) -> Place {
        let mut cluster = Cluster::example("n11", "192.0.2.11".parse().unwrap());
        for other in ["12", "13"] {
            let mut node = cluster.nodes[0].clone();
            node.name = format!("n{other}");
            node.address = format!("192.0.2.{other}").parse().unwrap();
            cluster.nodes.push(node);
        }
        let (members, node) = (Members::of(&cluster), &cluster.nodes[number - 11]);
        let admin = ktest::certificate("admin");
        let others = Living::new("/ca.pem", &admin, members.others(node));
        Place::new(&members, node, &members.name_of(node).unwrap(), others)
    }

    #[test]
    fn the_first_starts_alone() {
        let tree = tempfile::tempdir().unwrap();
        let start = place(11).start(&khost::Host::new(tree.path())).unwrap().unwrap();
        assert_eq!(start.state, "new");
        assert_eq!(start.initial_cluster, "etcd1=https://192.0.2.11:2380");
    }

    #[test]
    fn who_joins_names_everyone_who_is_there_and_itself() {
        let all = [member(11, "etcd1", false), member(12, "", true)];
        let start = place(12).joining(&all);
        assert_eq!((start.name.as_str(), start.state.as_str()), ("etcd2", "existing"));
        assert_eq!(
            start.initial_cluster,
            "etcd1=https://192.0.2.11:2380,etcd2=https://192.0.2.12:2380"
        );
        // Another that was added and has not said its name.
        let all = [member(11, "etcd1", false), member(12, "", true), member(13, "", false)];
        assert!(place(12).joining(&all).initial_cluster.ends_with(",d=https://192.0.2.13:2380"));
    }

    #[test]
    fn a_name_that_another_has_is_not_taken() {
        let all = [member(11, "etcd1", false), member(14, "etcd3", false), member(13, "", true)];
        assert_eq!(place(13).joining(&all).name, "etcd2");
    }

    #[test]
    fn a_member_without_its_data_is_lost() {
        let place = place(12);
        let founder = member(11, "etcd1", false);
        assert_eq!(place.standing(std::slice::from_ref(&founder)), Standing::Unknown);
        assert_eq!(place.standing(&[founder.clone(), member(12, "", true)]), Standing::Expected);
        let lost = [founder, member(12, "etcd2", false)];
        assert_eq!(place.standing(&lost), Standing::Lost(&lost[1]));
    }

    #[test]
    fn what_etcd_refuses_for_now_is_waited_for() {
        let says = |words: &str| refused(Error::host("program-failed", words));
        assert!(
            says("etcdserver: too many learner members in cluster").unwrap().contains("another")
        );
        assert!(says("etcdserver: unhealthy cluster").unwrap().contains("too few"));
        assert_eq!(says("permission denied").unwrap_err().code(), "program-failed");
    }
}
