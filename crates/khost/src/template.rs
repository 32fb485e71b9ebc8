//! Filling in a text whose shape is fixed: one way, and nothing that is missing passes unnoticed.

use minijinja::{AutoEscape, Environment, UndefinedBehavior, syntax::SyntaxConfig, value::Serde};
use serde_json::Value;

use crate::{Error, Result};

/// `source` with `values` filled in; `name` is for errors.
///
/// The language is minijinja's. A variable that `values` does not have is an error. The filter
/// `quote` turns a string into a double-quoted YAML scalar, whatever is in it.
///
/// # Errors
/// `template-invalid`, which only a mistake in the program can cause.
pub fn render(name: &str, source: &str, values: &Value) -> Result<String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::None); // it goes by the name otherwise
    environment.add_filter("quote", |text: String| Value::String(text).to_string());
    let syntax = SyntaxConfig::builder()
        .trim_blocks(true)
        .lstrip_blocks(true)
        .keep_trailing_newline(true)
        .build()
        .map_err(|error| invalid(name, error))?;
    environment.set_syntax(syntax);
    environment.render_named_str(name, source, Serde(values)).map_err(|error| invalid(name, error))
}

/// The Kubernetes objects of a multi-document YAML `text`; `name` is for errors.
pub fn objects(name: &str, text: &str) -> Result<Vec<Value>> {
    kspec::from_yaml_documents(text).map_err(|error| invalid(name, error))
}

fn invalid(name: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::host("template-invalid", format!("cannot fill in `{name}`")).because(error)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::render;

    #[test]
    fn what_is_missing_is_an_error() {
        let error = render("x.yaml", "a: {{ b }}", &json!({})).unwrap_err();
        assert_eq!(error.code(), "template-invalid");
        assert!(error.chain().contains("x.yaml:1"), "{}", error.chain());
    }

    #[test]
    fn a_quoted_string_cannot_leave_its_place() {
        let text = render("x", "a: {{ b | quote }}\n", &json!({ "b": "x\"\nc: 1" })).unwrap();
        assert_eq!(text, "a: \"x\\\"\\nc: 1\"\n");
        assert_eq!(super::objects("x", &text).unwrap(), [json!({ "a": "x\"\nc: 1" })]);
    }

    #[test]
    fn blocks_leave_no_lines() {
        let text = render(
            "x",
            "{% if b %}\n  {% for c in b %}\nc{{ c }}\n  {% endfor %}\n{% endif %}\nd\n",
            &json!({ "b": [1, 2] }),
        );
        assert_eq!(text.unwrap(), "c1\nc2\nd\n");
    }
}
