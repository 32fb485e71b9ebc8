//! What a phase made and wants no more.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    Change, Context, Result, Status, Step, Thing,
    api::Api,
    journal::Journal,
    kubectl::Kubectl,
    steps::manifest::{by_place, gone, place, title},
};

/// No object in the cluster that the phase made and that is not wanted any more.
///
/// The journal is the inventory: it knows what the phase made, also after a run was killed. Objects
/// that others made, or made anew under the same name, stay: the phase must still be one that
/// applied them (`metadata.managedFields`).
#[derive(Debug, Clone)]
pub struct Pruned {
    phase: &'static str,
    managers: &'static [&'static str],
    wanted: Vec<Value>,
}

impl Pruned {
    /// Of all that `phase` made, with one of the field managers `managers`, only `wanted`.
    pub fn to(
        phase: &'static str,
        managers: &'static [&'static str],
        wanted: impl IntoIterator<Item = Value>,
    ) -> Self {
        Self { phase, managers, wanted: wanted.into_iter().collect() }
    }

    /// What is to go, last made first.
    fn found(&self, context: &Context<'_>) -> Result<Vec<Value>> {
        let made = Journal::open(context.host, self.phase)?.made()?;
        let mut known: BTreeSet<_> = self.wanted.iter().map(place).collect();
        let gone = made.iter().rev().filter(|made| known.insert(place(made)));
        let mut gone: Vec<_> = gone.cloned().collect();
        if gone.is_empty() {
            return Ok(gone);
        }
        let live = Api::admin().get(&gone)?;
        let live = by_place(&live);
        let is_ours = |live: &&Value| self.managers.iter().any(|by| applied_by(live, by));
        gone.retain(|gone| live.get(&place(gone)).is_some_and(is_ours));
        Ok(gone)
    }
}

/// Whether `manager` applied fields of the object, as the server remembers it.
fn applied_by(object: &Value, manager: &str) -> bool {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    managers
        .into_iter()
        .flatten()
        .any(|entry| entry["manager"] == manager && entry["operation"] == "Apply")
}

impl Step for Pruned {
    fn id(&self) -> String {
        "prune".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let found = self.found(context)?;
        let titles: Vec<_> = found.iter().map(title).collect();
        Ok(match titles.as_slice() {
            [] => Status::Done,
            titles => Status::Differs(Change::new(format!(
                "delete what is not wanted any more: {}",
                titles.join(", ")
            ))),
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new()) // they were ours: reset would delete them
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let turns = in_turns(self.found(context)?);
        for objects in turns.iter().filter(|objects| !objects.is_empty()) {
            Kubectl::admin().begin_deleting(objects.iter())?;
            gone(context, objects)?;
        }
        Ok(())
    }
}

/// What is deleted first, and what when that is gone.
fn in_turns(objects: Vec<Value>) -> [Vec<Value>; 2] {
    let (holders, held) = objects.into_iter().partition(holds);
    [held, holders]
}

/// Whether other objects are in it. It goes after those of ours: whenever its controller finds pods
/// that still end, it looks again only after half of the time that they were given, and when they
/// are over it, after ever longer pauses (Kubernetes, `namespace_controller.go`).
fn holds(object: &Value) -> bool {
    object["kind"] == "Namespace" || object["kind"] == "CustomResourceDefinition"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{applied_by, in_turns};

    #[test]
    fn what_holds_others_goes_after_what_it_holds() {
        let object = |kind: &str| json!({ "kind": kind, "metadata": { "name": "a" } });
        let [pods, space, tree] =
            ["Deployment", "Namespace", "CustomResourceDefinition"].map(object);
        let turns = in_turns(vec![space.clone(), pods.clone(), tree.clone()]);
        assert_eq!(turns, [vec![pods], vec![space, tree]]);
    }

    #[test]
    fn only_who_applied_it_owns_it() {
        let object = json!({ "metadata": { "managedFields": [
            { "manager": "kapps", "operation": "Apply" },
            { "manager": "kubectl-edit", "operation": "Update" },
        ] } });
        assert!(applied_by(&object, "kapps"));
        assert!(!applied_by(&object, "kubectl-edit") && !applied_by(&object, "kcni"));
        assert!(!applied_by(&json!({}), "kapps"));
    }
}
