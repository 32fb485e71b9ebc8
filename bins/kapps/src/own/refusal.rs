//! What the API server has against a manifest, with the place where it stands.

use khost::Error;

use super::Document;

/// What is wrong with the documents that are `refused`, each with what the server says of it; none
/// where none is.
pub(super) fn told(refused: &[(&Document, String)]) -> Option<Error> {
    let (first, said) = refused.first()?;
    let (code, what) = match unknown_field(said) {
        Some(field) => ("manifest-unknown-field", format!("unknown field `{field}`")),
        None => ("manifest-refused", "the API server refuses it".into()),
    };
    let causes: Vec<_> = refused
        .iter()
        .map(|(document, said)| format!("{}: {}", document.place(), words(document, said)))
        .collect();
    let kind = first.object["kind"].as_str().unwrap_or_default();
    let error = Error::input(code, format!("{}: {what}", first.place())).because(causes.join("\n"));
    Some(error.hint(format!(
        "nothing of `addons.manifests-dir` was applied; correct it: \
         `kubectl explain {kind} --recursive` shows what there is"
    )))
}

/// The field that is not known, as a path. Server-side apply says `.spec.x: field not declared in
/// schema`, strict decoding `unknown field "spec.x"`.
fn unknown_field(said: &str) -> Option<String> {
    if let Some((before, _)) = said.split_once(": field not declared in schema") {
        let path = before.rsplit([' ', '\n']).next()?;
        return Some(path.trim_start_matches('.').to_owned());
    }
    let (_, after) = said.split_once("unknown field \"")?;
    after.split_once('"').map(|(field, _)| field.to_owned())
}

/// What the server said, unless it may be of a secret: a value of the wrong type is quoted.
fn words<'a>(document: &Document, said: &'a str) -> &'a str {
    if document.is("Secret") {
        return "what the API server says may quote it, and is not shown: see \
                `kubectl apply --server-side --dry-run=server -f FILE`";
    }
    said
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::Document, told, unknown_field, words};

    #[test]
    fn all_that_are_refused_are_told_and_the_first_is_the_headline() {
        assert!(told(&[]).is_none());
        let at = |number| Document {
            file: "a.yaml".into(),
            number,
            object: json!({ "kind": "Pod", "metadata": { "name": "a" } }),
        };
        let (first, last) = (at(1), at(7));
        let refused =
            [(&first, ".spec.x: field not declared in schema".into()), (&last, "no".into())];
        let error = told(&refused).unwrap();
        assert_eq!(error.code(), "manifest-unknown-field");
        let said = error.chain();
        assert!(said.starts_with("`a.yaml`, document 1 (Pod a): unknown field `spec.x`"), "{said}");
        assert!(said.ends_with("`a.yaml`, document 7 (Pod a): no"), "{said}");
    }

    #[test]
    fn a_secret_is_not_quoted() {
        let document = |kind: &str| Document {
            file: "a.yaml".into(),
            number: 1,
            object: json!({ "kind": kind, "metadata": { "name": "a" } }),
        };
        let said = ".data.password: expected string, got 12345";
        assert_eq!(words(&document("ConfigMap"), said), said);
        assert!(!words(&document("Secret"), said).contains("12345"));
    }

    #[test]
    fn the_field_is_found_in_what_the_server_says() {
        let apply = "failed to create typed patch object (default/web; apps/v1, \
            Kind=Deployment): .spec.template.spec.containers[name=\"web\"].imagee: \
            field not declared in schema";
        assert_eq!(
            unknown_field(apply).as_deref(),
            Some("spec.template.spec.containers[name=\"web\"].imagee")
        );
        let strict = "Foo in version \"v1\" cannot be handled: \
            strict decoding error: unknown field \"spec.colour\"";
        assert_eq!(unknown_field(strict).as_deref(), Some("spec.colour"));
        assert_eq!(
            unknown_field("The Deployment \"web\" is invalid: spec.selector: Required"),
            None
        );
    }
}
