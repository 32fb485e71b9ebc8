//! A learner that has caught up becomes a member that votes.

use std::time::Duration;

use khost::{
    Change, Context, Result, Status,
    steps::command::Guarded,
    wait::{Awaited, Seen, until},
};

use crate::{health::LOOK, join, join::Place, living::LiveMember};

/// This member votes.
pub(crate) fn voting(place: &Place) -> Guarded {
    let (asked, place) = (place.clone(), place.clone());
    Guarded::new(
        "etcd-promoted",
        move |context: &Context<'_>| {
            let differs = if asked.others().is_empty() {
                false // the only one has always voted
            } else if context.changes(join::ID) && !Place::has_data(context.host) {
                true // in a plan
            } else if asked.others().can_ask(context.host) {
                asked.listed().is_ok_and(|found| found.is_some_and(|member| member.learner))
            } else {
                false
            };
            Ok(if differs {
                Status::Differs(Change::new("let the learner vote once it has caught up"))
            } else {
                Status::Done
            })
        },
        move |context: &Context<'_>| {
            let awaited = Awaited {
                id: "etcd-promoted".into(),
                what: "a member that has caught up with the others".into(),
                limit: Duration::from_secs(600),
                look: LOOK.into(),
            };
            until(context, &awaited, || match place.listed() {
                Ok(Some(member)) if member.learner => promote(&place, &member),
                Ok(_) => Ok(Seen::Ready),
                Err(error) => Ok(Seen::NotYet(error.chain())),
            })
        },
    )
}

/// etcd itself decides whether it has caught up: its log has nine tenths of the leader's.
fn promote(place: &Place, member: &LiveMember) -> Result<Seen> {
    let Err(error) = place.others().promote(member) else { return Ok(Seen::Ready) };
    let words = error.chain();
    if words.contains("in sync with leader") {
        Ok(Seen::not_yet("it still copies what the others have"))
    } else if ["unhealthy cluster", "not enough started members", "deadline exceeded"]
        .iter()
        .any(|sign| words.contains(sign))
    {
        Ok(Seen::NotYet(words))
    } else {
        Err(error)
    }
}
