//! Applying them: all are checked by the API server before any is.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use khost::{
    Change, Context, Detail, Error, Result, Status, Step, Thing,
    api::Api,
    steps::manifest::{self, Difference, by_place, place, title},
    wait::{Awaited, Seen, until},
};
use serde_json::{Value, json};

use super::{Document, MANAGER, refusal};

/// How often all are looked at while others change them: a controller that has just heard of an object
/// writes into it, and what it would be is asked for a moment after what it is.
const LOOKS: usize = 5;

/// The objects of the operator's files.
#[derive(Debug)]
pub(crate) struct OwnManifests {
    documents: Vec<Document>,
    live: RefCell<Vec<Value>>,
}

impl OwnManifests {
    pub(crate) fn new(documents: Vec<Document>) -> Self {
        let marked = |document: Document| {
            let object = manifest::marked(document.object, crate::NAME);
            Document { object, ..document }
        };
        let documents = documents.into_iter().map(marked).collect();
        Self { documents, live: RefCell::default() }
    }

    fn objects(&self) -> impl Iterator<Item = &Value> {
        self.documents.iter().map(|document| &document.object)
    }

    /// What differs between the objects as they are, `live`, and as they would be.
    fn compared(&self, live: &[Value]) -> Result<Option<Change>> {
        let reviewed = self.reviewed(live)?;
        let reviewed: BTreeMap<_, _> =
            reviewed.iter().map(|(at, would_be)| (place(&at.object), would_be)).collect();
        let found = by_place(live);
        let (mut differences, mut shown) = (Vec::new(), String::new());
        for document in &self.documents {
            let (title, at) = (title(&document.object), place(&document.object));
            let Some(found) = found.get(&at) else {
                differences.push(format!("+{title}"));
                continue;
            };
            let Some(would_be) = reviewed.get(&at) else { continue };
            if let Some(difference) = Difference::between(&bare(found), &bare(would_be)) {
                differences.push(format!("~{title} ({})", difference.path));
                if !document.is("Secret") {
                    shown += &difference.diff;
                }
            }
        }
        if differences.is_empty() {
            return Ok(None);
        }
        let what = format!("apply your own manifests: {}", differences.join(", "));
        Ok(Some(Change { what, detail: (!shown.is_empty()).then_some(Detail::Diff(shown)) }))
    }

    /// Those that are there by now.
    fn now(&self, live: &[Value]) -> Result<Vec<Value>> {
        let live = by_place(live);
        let known = self.objects().filter(|object| live.contains_key(&place(object)));
        Api::admin().get(known)
    }

    /// Each document with what it would be in the cluster. The server tells, strictly, and changes
    /// nothing; what needs a definition of these files that is not there yet is left out.
    fn reviewed(&self, live: &[Value]) -> Result<Vec<(&Document, Value)>> {
        let live = by_place(live);
        let is_new = |document: &&Document| !live.contains_key(&place(&document.object));
        let new: Vec<_> =
            self.documents.iter().filter(|at| at.is_ground()).filter(is_new).collect();
        let new = New::of(&new);
        let asked: Vec<_> = self
            .documents
            .iter()
            .filter(|at| !new.defines(&at.object))
            .map(|document| (document, new.in_a_place_that_is_there(&document.object)))
            .collect();
        let found = Api::admin().reviewed(MANAGER, asked.iter().map(|(_, object)| object))?;
        let (mut would_be, mut refused) = (Vec::new(), Vec::new());
        for ((document, _), found) in asked.iter().zip(found) {
            match found {
                Ok(object) => would_be.push((*document, object)),
                Err(said) => refused.push((*document, said)),
            }
        }
        refusal::told(&refused).map_or(Ok(would_be), Err)
    }
}

/// What the files bring into the cluster that others of them need.
#[derive(Debug, Default)]
struct New<'a> {
    /// The names of namespaces.
    namespaces: BTreeSet<&'a str>,
    /// Group and kind of custom resources.
    kinds: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> New<'a> {
    fn of(documents: &[&'a Document]) -> Self {
        let mut new = Self::default();
        for Document { object, .. } in documents {
            let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
            if object["kind"] == "Namespace" {
                new.namespaces.extend(text("/metadata/name"));
            } else {
                new.kinds.extend(text("/spec/group").zip(text("/spec/names/kind")));
            }
        }
        new
    }

    /// Whether it is of a kind that is not known before.
    fn defines(&self, object: &Value) -> bool {
        let group = object["apiVersion"].as_str().and_then(|version| version.split_once('/'));
        let kind = group.map(|(group, _)| group).zip(object["kind"].as_str());
        kind.is_some_and(|kind| self.kinds.contains(&kind))
    }

    /// `object`; where its namespace is new, as if it were for the namespace `default`: the server
    /// checks nothing for one that is not there.
    fn in_a_place_that_is_there(&self, object: &Value) -> Value {
        let mut object = object.clone();
        let namespace = object["metadata"].get("namespace").and_then(Value::as_str);
        if namespace.is_some_and(|namespace| self.namespaces.contains(namespace)) {
            object["metadata"]["namespace"] = "default".into();
        }
        object
    }
}

