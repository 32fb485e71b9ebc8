//! What the API server has, asked for over HTTPS. What is to be changed goes through kubectl.
//!
//! A `kubectl get` takes 60 ms of the processor, most of them to find out again what the API server
//! serves; waiting asks many times, at a moment when a whole cluster starts.

mod kubeconfig;
mod resource;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Url, blocking::Client};
use serde_json::Value;

use crate::{Error, Result, fs, http};
use kubeconfig::Kubeconfig;
use resource::Resource;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(10);

/// The API server that a kubeconfig of this node names, asked as whom it names.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    kubeconfig: &'static str,
}

/// A connection that is kept from one question to the next, and what was learnt on it.
#[derive(Debug)]
struct Session {
    of: Kubeconfig,
    client: Client,
    /// What the server serves, by `apiVersion`.
    served: Mutex<BTreeMap<String, Vec<Resource>>>,
}

/// The sessions of this process, one for each kubeconfig as it is now.
static SESSIONS: Mutex<BTreeMap<&str, Arc<Session>>> = Mutex::new(BTreeMap::new());

impl Api {
    /// As the administrator of this cluster.
    pub fn admin() -> Self {
        Self { kubeconfig: kspec::paths::ADMIN_CONF }
    }

    /// As this node's kubelet, which may read its own node, and the pods on it.
    pub fn kubelet() -> Self {
        Self { kubeconfig: kspec::paths::KUBELET_CONF }
    }

    /// As the administrator on a control plane, as the kubelet on a worker.
    pub fn here() -> Self {
        if Self::is_admin() { Self::admin() } else { Self::kubelet() }
    }

    /// Whether this node has the administrator's kubeconfig: it is a control plane.
    pub fn is_admin() -> bool {
        fs::exists(Path::new(kspec::paths::ADMIN_CONF))
    }

    /// Whether it answers at all.
    pub fn answers(self) -> bool {
        self.session().is_ok_and(|session| session.text("/readyz").is_ok_and(|text| text.is_some()))
    }

    /// The object at `path`, such as `/api/v1/nodes/NAME`; none where there is none.
    ///
    /// # Errors
    /// `api-unreadable`, as with all questions here: it does not answer, or refuses to.
    pub fn at(self, path: &str) -> Result<Option<Value>> {
        self.session()?.at(path)
    }

    /// All objects at `path`, such as `/api/v1/nodes`, that `selectors` choose: pairs like
    /// `("labelSelector", "app=flannel")`.
    pub fn list(self, path: &str, selectors: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut url = path.to_owned();
        if !selectors.is_empty() {
            let query = Url::parse_with_params("http://-/", selectors).map_err(unreadable)?;
            url = format!("{path}?{}", query.query().unwrap_or_default());
        }
        Ok(self.session()?.at(&url)?.map(items).unwrap_or_default())
    }

    /// `objects` as they are in the cluster; those that are missing are left out. A custom resource
    /// whose definition is not there (yet, or any more) is simply not there.
    pub fn get<'a>(self, objects: impl IntoIterator<Item = &'a Value>) -> Result<Vec<Value>> {
        let session = self.session()?;
        let mut found = Vec::new();
        for object in objects {
            if let Some(resource) = session.resource(object)? {
                found.extend(session.at(&resource.path_of(object))?);
            }
        }
        Ok(found)
    }

    /// The session for the kubeconfig as it is now: kubeadm writes it, and the kubelet renews its
    /// certificate, while we wait.
    fn session(self) -> Result<Arc<Session>> {
        let now = Kubeconfig::read(Path::new(self.kubeconfig)).map_err(|why| {
            unreadable(format!("{}: {why}", self.kubeconfig)).hint("run `kcp apply`")
        })?;
        let mut sessions = SESSIONS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = sessions.get(self.kubeconfig).filter(|session| session.of == now) {
            return Ok(Arc::clone(session));
        }
        let client = http::client_within(&now.trust(), LIMIT)?;
        let session = Arc::new(Session { of: now, client, served: Mutex::default() });
        sessions.insert(self.kubeconfig, Arc::clone(&session));
        Ok(session)
    }
}

impl Session {
    fn at(&self, path: &str) -> Result<Option<Value>> {
        let parsed = |text: String| serde_json::from_str(&text).map_err(unreadable);
        self.text(path)?.map(parsed).transpose()
    }

    /// What is at `path`; none where nothing is.
    fn text(&self, path: &str) -> Result<Option<String>> {
        let url = format!("{}{path}", self.of.server);
        let answer = http::get(&self.client, &url).map_err(|why| {
            unreadable(format!("{url}: {why}")).hint("see whether it runs: `kcp check`")
        })?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            status => Err(refused(&url, status, &answer.body)),
        }
    }

    /// The resource that `object` is one of; none where the server serves no such thing.
    fn resource(&self, object: &Value) -> Result<Option<Resource>> {
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let find = |all: &Vec<Resource>| all.iter().find(|resource| resource.kind == kind).cloned();
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = served.get(version).and_then(find) {
            return Ok(Some(found));
        }
        // Asked again for what was not there: a definition may have come since.
        let list = self.at(&resource::path_of_version(version))?;
        let all = list.map(|list| Resource::all(version, &list)).unwrap_or_default();
        let found = find(&all);
        served.insert(version.to_owned(), all);
        Ok(found)
    }
}

/// The items of a List, each with its kind, which the server leaves out there.
fn items(mut list: Value) -> Vec<Value> {
    let kind = text(&list["kind"]).trim_end_matches("List").to_owned();
    let version = list["apiVersion"].take();
    let Value::Array(mut items) = list["items"].take() else { return Vec::new() };
    for item in &mut items {
        item["kind"] = kind.clone().into();
        item["apiVersion"] = version.clone();
    }
    items
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What the server says of a request that it does not answer (Kubernetes API, `Status`).
fn refused(url: &str, status: u16, body: &str) -> Error {
    let said = serde_json::from_str::<Value>(body).ok();
    let said = said.as_ref().and_then(|said| said["message"].as_str()).unwrap_or(body.trim());
    unreadable(format!("{url}: it answers {status}: {said}")).hint("see how it is: `kcp check`")
}

fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::host("api-unreadable", "cannot read from the API server").because(why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{items, refused};

    #[test]
    fn items_of_a_list_know_what_they_are() {
        let list = json!({
            "kind": "PodList", "apiVersion": "v1",
            "items": [{ "metadata": { "name": "a" } }],
        });
        let pod = json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "name": "a" } });
        assert_eq!(items(list), [pod]);
        assert_eq!(items(json!({ "kind": "PodList", "items": null })), [json!(null); 0]);
    }

    #[test]
    fn a_refusal_says_what_was_asked_and_why_not() {
        let said = json!({ "kind": "Status", "message": "nodes is forbidden" }).to_string();
        let error = refused("https://a:1/api", 403, &said);
        assert_eq!(error.code(), "api-unreadable");
        let words = "cannot read from the API server: https://a:1/api: it answers 403: ";
        assert_eq!(error.chain(), format!("{words}nodes is forbidden"));
        let error = refused("https://a:1/api", 500, "[-]etcd failed\n");
        assert_eq!(error.chain(), words.replace("403", "500") + "[-]etcd failed");
    }
}
