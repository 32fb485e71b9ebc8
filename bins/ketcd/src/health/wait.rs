//! Waiting for a healthy member, and saying what is seen meanwhile.

use std::{cell::RefCell, time::Instant};

use khost::{
    Change, Context, Kind as StepKind, Result, Status, Step, Thing,
    report::Event,
    wait::{Seen, until},
};

use super::{Illness, Kind, Probe};
use crate::living::{LiveMember, Living};

/// The member is healthy, and one of the cluster that is described.
#[derive(Debug, Clone)]
pub(crate) struct Healthy {
    probe: Probe,
    /// Asks this member who is in its cluster.
    own: Living,
    /// Where the others reach it.
    peer_url: String,
}

impl Healthy {
    /// As `probe` sees it; by what `own` lists, it is at `peer_url`.
    pub(crate) fn new(probe: &Probe, own: Living, peer_url: String) -> Self {
        Self { probe: probe.clone(), own, peer_url }
    }

    fn look(&self, context: &Context<'_>) -> Result<Option<Illness>> {
        if let Some(illness) = self.probe.look(context.host)? {
            return Ok(Some(illness));
        }
        Ok(listed(self.own.members(), &self.peer_url))
    }
}

/// What ails a member that gives this list of its cluster. A learner gives none: it serves only
/// reads and its own status until it votes, and is of the cluster that it was added to (etcd:
/// `server/etcdserver/api/v3rpc/interceptor.go`).
fn listed(members: Result<Vec<LiveMember>>, peer_url: &str) -> Option<Illness> {
    match members {
        Ok(members) => stranger(&members, peer_url),
        Err(error) if error.chain().contains("rpc not supported for learner") => None,
        Err(error) => Some(Illness::new(Kind::Other, error.chain())),
    }
}

/// That data is of another cluster shows by its members: etcd itself goes by what is in the data,
/// not by its settings, and works.
fn stranger(members: &[LiveMember], peer_url: &str) -> Option<Illness> {
    if members.iter().any(|member| member.is_at(peer_url)) {
        return None;
    }
    let each =
        members.iter().map(|member| format!("{} at {}", member.name, member.peer_urls.join(", ")));
    let words = format!(
        "its data is of a cluster without a member at {peer_url}: its members are {}",
        each.collect::<Vec<_>>().join("; ")
    );
    Some(Illness::new(Kind::OtherCluster, words))
}

impl Step for Healthy {
    fn id(&self) -> String {
        format!("wait:{}", Probe::awaited().id)
    }

    fn kind(&self) -> StepKind {
        StepKind::Wait
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match self.look(context)? {
            None => Status::Done,
            Some(Illness { words, .. }) => {
                Status::Differs(Change::new(format!("{} ({words})", Probe::awaited().what)))
            }
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new())
    }

    /// Each new kind of trouble is told at once, and what lasts every ten seconds.
    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let (awaited, started) = (Probe::awaited(), Instant::now());
        let last: RefCell<Option<Illness>> = RefCell::default();
        let waited = until(context, &awaited, || {
            let Some(illness) = self.look(context)? else { return Ok(Seen::Ready) };
            let before = last.replace(Some(illness.clone()));
            if before.is_some_and(|before| before.kind != illness.kind) {
                let passed = started.elapsed().as_secs();
                let what = format!("{} ({passed} s so far): {}", awaited.what, illness.words);
                context.report.step(Event::Waiting, &awaited.id, &Change::new(what));
            }
            Ok(Seen::NotYet(illness.words))
        });
        waited.map_err(|error| match last.take() {
            Some(illness) if error.code() == "timeout" => illness.error(error.to_string()),
            _ => error,
        })
    }
}

#[cfg(test)]
mod tests {
    use khost::Error;

    use super::{Kind, listed, stranger};
    use crate::living::tests::member;

    #[test]
    fn a_learner_is_well_though_it_lists_nobody() {
        let refused = |words: &str| {
            Err(Error::host("etcd-unreachable", "no etcd member answers").because(words.to_owned()))
        };
        let learner = refused("Error: etcdserver: rpc not supported for learner");
        assert_eq!(listed(learner, "https://192.0.2.12:2380"), None);
        let silent = listed(refused("context deadline exceeded"), "https://192.0.2.12:2380");
        assert_eq!(silent.unwrap().kind, Kind::Other);
    }

    #[test]
    fn data_of_another_cluster_shows_by_its_members() {
        let members = [member(11, "etcd1", false), member(12, "etcd2", true)];
        assert_eq!(stranger(&members, "https://192.0.2.12:2380"), None);
        let found = stranger(&members, "https://192.0.2.13:2380").unwrap();
        assert_eq!(found.kind, Kind::OtherCluster);
        assert_eq!(
            found.words,
            "its data is of a cluster without a member at https://192.0.2.13:2380: its members are \
             etcd1 at https://192.0.2.11:2380; etcd2 at https://192.0.2.12:2380"
        );
    }
}
