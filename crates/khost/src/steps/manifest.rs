//! Objects in the cluster, applied server-side, compared field by field.

use std::{
    cell::{Cell, OnceCell},
    rc::Rc,
};

use serde_json::Value;

use crate::{
    Change, Context, Detail, Error, Result, Status, Step, Thing, kubectl::Kubectl,
    original::Restored, steps::file::diff,
};

/// Some objects, as JSON values.
#[derive(Debug, Clone)]
pub struct Manifest {
    name: String,
    manager: &'static str,
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
    /// The `objects` called `name` together, applied with the field manager `manager`.
    pub fn new(name: &str, manager: &'static str, objects: Vec<Value>) -> Self {
        let applied = Cell::new(false);
        Self { name: name.into(), manager, objects, causes: Vec::new(), together: None, applied }
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
fn list<'a>(objects: impl IntoIterator<Item = &'a Value>) -> String {
    let items: Vec<_> = objects.into_iter().collect();
    serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()
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
            let Some(found) = live.iter().find(|live| identity(live) == identity(object)) else {
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

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = self.causes.clone(); // first: reset walks backwards
        things.push(Thing::Objects { name: self.name.clone(), manifest: self.list() });
        Ok(things)
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        self.applied.set(true);
        Kubectl::admin().apply(self.manager, &self.list()).map_err(|error| {
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
    kubectl.delete(&String::from_utf8_lossy(bytes))?;
    Ok(Restored::Done)
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

fn identity(object: &Value) -> (&str, &str, &str, &str) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let group = text("/apiVersion").split('/').next().unwrap_or_default();
    (group, text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

/// The first field of `wanted` that `found` has otherwise, as a dotted path. Fields that only the
/// server knows (defaults, status) do not count; neither do null and empty fields of ours.
fn first_difference(wanted: &Value, found: &Value) -> Option<String> {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted.iter().find_map(|(key, value)| {
            let below = first_difference(value, found.get(key).unwrap_or(&Value::Null))?;
            Some(if below.is_empty() { key.clone() } else { format!("{key}.{below}") })
        }),
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            wanted.iter().zip(found).enumerate().find_map(|(at, (wanted, found))| {
                let below = first_difference(wanted, found)?;
                Some(if below.is_empty() { format!("[{at}]") } else { format!("[{at}].{below}") })
            })
        }
        _ if wanted == found || is_empty(wanted) && is_empty(found) => None,
        _ => Some(String::new()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value, // the server leaves out what is false
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
    }
}

/// `found`, cut down to the fields that `wanted` speaks of.
fn projected(wanted: &Value, found: &Value) -> Value {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .filter_map(|(key, wanted)| Some((key.clone(), projected(wanted, found.get(key)?))))
            .collect(),
        (Value::Array(wanted), Value::Array(items)) if wanted.len() == items.len() => {
            wanted.iter().zip(items).map(|(wanted, found)| projected(wanted, found)).collect()
        }
        _ => found.clone(),
    }
}

fn pretty(value: &Value) -> String {
    kspec::to_yaml(value).unwrap_or_else(|_| value.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::first_difference;

    #[test]
    fn what_only_the_server_knows_is_no_difference() {
        let wanted = json!({ "spec": { "ports": [{ "port": 53 }], "paused": false, "x": {} } });
        let found =
            json!({ "spec": { "ports": [{ "port": 53, "protocol": "TCP" }] }, "status": 1 });
        assert_eq!(first_difference(&wanted, &found), None);
    }

    #[test]
    fn a_changed_field_is_named() {
        let wanted = json!({ "spec": { "ports": [{ "port": 53 }] } });
        let found = json!({ "spec": { "ports": [{ "port": 54 }] } });
        assert_eq!(first_difference(&wanted, &found).as_deref(), Some("spec.ports.[0].port"));
    }
}
