//! Objects in the cluster, applied server-side, compared field by field.

mod difference;

use std::{
    cell::{Cell, OnceCell},
    collections::BTreeMap,
    rc::Rc,
};

pub use difference::Difference;
use difference::{first_difference, pretty, projected};
use serde_json::{Value, json};

use crate::{
    Change, Context, Detail, Error, Result, Status, Step, Thing, journal::Journal,
    kubectl::Kubectl, original::Restored, steps::file::diff,
};

/// Some objects, as JSON values.
#[derive(Debug, Clone)]
pub struct Manifest {
    own: Rc<Named>,
    group: Rc<Group>,
    applied: Cell<bool>,
}

/// Objects that have a name together.
#[derive(Debug)]
struct Named {
    name: String,
    phase: &'static str,
    objects: Vec<Value>,
    causes: Vec<Thing>,
}

/// Manifests that are asked for with one `kubectl get`, and of which those that differ are applied
/// with one `kubectl apply`, when the first of them is: each call asks the API server for all that
/// it serves before it says a word.
#[derive(Debug)]
struct Group {
    all: Vec<Rc<Named>>,
    before: OnceCell<Vec<Value>>,
    after: OnceCell<Vec<Value>>,
    applied: Cell<bool>,
}

impl Group {
    fn of(all: Vec<Rc<Named>>) -> Rc<Self> {
        let (before, after) = (OnceCell::new(), OnceCell::new());
        Rc::new(Self { all, before, after, applied: Cell::new(false) })
    }

    /// Their objects as they are in the cluster: as they were before any was applied, or are now.
    fn live(&self, after: bool) -> Result<&[Value]> {
        let seen = if after { &self.after } else { &self.before };
        if seen.get().is_none() {
            let list = list(self.all.iter().flat_map(|named| &named.objects));
            let found = Kubectl::admin().get(&list)?;
            return Ok(seen.get_or_init(|| found));
        }
        Ok(seen.get().map_or(&[], Vec::as_slice))
    }

    /// Those that are to be applied, as long as none has been.
    fn differing(&self) -> Result<Vec<&Named>> {
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
}

impl Named {
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

impl Manifest {
    /// The `objects` called `name` together, applied by `phase`, which is the field manager.
    pub fn new(name: &str, phase: &'static str, objects: Vec<Value>) -> Self {
        let objects = objects.into_iter().map(|object| marked(object, phase)).collect();
        Self::alone(Named { name: name.into(), phase, objects, causes: Vec::new() })
    }

    fn alone(named: Named) -> Self {
        let own = Rc::new(named);
        Self { group: Group::of(vec![Rc::clone(&own)]), own, applied: Cell::new(false) }
    }

    /// What its pods bring about on the machine. Reset puts that back once they are gone.
    #[must_use]
    pub fn causing(self, things: impl IntoIterator<Item = Thing>) -> Self {
        let Named { name, phase, objects, causes } = &*self.own;
        let causes = causes.iter().cloned().chain(things).collect();
        Self::alone(Named { name: name.clone(), phase, objects: objects.clone(), causes })
    }

    /// `manifests` of one phase, to be looked at and applied together.
    pub fn together(manifests: Vec<Self>) -> Vec<Self> {
        let all: Vec<_> = manifests.into_iter().map(|manifest| manifest.own).collect();
        let group = Group::of(all.clone());
        all.into_iter()
            .map(|own| Self { own, group: Rc::clone(&group), applied: Cell::new(false) })
            .collect()
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
/// has no place there.
///
/// # Errors
/// When the journal cannot be read.
pub fn made(
    context: &Context<'_>,
    phase: &str,
    name: &str,
    objects: &[Value],
    live: &[Value],
) -> Result<Option<Thing>> {
    let before = Journal::open(context.host, phase)?.made()?;
    let (live, before) = (by_place(live), by_place(&before));
    let own = |object: &&Value| {
        let place = place(object);
        !live.contains_key(&place) || before.contains_key(&place)
    };
    let names: Vec<_> = objects.iter().filter(own).map(named).collect();
    Ok((!names.is_empty()).then(|| Thing::Objects { name: name.into(), manifest: list(&names) }))
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
        format!("manifest:{}", self.own.name)
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let live = self.group.live(self.applied.get())?;
        Ok(self.own.difference(live).map_or(Status::Done, Status::Differs))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = Vec::new();
        for Named { name, phase, objects, causes } in self.group.differing()? {
            things.extend(causes.iter().cloned()); // first: reset walks backwards
            things.extend(made(context, phase, name, objects, self.group.live(false)?)?);
        }
        Ok(things)
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        self.applied.set(true);
        let differing = self.group.differing()?;
        if differing.is_empty() {
            return Ok(()); // with the first of them
        }
        let manifest = list(differing.iter().flat_map(|named| &named.objects));
        Kubectl::admin().apply(self.own.phase, &manifest).map_err(|error| {
            let names: Vec<_> = differing.iter().map(|named| named.name.as_str()).collect();
            Error::host("manifest-refused", format!("cannot apply `{}`", names.join("`, `")))
                .because(error)
                .hint("see whether the API server runs: `kcp check`")
        })?;
        self.group.applied.set(true);
        Ok(())
    }
}

/// Delete `objects`, the last made first. Without a cluster they are gone already.
pub(crate) fn delete(host: &crate::Host, objects: &[Value]) -> Result<Restored> {
    let admin = host.path(kspec::paths::ADMIN_CONF);
    let kubectl = Kubectl::admin();
    if !crate::fs::exists(&admin) || !kubectl.answers() {
        return Ok(Restored::Left("no API server answers: its objects go with it".into()));
    }
    if control_planes(&kubectl)? > 1 {
        return Ok(Restored::Left("they serve the other control planes, which go on".into()));
    }
    kubectl.delete_with_stuck_pods(&list(objects.iter().rev()))?;
    Ok(Restored::Done)
}

/// How many nodes could go on without this one.
fn control_planes(kubectl: &Kubectl) -> Result<usize> {
    let selector = "--selector=node-role.kubernetes.io/control-plane";
    let found = kubectl.get_json(&["nodes", selector])?;
    Ok(found["items"].as_array().map_or(0, Vec::len))
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
