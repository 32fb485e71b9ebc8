//! Objects in the cluster, applied server-side, compared field by field.

mod delete;
mod difference;
mod gone;

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

pub(crate) use delete::delete;
pub use difference::Difference;
use difference::{first_difference, pretty, projected};
pub(crate) use gone::gone;
use serde_json::{Value, json};

use crate::{
    Change, Context, Detail, Error, Result, Status, Step, Thing, api::Api, journal::Journal,
    kubectl::is_going, steps::file::diff,
};

/// Some objects that have a name together, as JSON values.
#[derive(Debug, Clone)]
pub struct Manifest {
    name: String,
    phase: &'static str,
    objects: Vec<Value>,
    causes: Vec<Thing>,
    stateless: bool,
    /// As they are in the cluster, until they are applied.
    seen: RefCell<Option<Rc<Live>>>,
}

/// Objects as they are in the cluster. What is being deleted is as good as gone.
#[derive(Debug)]
struct Live {
    found: Vec<Value>,
    going: Vec<Value>,
}

impl Manifest {
    /// The `objects` called `name` together, applied by `phase`, which is the field manager.
    pub fn new(name: &str, phase: &'static str, objects: Vec<Value>) -> Self {
        let objects = objects.into_iter().map(|object| marked(object, phase)).collect();
        let (causes, stateless, seen) = (Vec::new(), false, RefCell::default());
        Self { name: name.into(), phase, objects, causes, stateless, seen }
    }

    /// What its pods bring about on the machine. Reset puts that back once they are gone.
    #[must_use]
    pub fn causing(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.causes.extend(things);
        self
    }

    /// Its pods keep nothing: when reset has deleted what owns them, nobody is served by them any
    /// more, and they are not given the time that they would take to end.
    #[must_use]
    pub fn stateless(self) -> Self {
        Self { stateless: true, ..self }
    }

    fn live(&self) -> Result<Rc<Live>> {
        if let Some(live) = &*self.seen.borrow() {
            return Ok(Rc::clone(live));
        }
        let found = Api::admin().get(&self.objects)?;
        let (going, found) = found.into_iter().partition(is_going);
        let live = Rc::new(Live { found, going });
        *self.seen.borrow_mut() = Some(Rc::clone(&live));
        Ok(live)
    }

    /// What has to be changed in the cluster, where its objects are `live`.
    fn difference(&self, live: &[Value]) -> Option<Change> {
        let mut differences = Vec::new();
        let mut shown = String::new();
        let live = by_place(live);
        for object in &self.objects {
            let title = title(object);
            let Some(found) = live.get(&place(object)) else {
                differences.push(format!("+{title}"));
                continue;
            };
            if let Some(path) = first_difference(object, found) {
                differences.push(format!("~{title} ({path})"));
                shown += &diff(&pretty(&projected(object, found)), &pretty(object));
            }
        }
        (!differences.is_empty()).then(|| {
            let what = format!("apply {}: {}", self.name, differences.join(", "));
            let detail = (!shown.is_empty()).then_some(Detail::Diff(shown));
            Change { what, detail }
        })
    }
}

/// One JSON List, which is YAML as well.
pub fn list<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    let items: Vec<_> = objects.into_iter().collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
}

/// `object` with the label that says who manages it (Kubernetes, "Recommended Labels"), unless it
/// has one. So each object has a field of ours: of a namespace or account that has nothing but a
/// name, the API server would not remember who applied it.
#[must_use]
pub fn marked(mut object: Value, phase: &str) -> Value {
    let labels = &mut object["metadata"]["labels"];
    if labels.is_null() {
        *labels = json!({});
    }
    if let Some(labels) = labels.as_object_mut() {
        labels.entry(MANAGED_BY).or_insert_with(|| phase.into());
    }
    object
}

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// For the journal of `phase`: those of `objects` that are its own to delete. That is what is not
/// in the cluster (`live`) when it is applied, or has been made by the phase before; never what
/// others made and the phase only changes. Of each no more than what names it: a Secret's content
/// has no place there. Whether their pods are `stateless` is noted as well.
///
/// # Errors
/// When the journal cannot be read.
pub fn made(
    context: &Context<'_>,
    phase: &str,
    name: &str,
    objects: &[Value],
    live: &[Value],
    stateless: bool,
) -> Result<Option<Thing>> {
    let before = Journal::open(context.host, phase)?.made()?;
    let (live, before) = (by_place(live), by_place(&before));
    let own = |object: &&Value| {
        let place = place(object);
        !live.contains_key(&place) || before.contains_key(&place)
    };
    let names: Vec<_> = objects.iter().filter(own).map(named).collect();
    let (name, manifest) = (name.into(), list(&names));
    Ok((!names.is_empty()).then_some(Thing::Objects { name, manifest, stateless }))
}

