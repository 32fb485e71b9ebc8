//! Objects in the cluster, applied server-side, compared field by field.

mod difference;

use std::{
    cell::{Cell, OnceCell},
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
    name: String,
    phase: &'static str,
    objects: Vec<Value>,
    causes: Vec<Thing>,
    together: Option<Rc<Together>>,
    applied: Cell<bool>,
}

/// Manifests that are asked for with one `kubectl get`, at the first look at any of them.
#[derive(Debug)]
struct Together {
    list: String,
    live: OnceCell<Vec<Value>>,
}

impl Manifest {
    /// The `objects` called `name` together, applied by `phase`, which is the field manager.
    pub fn new(name: &str, phase: &'static str, objects: Vec<Value>) -> Self {
        let objects = objects.into_iter().map(|object| marked(object, phase)).collect();
        let applied = Cell::new(false);
        Self { name: name.into(), phase, objects, causes: Vec::new(), together: None, applied }
    }

    /// What its pods bring about on the machine. Reset puts that back once they are gone.
    #[must_use]
    pub fn causing(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.causes.extend(things);
        self
    }

    /// `manifests`, to be looked at together: quick when there is nothing to do.
    pub fn looked_at_together(mut manifests: Vec<Self>) -> Vec<Self> {
        let list = list(manifests.iter().flat_map(|manifest| &manifest.objects));
        let together = Rc::new(Together { list, live: OnceCell::new() });
        for manifest in &mut manifests {
            manifest.together = Some(Rc::clone(&together));
        }
        manifests
    }

    /// Its objects as they are in the cluster, and perhaps others. What was seen before it was
    /// applied is not what is there now.
    fn live(&self) -> Result<Vec<Value>> {
        let Some(together) = self.together.as_ref().filter(|_| !self.applied.get()) else {
            return Kubectl::admin().get(&self.list());
        };
        if let Some(live) = together.live.get() {
            return Ok(live.clone());
        }
        let live = Kubectl::admin().get(&together.list)?;
        Ok(together.live.get_or_init(|| live).clone())
    }

    fn list(&self) -> String {
        list(&self.objects)
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
    let among = |list: &[Value], object: &Value| list.iter().any(|other| same(other, object));
    let own = |object: &&Value| !among(live, object) || among(&before, object);
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
        format!("manifest:{}", self.name)
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let live = self.live()?;
        let mut differences = Vec::new();
        let mut shown = String::new();
        for object in &self.objects {
            let title = title(object);
            let Some(found) = live.iter().find(|live| same(live, object)) else {
                differences.push(format!("+{title}"));
                continue;
            };
            if let Some(path) = first_difference(object, found) {
                differences.push(format!("~{title} ({path})"));
                shown += &diff(&pretty(&projected(object, found)), &pretty(object));
            }
        }
        Ok(if differences.is_empty() {
            Status::Done
        } else {
            let what = format!("apply {}: {}", self.name, differences.join(", "));
            let detail = (!shown.is_empty()).then_some(Detail::Diff(shown));
            Status::Differs(Change { what, detail })
        })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = self.causes.clone(); // first: reset walks backwards
        things.extend(made(context, self.phase, &self.name, &self.objects, &self.live()?)?);
        Ok(things)
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        self.applied.set(true);
        Kubectl::admin().apply(self.phase, &self.list()).map_err(|error| {
            Error::host("manifest-refused", format!("cannot apply `{}`", self.name))
                .because(error)
                .hint("see whether the API server runs: `kcp check`")
        })
    }
}

/// Delete what the manifest in `bytes` made. Without a cluster its objects are gone already.
pub(crate) fn delete(host: &crate::Host, bytes: &[u8]) -> Result<Restored> {
    let admin = host.path(kspec::paths::ADMIN_CONF);
    let kubectl = Kubectl::admin();
    if !crate::fs::exists(&admin) || !kubectl.answers() {
        return Ok(Restored::Left("no API server answers: its objects go with it".into()));
    }
    if control_planes(&kubectl)? > 1 {
        return Ok(Restored::Left("they serve the other control planes, which go on".into()));
    }
    kubectl.delete_with_stuck_pods(&String::from_utf8_lossy(bytes))?;
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

/// Whether the two are the same object, in whatever state. Where no namespace is named, an object
/// that has one is in `default`.
pub fn same(one: &Value, other: &Value) -> bool {
    let place = |object| {
        let (group, kind, namespace, name) = identity(object);
        (group, kind, if namespace == "default" { "" } else { namespace }, name)
    };
    place(one) == place(other)
}

/// The group (of the core API its version), the kind, the namespace and the name.
fn identity(object: &Value) -> (&str, &str, &str, &str) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split('/').next().unwrap_or_default();
    (group, text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{marked, named, same};

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
        assert!(same(&object("apps/v1", Some("default")), &object("apps/v1beta2", None)));
        assert!(!same(&object("apps/v1", Some("other")), &object("apps/v1", None)));
        assert!(!same(&object("apps/v1", None), &object("extensions/v1", None)));
    }
}
