//! A connection to the API server, and what was learnt on it.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reqwest::{Url, blocking::Client};
use serde_json::Value;

use super::{Kubeconfig, Resource, resource::path_of_version, text, unreadable};
use crate::{Error, Result, http, wait::nap};

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(10);
/// How often one is asked again that the server has no time for, a second later each, as it asks for
/// (Kubernetes, "API Priority and Fairness").
const PATIENCE: usize = 10;
/// How many objects of a list come in one answer, as with kubectl.
const PAGE: &str = "500";
/// What the server says, as of a fault of its own (500), of an object that does not fit its schema
/// (apimachinery, `managedfields/internal/structuredmerge.go`).
const NO_FIT: &str = "failed to create typed patch object";
/// What the body of a server-side apply is; JSON is YAML as well.
const APPLY: &str = "application/apply-patch+yaml";

/// A connection that is kept from one question to the next, and what was learnt on it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) of: Kubeconfig,
    client: Client,
    /// What the server serves, by `apiVersion`.
    served: Mutex<BTreeMap<String, Vec<Resource>>>,
}

impl Session {
    pub(super) fn new(of: Kubeconfig) -> Result<Self> {
        let client = http::client_within(&of.trust(), LIMIT)?;
        Ok(Self { of, client, served: Mutex::default() })
    }

    /// The object at `path`; none where none is.
    pub(super) fn at(&self, path: &str) -> Result<Option<Value>> {
        let parsed = |text: String| serde_json::from_str(&text).map_err(unreadable);
        self.text(path)?.map(parsed).transpose()
    }

    /// All objects at `path` that `selectors` choose.
    pub(super) fn list(&self, path: &str, selectors: &[(&str, &str)]) -> Result<Vec<Value>> {
        let (mut all, mut next) = (Vec::new(), String::new());
        loop {
            let page = [("limit", PAGE), ("continue", next.as_str())];
            let query = selectors.iter().chain(&page).filter(|(_, value)| !value.is_empty());
            let Some(list) = self.at(&with_query(path, query)?)? else { return Ok(all) };
            let after = text(&list["metadata"]["continue"]).to_owned();
            all.extend(items(list));
            if after.is_empty() {
                return Ok(all);
            }
            next = after;
        }
    }

    /// What is at `path`; none where nothing is.
    pub(super) fn text(&self, path: &str) -> Result<Option<String>> {
        let url = format!("{}{path}", self.of.server);
        let answer = patiently(&url, || http::get(&self.client, &url))?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(not_answered(&url, &answer)),
        }
    }

    /// Server-side apply of `object`, and what it is then; or what the server has against it.
    pub(super) fn put(
        &self,
        object: &Value,
        how: &[(&str, &str)],
        manager: &str,
    ) -> Result<Result<Value, String>> {
        let Some(resource) = self.resource(object)? else {
            let (kind, version) = (text(&object["kind"]), text(&object["apiVersion"]));
            return Ok(Err(format!("it serves no {kind} of {version}")));
        };
        let query = [("fieldManager", manager), ("force", "true")];
        let path = with_query(&resource.path_of(object), how.iter().chain(&query))?;
        let url = format!("{}{path}", self.of.server);
        let put = || http::patch(&self.client, &url, APPLY, object.to_string());
        let answer = patiently(&url, put)?;
        match answer.status {
            200..300 => serde_json::from_str(&answer.body).map(Ok).map_err(unreadable),
            400..500 => Ok(Err(said(&answer.body))),
            500 if said(&answer.body).starts_with(NO_FIT) => Ok(Err(said(&answer.body))),
            _ => Err(not_answered(&url, &answer)),
        }
    }

    /// The resource that `object` is one of; none where the server serves no such thing.
    pub(super) fn resource(&self, object: &Value) -> Result<Option<Resource>> {
        let (version, kind) = (text(&object["apiVersion"]), text(&object["kind"]));
        let find = |all: &Vec<Resource>| all.iter().find(|resource| resource.kind == kind).cloned();
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = served.get(version).and_then(find) {
            return Ok(Some(found));
        }
        // Asked again for what was not there: a definition may have come since.
        let list = self.at(&path_of_version(version))?;
        let all = list.map(|list| Resource::all(version, &list)).unwrap_or_default();
        let found = find(&all);
        served.insert(version.to_owned(), all);
        Ok(found)
    }
}

