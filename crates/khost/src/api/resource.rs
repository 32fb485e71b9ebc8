//! Where the API has what an object's kind says (Kubernetes API concepts, "Resource URIs").

use serde_json::Value;

/// What is served under one `apiVersion` for one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) kind: String,
    /// Where its objects are, up to their namespace: `/apis/apps/v1`.
    version: String,
    /// Their kind as the path has it: `deployments`.
    plural: String,
    is_namespaced: bool,
}

impl Resource {
    /// Those of an `APIResourceList`; what belongs to another, such as `deployments/scale`, is none.
    pub(super) fn all(version: &str, list: &Value) -> Vec<Self> {
        let text = |resource: &Value, field: &str| resource[field].as_str().map(str::to_owned);
        let resources = list["resources"].as_array().into_iter().flatten();
        let resource = |found: &Value| {
            Some(Self {
                kind: text(found, "kind")?,
                version: path_of_version(version),
                plural: text(found, "name").filter(|name| !name.contains('/'))?,
                is_namespaced: found["namespaced"] == true,
            })
        };
        resources.filter_map(resource).collect()
    }

    /// Where `object` is; without a namespace of its own in `default`.
    pub(super) fn path_of(&self, object: &Value) -> String {
        let metadata = &object["metadata"];
        let (version, plural) = (&self.version, &self.plural);
        let name = metadata["name"].as_str().unwrap_or_default();
        if self.is_namespaced {
            let namespace = metadata["namespace"].as_str().unwrap_or("default");
            format!("{version}/namespaces/{namespace}/{plural}/{name}")
        } else {
            format!("{version}/{plural}/{name}")
        }
    }
}

/// Where `apiVersion` is: the core group has a place of its own.
pub(super) fn path_of_version(version: &str) -> String {
    format!("/{}/{version}", if version.contains('/') { "apis" } else { "api" })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Resource;

    fn path(version: &str, resource: &Value, metadata: &Value) -> String {
        let list = json!({ "kind": "APIResourceList", "resources": [resource] });
        Resource::all(version, &list)[0].path_of(&json!({ "metadata": metadata }))
    }

    #[test]
    fn objects_are_where_the_server_says_that_their_kind_is() {
        let deployment = json!({ "name": "deployments", "kind": "Deployment", "namespaced": true });
        let at = |metadata| path("apps/v1", &deployment, &metadata);
        assert_eq!(
            at(json!({ "name": "a", "namespace": "n" })),
            "/apis/apps/v1/namespaces/n/deployments/a"
        );
        assert_eq!(at(json!({ "name": "a" })), "/apis/apps/v1/namespaces/default/deployments/a");
        // What is given a namespace and is in none.
        let namespace = json!({ "name": "namespaces", "kind": "Namespace", "namespaced": false });
        let metadata = json!({ "name": "a", "namespace": "n" });
        assert_eq!(path("v1", &namespace, &metadata), "/api/v1/namespaces/a");
    }

    #[test]
    fn parts_of_a_resource_are_none() {
        let list = json!({ "resources": [
            { "name": "deployments/scale", "kind": "Scale", "namespaced": true },
            { "name": "deployments/status", "kind": "Deployment", "namespaced": true },
            { "name": "deployments", "kind": "Deployment", "namespaced": true },
        ] });
        let all = Resource::all("apps/v1", &list);
        assert_eq!(all.iter().map(|one| one.plural.as_str()).collect::<Vec<_>>(), ["deployments"]);
        assert!(Resource::all("v1", &json!({ "kind": "Status" })).is_empty());
    }
}
