//! Manifests that are looked at and applied together.

use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
};

use serde_json::Value;

use super::{Named, gone};
use crate::{Context, Result, api::Api, kubectl::is_going};

/// Manifests of which those that differ are applied with one `kubectl apply`, when the first of them
/// is: each call asks the API server for all that it serves before it says a word.
#[derive(Debug)]
pub(super) struct Group {
    all: Vec<Rc<Named>>,
    before: Rc<Live>,
    after: Live,
    pub(super) applied: Cell<bool>,
}

/// The objects of some manifests as they are in the cluster, asked for together.
#[derive(Debug)]
pub(super) struct Live {
    of: Vec<Rc<Named>>,
    seen: OnceCell<Vec<Value>>,
    going: OnceCell<Vec<Value>>,
}

impl Live {
    pub(super) fn new(of: Vec<Rc<Named>>) -> Self {
        Self { of, seen: OnceCell::new(), going: OnceCell::new() }
    }

    /// What is being deleted is as good as gone.
    fn get(&self) -> Result<&[Value]> {
        if self.seen.get().is_none() {
            let found = Api::admin().get(self.of.iter().flat_map(|one| &one.objects))?;
            let (going, found) = found.into_iter().partition(is_going);
            self.going.get_or_init(|| going);
            return Ok(self.seen.get_or_init(|| found));
        }
        Ok(self.seen.get().map_or(&[], Vec::as_slice))
    }
}

impl Group {
    /// Of `all`, which `before` looks at, perhaps among others.
    pub(super) fn new(all: Vec<Rc<Named>>, before: &Rc<Live>) -> Rc<Self> {
        let (before, after) = (Rc::clone(before), Live::new(all.clone()));
        Rc::new(Self { all, before, after, applied: Cell::new(false) })
    }

    /// As they were before any was applied, or are now.
    pub(super) fn live(&self, after: bool) -> Result<&[Value]> {
        if after { self.after.get() } else { self.before.get() }
    }

    /// Those that are to be applied, as long as none has been.
    pub(super) fn differing(&self) -> Result<Vec<&Named>> {
        if self.applied.get() {
            return Ok(Vec::new());
        }
        let live = self.live(false)?;
        Ok(self
            .all
            .iter()
            .map(AsRef::as_ref)
            .filter(|named| named.difference(live).is_some())
            .collect())
    }

    /// Wait until what was being deleted is gone. A namespace takes seconds, and lets nothing be
    /// made in it meanwhile; anything else would go although it has just been applied.
    pub(super) fn vacated(&self, context: &Context<'_>) -> Result<()> {
        let going = self.before.going.get().map_or(&[][..], Vec::as_slice);
        if going.is_empty() { Ok(()) } else { gone(context, going) }
    }
}