/// What `ask` is answered, when the server has time for it.
fn patiently(url: &str, ask: impl Fn() -> Result<http::Answer, String>) -> Result<http::Answer> {
    let mut asked = 0;
    loop {
        let answer = ask().map_err(|why| {
            unreadable(format!("{url}: {why}")).hint("see whether it runs: `kcp check`")
        })?;
        asked += 1;
        if answer.status != 429 || asked > PATIENCE {
            return Ok(answer);
        }
        nap(Duration::from_secs(1));
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

fn not_answered(url: &str, answer: &http::Answer) -> Error {
    unreadable(format!("{url}: it answers {}: {}", answer.status, said(&answer.body)))
        .hint("see how it is: `kcp check`")
}

/// `path` with `query`, each as URLs have it.
fn with_query<'a>(
    path: &str,
    query: impl IntoIterator<Item = &'a (&'a str, &'a str)>,
) -> Result<String> {
    let query = Url::parse_with_params("http://-/", query).map_err(unreadable)?;
    Ok(format!("{path}?{}", query.query().unwrap_or_default()))
}

/// What the server says of a request that it does not do (Kubernetes API, `Status`).
fn said(body: &str) -> String {
    let status = serde_json::from_str::<Value>(body).ok();
    let message = status.as_ref().and_then(|status| status["message"].as_str());
    message.unwrap_or(body.trim()).to_owned()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader, Read as _, Write as _},
        net::TcpListener,
        sync::Mutex,
        thread::{self, JoinHandle},
    };

    use serde_json::{Value, json};

    use super::{Kubeconfig, Session, items, said, with_query};
    use crate::http::{Trust, client};

    /// A server that answers one request after the other, all on one connection, and tells what it
    /// was asked.
    fn answering(answers: Vec<(u16, Value)>) -> (Session, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut requests = BufReader::new(stream.try_clone().unwrap());
            let mut asked = Vec::new();
            for (status, body) in answers {
                let lines = requests.by_ref().lines().map(Result::unwrap);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                let length = head.iter().find_map(|line| line.strip_prefix("content-length: "));
                let length = length.map_or(0, |length| length.parse().unwrap());
                requests.read_exact(&mut vec![0; length]).unwrap();
                asked.push(head[0].trim_end_matches(" HTTP/1.1").to_owned());
                let (body, head) = (body.to_string(), format!("HTTP/1.1 {status} as said"));
                let length = body.len();
                write!(stream, "{head}\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
            }
            asked
        });
        let client = client(&Trust::default()).unwrap();
        (Session { of: Kubeconfig::of(&server), client, served: Mutex::default() }, asked)
    }

    #[test]
    fn a_long_list_comes_in_pages() {
        let page = |name: &str, next: &str| {
            let items = [json!({ "metadata": { "name": name } })];
            let metadata = json!({ "continue": next });
            (
                200,
                json!({ "kind": "NodeList", "apiVersion": "v1", "metadata": metadata, "items": items }),
            )
        };
        let (session, asked) = answering(vec![page("a", "a&1"), page("b", "")]);
        let found = session.list("/api/v1/nodes", &[("labelSelector", "x=y")]).unwrap();
        let names: Vec<_> = found.iter().map(|node| &node["metadata"]["name"]).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(found[1]["kind"], "Node");
        assert_eq!(
            asked.join().unwrap(),
            [
                "GET /api/v1/nodes?labelSelector=x%3Dy&limit=500",
                "GET /api/v1/nodes?labelSelector=x%3Dy&limit=500&continue=a%261",
            ]
        );
    }

    #[test]
    fn a_server_that_has_no_time_is_asked_again_and_other_answers_are_told() {
        let busy = (429, json!({ "message": "too many requests" }));
        let (session, asked) = answering(vec![
            busy,
            (200, json!({ "kind": "Node" })),
            (404, json!({ "message": "nodes \"b\" not found" })),
            (403, json!({ "message": "nodes is forbidden" })),
        ]);
        assert_eq!(session.at("/a").unwrap().unwrap()["kind"], "Node");
        assert_eq!(session.at("/b").unwrap(), None);
        let error = session.at("/c").unwrap_err();
        assert_eq!(error.code(), "api-unreadable");
        assert!(
            error.chain().ends_with("/c: it answers 403: nodes is forbidden"),
            "{}",
            error.chain()
        );
        assert_eq!(asked.join().unwrap(), ["GET /a", "GET /a", "GET /b", "GET /c"]);
    }

    #[test]
    fn what_a_kind_is_called_is_asked_once_and_again_where_it_was_not_there() {
        let list = |resources: Value| (200, json!({ "resources": resources }));
        let pods = json!([{ "name": "pods", "kind": "Pod", "namespaced": true }]);
        let taken = (200, json!({ "kind": "Pod", "spec": {} }));
        let refused = |status, words: &str| (status, json!({ "message": words }));
        let no_fit =
            "failed to create typed patch object (/a; v1, Kind=Pod): .x: field not declared";
        let answers = vec![
            list(json!([])),
            list(pods),
            taken,
            refused(422, "spec.x: Required value"),
            refused(500, no_fit),
            refused(500, "etcdserver: request timed out"),
        ];
        let (session, asked) = answering(answers);
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } });
        let put = || session.put(&pod, &[("dryRun", "All")], "me");
        assert_eq!(put().unwrap().unwrap_err(), "it serves no Pod of v1");
        assert_eq!(put().unwrap().unwrap()["kind"], "Pod");
        assert_eq!(put().unwrap().unwrap_err(), "spec.x: Required value");
        assert_eq!(put().unwrap().unwrap_err(), no_fit);
        assert_eq!(put().unwrap_err().code(), "api-unreadable"); // it says nothing of the object
        let patch = "PATCH /api/v1/namespaces/default/pods/a?dryRun=All&fieldManager=me&force=true";
        assert_eq!(
            asked.join().unwrap(),
            ["GET /api/v1", "GET /api/v1", patch, patch, patch, patch]
        );
    }

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
    fn what_is_asked_for_is_escaped() {
        let query = [("labelSelector", "a=b,c"), ("continue", "x+y&z")];
        let path = with_query("/api/v1/pods", &query).unwrap();
        assert_eq!(path, "/api/v1/pods?labelSelector=a%3Db%2Cc&continue=x%2By%26z");
    }

    #[test]
    fn a_refusal_is_the_servers_own_words() {
        let status = json!({ "kind": "Status", "message": "nodes is forbidden" }).to_string();
        assert_eq!(said(&status), "nodes is forbidden");
        assert_eq!(said("[-]etcd failed\n"), "[-]etcd failed");
    }
}
