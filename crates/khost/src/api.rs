//! The API server, over HTTPS: what it has, and server-side apply.
//!
//! A `kubectl get` takes 60 ms of the processor, most of them to find out again what the API server
//! serves; waiting asks many times, at a moment when a whole cluster starts.

mod kubeconfig;
mod resource;
mod session;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;

use crate::{Error, Result, fs, steps::manifest::title};
use kubeconfig::Kubeconfig;
use resource::Resource;
use session::Session;

/// The API server that a kubeconfig of this node names, asked as whom it names.
#[derive(Debug, Clone, Copy)]
pub struct Api {
    kubeconfig: &'static str,
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
        self.session()?.list(path, selectors)
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

    /// Server-side apply of `objects`, one after the other, with `manager` as the owner of the
    /// fields. A key that the server does not know is left out by it: a look afterwards shows that,
    /// or [`Api::reviewed`] before.
    ///
    /// # Errors
    /// `api-refused`, with each object that the server does not take and what it says of it; the
    /// others are applied.
    pub fn apply<'a>(
        self,
        manager: &str,
        objects: impl IntoIterator<Item = &'a Value>,
    ) -> Result<()> {
        let session = self.session()?;
        let mut refused = Vec::new();
        for object in objects {
            let put = session.put(object, &[("fieldValidation", "Ignore")], manager)?;
            refused.extend(put.err().map(|said| refusal(object, &said)));
        }
        taken(&refused)
    }

    /// What each of `objects` would be after [`Api::apply`], or what the server has against it. It
    /// checks everything and changes nothing; keys that it does not know are refused.
    pub fn reviewed<'a>(
        self,
        manager: &str,
        objects: impl IntoIterator<Item = &'a Value>,
    ) -> Result<Vec<Result<Value, String>>> {
        let session = self.session()?;
        let how = [("fieldValidation", "Strict"), ("dryRun", "All")];
        objects.into_iter().map(|object| session.put(object, &how, manager)).collect()
    }

    /// Whether it serves what objects like `object` are.
    pub fn serves(self, object: &Value) -> Result<bool> {
        Ok(self.session()?.resource(object)?.is_some())
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
        let session = Arc::new(Session::new(now)?);
        sessions.insert(self.kubeconfig, Arc::clone(&session));
        Ok(session)
    }
}

/// Whether none was `refused`.
fn taken(refused: &[String]) -> Result<()> {
    if refused.is_empty() {
        return Ok(());
    }
    let what = "the API server does not take what is applied";
    Err(Error::host("api-refused", what).because(refused.join("\n")))
}

/// What the server has against `object`. It quotes a value of the wrong type: of a secret it is not
/// shown.
fn refusal(object: &Value, said: &str) -> String {
    let is_secret = object["kind"] == "Secret";
    let said =
        if is_secret { "what the API server says may quote it, and is not shown" } else { said };
    format!("{}: {said}", title(object))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn unreadable(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::host("api-unreadable", "cannot read from the API server").because(why)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{refusal, taken};

    #[test]
    fn all_that_is_refused_is_told() {
        taken(&[]).unwrap();
        let error = taken(&["Pod a: no".into(), "Pod b: never".into()]).unwrap_err();
        assert_eq!(error.code(), "api-refused");
        assert!(error.chain().ends_with(": Pod a: no\nPod b: never"), "{}", error.chain());
    }

    #[test]
    fn a_refusal_names_the_object_and_does_not_quote_a_secret() {
        let object = |kind: &str| json!({ "kind": kind, "metadata": { "name": "a" } });
        let said = ".data.password: expected string, got 12345";
        assert_eq!(refusal(&object("ConfigMap"), said), format!("ConfigMap a: {said}"));
        let told = refusal(&object("Secret"), said);
        assert!(told.starts_with("Secret a: ") && !told.contains("12345"), "{told}");
    }
}
