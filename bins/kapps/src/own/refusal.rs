//! What the API server has against a manifest, with the place where it stands.

use khost::{Error, kubectl::Kubectl, steps::manifest::list};
use serde_json::Value;

use super::{Document, MANAGER};

/// Say what is wrong with all documents that are refused alone, each as the object beside it.
/// `error` is what was said about all of them together.
pub(super) fn told(documents: &[(&Document, Value)], error: Error) -> Error {
    let ask = |asked: &[(&Document, Value)]| {
        let objects = list(asked.iter().map(|(_, object)| object));
        Kubectl::admin().reviewed(MANAGER, &objects).err().map(|error| error.chain())
    };
    let refused: Vec<_> = refused(documents, error.chain(), &ask)
        .into_iter()
        .map(|((document, _), said)| (*document, said))
        .collect();
    let Some((first, said)) = refused.first() else { return error }; // together, but not alone
    let (code, what) = match unknown_field(said) {
        Some(field) => ("manifest-unknown-field", format!("unknown field `{field}`")),
        None => ("manifest-refused", "the API server refuses it".into()),
    };
    let causes: Vec<_> = refused
        .iter()
        .map(|(document, said)| format!("{}: {}", document.place(), words(document, said)))
        .collect();
    let kind = first.object["kind"].as_str().unwrap_or_default();
    Error::input(code, format!("{}: {what}", first.place())).because(causes.join("\n")).hint(
        format!(
            "nothing of `addons.manifests-dir` was applied; correct it: \
             `kubectl explain {kind} --recursive` shows what there is"
        ),
    )
}

/// Those of `all` that `ask` has something against when asked about them alone, where `said` is
/// what it has against all. Halves without fault are asked about once: of thousands few are refused.
fn refused<'a, T>(
    all: &'a [T],
    said: String,
    ask: &impl Fn(&[T]) -> Option<String>,
) -> Vec<(&'a T, String)> {
    match all {
        [] => Vec::new(),
        [one] => vec![(one, said)],
        _ => {
            let (first, rest) = all.split_at(all.len() / 2);
            let of = |half| ask(half).map(|said| refused(half, said, ask)).unwrap_or_default();
            [of(first), of(rest)].concat()
        }
    }
}

/// The field that is not known, as a path. Server-side apply says `.spec.x: field not declared in
/// schema`, strict decoding `unknown field "spec.x"`, and kubectl, which looks at the server's schema
/// first, `ValidationError(Deployment.spec): unknown field "x"`.
fn unknown_field(said: &str) -> Option<String> {
    if let Some((before, _)) = said.split_once(": field not declared in schema") {
        let path = before.rsplit([' ', '\n']).next()?;
        return Some(path.trim_start_matches('.').to_owned());
    }
    let (before, after) = said.split_once("unknown field \"")?;
    let (field, _) = after.split_once('"')?;
    let within = before.rsplit_once("ValidationError(").and_then(|(_, at)| at.split_once(')'));
    let within = within.and_then(|(kind_and_path, _)| kind_and_path.split_once('.'));
    Some(within.map_or(field.to_owned(), |(_, path)| format!("{path}.{field}")))
}

/// What the server said, unless it may be of a secret: a value of the wrong type is quoted.
fn words<'a>(document: &Document, said: &'a str) -> &'a str {
    if document.is("Secret") {
        return "what the API server says may quote it, and is not shown: see \
                `kubectl apply --server-side --dry-run=server -f FILE`";
    }
    last_line(said)
}

/// Its last line, without what kubectl says of itself.
fn last_line(said: &str) -> &str {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.next_back().unwrap_or(said);
    let line = ["error validating data: ", "the API server refuses a manifest: "]
        .iter()
        .find_map(|before| line.split_once(before))
        .map_or(line, |(_, words)| words);
    line.split("; if you choose to ignore").next().unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use serde_json::json;

    use super::{super::Document, last_line, refused, unknown_field, words};

    #[test]
    fn the_refused_among_thousands_are_found_with_few_questions() {
        let asked = Cell::new(0);
        let ask = |some: &[usize]| {
            asked.set(asked.get() + 1);
            some.contains(&77)
                .then(|| "no".to_owned())
                .or(some.contains(&5).then(|| "never".into()))
        };
        let all: Vec<_> = (0..10_000).collect();
        let found = refused(&all, "no".into(), &ask);
        assert_eq!(found, [(&5, "never".to_owned()), (&77, "no".to_owned())]);
        assert!(asked.get() < 60, "{} questions", asked.get());
        assert!(refused(&[1, 2], "only together".into(), &|_| None).is_empty());
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
        let apply = "Error from server: failed to create typed patch object (default/web; apps/v1, \
            Kind=Deployment): .spec.template.spec.containers[name=\"web\"].imagee: \
            field not declared in schema";
        assert_eq!(
            unknown_field(apply).as_deref(),
            Some("spec.template.spec.containers[name=\"web\"].imagee")
        );
        let strict = "Error from server (BadRequest): Foo in version \"v1\" cannot be handled: \
            strict decoding error: unknown field \"spec.colour\"";
        assert_eq!(unknown_field(strict).as_deref(), Some("spec.colour"));
        assert_eq!(
            unknown_field("The Deployment \"web\" is invalid: spec.selector: Required"),
            None
        );
    }

    #[test]
    fn the_servers_words_come_last() {
        assert_eq!(last_line("a\nthe API server refuses a manifest: the reason\n"), "the reason");
    }
}