/// What names an object, and nothing else of it.
fn named(object: &Value) -> Value {
    let mut metadata = json!({ "name": object["metadata"]["name"] });
    if let Some(namespace) = object["metadata"].get("namespace") {
        metadata["namespace"] = namespace.clone();
    }
    json!({ "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata })
}

impl Step for Manifest {
    fn id(&self) -> String {
        format!("manifest:{}", self.name)
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let difference = self.difference(&self.live()?.found);
        Ok(difference.map_or(Status::Done, Status::Differs))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let live = self.live()?;
        let made =
            made(context, self.phase, &self.name, &self.objects, &live.found, self.stateless)?;
        // What its pods cause first: reset walks backwards.
        Ok(self.causes.iter().cloned().chain(made).collect())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        // A namespace takes seconds to go, and lets nothing be made in it meanwhile; anything else
        // would go although it has just been applied.
        gone(context, &self.live()?.going)?;
        self.seen.take();
        Api::admin().apply(self.phase, &self.objects).map_err(|error| {
            Error::host("manifest-refused", format!("cannot apply `{}`", self.name))
                .because(error)
                .hint("see whether the API server runs: `kcp check`")
        })
    }
}

/// `Deployment kube-system/coredns`.
pub fn title(object: &Value) -> String {
    let (_, kind, namespace, name) = identity(object);
    if namespace.is_empty() {
        format!("{kind} {name}")
    } else {
        format!("{kind} {namespace}/{name}")
    }
}

/// What names an object in the cluster: its group, kind, namespace and name.
pub type Place<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Which object it is, in whatever state. Where no namespace is named, an object that has one is in
/// `default`.
pub fn place(object: &Value) -> Place<'_> {
    let (group, kind, namespace, name) = identity(object);
    (group, kind, if namespace == "default" { "" } else { namespace }, name)
}

/// `objects`, to be found by their places: there may be very many.
pub fn by_place<'a>(
    objects: impl IntoIterator<Item = &'a Value>,
) -> BTreeMap<Place<'a>, &'a Value> {
    objects.into_iter().map(|object| (place(object), object)).collect()
}

/// The group (of the core API its version), the kind, the namespace and the name.
fn identity(object: &Value) -> Place<'_> {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split('/').next().unwrap_or_default();
    (group, text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{marked, named, place};

    #[test]
    fn each_object_says_who_manages_it_unless_it_says_so_itself() {
        let bare = json!({ "kind": "Namespace", "metadata": { "name": "a" } });
        assert_eq!(
            marked(bare, "kapps")["metadata"]["labels"]["app.kubernetes.io/managed-by"],
            "kapps"
        );
        let helms = json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": "Helm" } } });
        assert_eq!(marked(helms.clone(), "kapps"), helms);
    }

    #[test]
    fn the_journal_gets_names_alone() {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "data": { "password": "c2VjcmV0" },
            "metadata": { "name": "s", "namespace": "n", "annotations": { "a": "b" } },
        });
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": "n" },
        });
        assert_eq!(named(&secret), expected);
    }

    #[test]
    fn an_object_is_the_same_in_another_version_and_without_its_default_namespace() {
        let object = |version: &str, namespace: Option<&str>| {
            let metadata = json!({ "name": "a", "namespace": namespace });
            json!({ "apiVersion": version, "kind": "Deployment", "metadata": metadata })
        };
        let same = |one, other| place(&one) == place(&other);
        assert!(same(object("apps/v1", Some("default")), object("apps/v1beta2", None)));
        assert!(!same(object("apps/v1", Some("other")), object("apps/v1", None)));
        assert!(!same(object("apps/v1", None), object("extensions/v1", None)));
    }
}
