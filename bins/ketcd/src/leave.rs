//! Before `ketcd reset`: the others are told, so that they do not count on this member any more.

use khost::{Error, Farewell, Result, Tool};
use kspec::{
    Cluster, Node,
    state::{Certificate, PkiState},
};

use crate::{
    join::Place,
    living::{LiveMember, Living},
    members::Members,
};

/// What `reset` has to do first on a node that is, or may be, one of several members.
pub(crate) fn farewell(tool: &Tool) -> Option<Farewell<'_>> {
    let host = &tool.host;
    if !host.is_live() || !Place::has_data(host) {
        return None;
    }
    // Without a description or certificates there is no one to talk to, and reset works anyway.
    let cluster = tool.cluster().ok()?;
    let node = tool.node(&cluster).ok()?.clone();
    let pki: PkiState = tool.state().ok()?;
    let admin = pki.admin?;
    let leaving = Leaving { cluster, node, ca: pki.ca.cert, admin };
    let living = leaving.ask(Members::of(&leaving.cluster).endpoints());
    if !living.can_ask(host) {
        return None;
    }
    Some(match living.members() {
        Ok(found) => {
            let own = leaving.one_of_several(&found)?.clone();
            let what = format!("take member {} ({}) out of the etcd cluster", own.id(), own.name);
            Farewell::new(what, move || leaving.leave(&found, &own))
        }
        Err(_) if Members::of(&leaving.cluster).others(&leaving.node).is_empty() => return None,
        Err(error) => Farewell::new("leave the etcd cluster without a word", move || {
            tool.report.say(&format!(
                "warning: the etcd cluster does not answer and cannot be told that this member \
                 goes: {}\nif the others run on, run `etcdctl.sh member list` and \
                 `etcdctl.sh member remove ID` on one of them",
                error.chain()
            ));
            Ok(())
        }),
    })
}

#[derive(Debug)]
struct Leaving {
    cluster: Cluster,
    node: Node,
    ca: String,
    admin: Certificate,
}

impl Leaving {
    fn ask(&self, endpoints: Vec<String>) -> Living {
        Living::new(&self.ca, &self.admin, endpoints)
    }

    /// This node's member, when others are left to go on without it.
    fn one_of_several<'a>(&self, found: &'a [LiveMember]) -> Option<&'a LiveMember> {
        let peer_url = Members::peer_url(&self.node);
        let own = found.iter().find(|member| member.is_at(&peer_url))?;
        let others = found.iter().any(|member| member.id != own.id && !member.learner);
        others.then_some(own)
    }

    /// The others are asked: the answer of a member about its own end may get lost.
    fn leave(&self, found: &[LiveMember], own: &LiveMember) -> Result<()> {
        let others = found.iter().filter(|member| member.id != own.id && !member.learner);
        let endpoints = others.flat_map(|member| member.client_urls.clone()).collect();
        self.ask(endpoints).remove(own).map_err(refused)
    }
}

/// What it means that etcd does not let go of a member.
fn refused(error: Error) -> Error {
    let words = error.chain();
    if words.contains("unhealthy cluster") || words.contains("not enough started members") {
        let message = "the etcd cluster cannot go on without this member";
        Error::host("etcd-quorum-needed", message)
            .because(format!("too few of the others run: {words}"))
            .hint(
                "start the others, or take those that are gone for good out first: `etcdctl.sh \
                 member list`, `etcdctl.sh member remove ID`",
            )
    } else {
        error
    }
}

#[cfg(test)]
mod tests {
    use khost::Error;
    use kspec::Cluster;

    use super::{Leaving, refused};
    use crate::living::tests::member;

    /// As etcd's `strict-reconfig-check` says it (`api/v3rpc/rpctypes/error.go`).
    #[test]
    fn a_member_that_the_others_need_stays() {
        let says = |words: &str| refused(Error::host("program-failed", words));
        for words in [
            "etcdserver: unhealthy cluster",
            "re-configuration failed due to not enough started members",
        ] {
            let error = says(words);
            assert_eq!(error.code(), "etcd-quorum-needed");
            assert!(error.chain().ends_with(words), "{}", error.chain());
            assert!(error.next().is_some_and(|hint| hint.starts_with("start the others")));
        }
        assert_eq!(says("permission denied").code(), "program-failed");
    }

    #[test]
    fn the_last_one_that_votes_has_no_one_to_leave() {
        let cluster = Cluster::example("n11", "192.0.2.11".parse().unwrap());
        let node = cluster.nodes[0].clone();
        let admin = ktest::certificate("admin");
        let leaving = Leaving { cluster, node, ca: "/ca.pem".into(), admin };
        let (own, learner) = (member(11, "etcd1", false), member(12, "etcd2", true));
        let other = member(13, "etcd3", false);
        assert_eq!(leaving.one_of_several(std::slice::from_ref(&own)), None);
        assert_eq!(leaving.one_of_several(&[own.clone(), learner.clone()]), None);
        assert_eq!(leaving.one_of_several(&[own.clone(), learner, other.clone()]), Some(&own));
        assert_eq!(leaving.one_of_several(&[other]), None, "it has left already");
    }
}
