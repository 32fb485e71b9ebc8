//! Waiting as a step: `apply` waits, `check` asks once.

use crate::{
    Change, Context, Kind, Result, Status, Step, Thing,
    wait::{Awaited, Seen, until},
};

type Probe = Box<dyn Fn(&Context<'_>) -> Result<Seen>>;

/// A condition that must come true.
pub struct Wait {
    awaited: Awaited,
    probe: Probe,
}

impl Wait {
    /// Wait for `awaited` until `probe` says it is there.
    pub fn new(awaited: Awaited, probe: impl Fn(&Context<'_>) -> Result<Seen> + 'static) -> Self {
        Self { awaited, probe: Box::new(probe) }
    }
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Wait").field(&self.awaited).finish()
    }
}

impl Step for Wait {
    fn id(&self) -> String {
        format!("wait:{}", self.awaited.id)
    }

    fn kind(&self) -> Kind {
        Kind::Wait
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match (self.probe)(context)? {
            Seen::Ready => Status::Done,
            Seen::NotYet(seen) => {
                Status::Differs(Change::new(format!("{} ({seen})", self.awaited.what)))
            }
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        until(context, &self.awaited, || (self.probe)(context))
    }
}
