//! A program that is run when a condition says so, for what only that program can do.

use crate::{Context, Result, Status, Step, Thing};

type Check = Box<dyn Fn(&Context<'_>) -> Result<Status>>;
type Run = Box<dyn Fn(&Context<'_>) -> Result<()>>;

/// A guarded action: `check` decides and never writes, `run` acts, and what it touches is known
/// beforehand.
pub struct Guarded {
    id: String,
    check: Check,
    run: Run,
    touches: Vec<Thing>,
    in_tree: bool,
}

impl Guarded {
    /// The action `id`, to be taken when `check` says that something differs.
    pub fn new(
        id: impl Into<String>,
        check: impl Fn(&Context<'_>) -> Result<Status> + 'static,
        run: impl Fn(&Context<'_>) -> Result<()> + 'static,
    ) -> Self {
        let id = format!("command:{}", id.into());
        Self { id, check: Box::new(check), run: Box::new(run), touches: Vec::new(), in_tree: false }
    }

    /// What it touches.
    #[must_use]
    pub fn touching(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.touches.extend(things);
        self
    }

    /// It deals in files only, and works in a tree as well.
    #[must_use]
    pub fn in_tree(mut self) -> Self {
        self.in_tree = true;
        self
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Guarded").field(&self.id).finish()
    }
}

impl Step for Guarded {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn needs_machine(&self) -> bool {
        !self.in_tree
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        (self.check)(context)
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(self.touches.clone())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        (self.run)(context)
    }
}