/// Whether nobody has written into any of them in between.
fn same(before: &[Value], after: &[Value]) -> bool {
    let versions = |objects: &[Value]| -> Vec<Value> {
        objects.iter().map(|object| object["metadata"]["resourceVersion"].clone()).collect()
    };
    versions(before) == versions(after)
}

/// Without what the server adds by itself with every write.
fn bare(object: &Value) -> Value {
    let mut object = object.clone();
    for field in
        ["managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink"]
    {
        object["metadata"].as_object_mut().map(|metadata| metadata.remove(field));
    }
    object.as_object_mut().map(|object| object.remove("status"));
    object
}

impl Step for OwnManifests {
    fn id(&self) -> String {
        "manifest:own".into()
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        let mut looks = 1;
        loop {
            let live = Api::admin().get(self.objects())?;
            let found = self.compared(&live)?;
            let stands = found.is_none() || looks == LOOKS || same(&live, &self.now(&live)?);
            if stands {
                *self.live.borrow_mut() = live;
                return Ok(found.map_or(Status::Done, Status::Differs));
            }
            looks += 1;
        }
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let objects: Vec<_> = self.objects().cloned().collect();
        let live = self.live.borrow();
        let made = manifest::made(context, crate::NAME, "own", &objects, &live, false)?;
        Ok(made.into_iter().collect())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let (ground, rest): (Vec<_>, Vec<_>) =
            self.documents.iter().partition(|document| document.is_ground());
        let put = |documents: &[&Document]| -> Result<()> {
            let objects = documents.iter().map(|document| &document.object);
            Api::admin().apply(MANAGER, objects).map_err(|error| {
                Error::host("manifest-refused", "cannot apply your own manifests")
                    .because(error)
                    .hint("see whether the API server runs: `kcp check`")
            })
        };
        if !ground.is_empty() {
            put(&ground)?;
            for document in ground.iter().filter(|at| at.is("CustomResourceDefinition")) {
                served(context, &document.object)?;
            }
            // What could not be checked before its definition was there.
            let live = Api::admin().get(self.objects())?;
            self.reviewed(&live)?;
        }
        if rest.is_empty() { Ok(()) } else { put(&rest) }
    }
}

/// Wait until the API server serves what a new definition defines.
fn served(context: &Context<'_>, definition: &Value) -> Result<()> {
    let awaited = Awaited {
        id: "definition-served".into(),
        what: title(definition),
        limit: Duration::from_secs(30),
        look: format!("kubectl get crd {} -o yaml", definition["metadata"]["name"]),
    };
    // Established, it is served; where it is served is told a moment later.
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let served = versions.into_iter().flatten().filter(|version| version["served"] == true);
    let kinds: Vec<_> = served
        .map(|version| {
            let (group, version) = (definition["spec"]["group"].as_str(), version["name"].as_str());
            let version = format!("{}/{}", group.unwrap_or_default(), version.unwrap_or_default());
            json!({ "apiVersion": version, "kind": definition.pointer("/spec/names/kind") })
        })
        .collect();
    until(context, &awaited, || {
        for kind in &kinds {
            if !Api::admin().serves(kind)? {
                let why = format!("the API server does not serve {} yet", kind["apiVersion"]);
                return Ok(Seen::not_yet(why));
            }
        }
        Ok(Seen::Ready)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Document, New, bare, same};

    fn document(object: serde_json::Value) -> Document {
        Document { file: "a.yaml".into(), number: 1, object }
    }

    #[test]
    fn what_needs_something_new_is_checked_where_it_can_be() {
        let namespace = document(json!({ "kind": "Namespace", "metadata": { "name": "new" } }));
        let definition = document(json!({
            "kind": "CustomResourceDefinition",
            "spec": { "group": "example.org", "names": { "kind": "Tree" } },
        }));
        let new = New::of(&[&namespace, &definition]);
        let tree = |version: &str| json!({ "apiVersion": version, "kind": "Tree" });
        assert!(new.defines(&tree("example.org/v1")));
        assert!(!new.defines(&tree("other.org/v1")));
        assert!(!New::of(&[&namespace]).defines(&tree("example.org/v1")));

        let object = |namespace: &str| json!({ "metadata": { "namespace": namespace } });
        assert_eq!(new.in_a_place_that_is_there(&object("new")), object("default"));
        assert_eq!(new.in_a_place_that_is_there(&object("old")), object("old"));
    }

    #[test]
    fn what_others_write_into_meanwhile_is_not_the_same() {
        let at = |version: &str| json!({ "metadata": { "resourceVersion": version } });
        assert!(same(&[at("1"), at("2")], &[at("1"), at("2")]));
        assert!(!same(&[at("1"), at("2")], &[at("1"), at("3")]));
        assert!(!same(&[at("1"), at("2")], &[at("1")]));
    }

    #[test]
    fn what_the_server_adds_does_not_count() {
        let object = json!({
            "metadata": { "name": "a", "uid": "1", "resourceVersion": "2", "managedFields": [] },
            "spec": 1, "status": 2,
        });
        assert_eq!(bare(&object), json!({ "metadata": { "name": "a" }, "spec": 1 }));
    }
}
