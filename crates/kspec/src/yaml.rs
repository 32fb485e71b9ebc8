//! YAML as Kubernetes reads it.

use serde::Serialize;

/// `value` as one YAML document, without a leading `---`.
///
/// # Errors
/// When `value` has a shape YAML cannot hold; none of this project's types does.
pub fn to_yaml(value: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(value)
}

/// The documents of `text`, separated by `---`; empty ones are left out.
///
/// # Errors
/// When `text` is not YAML; the message holds line and column.
pub fn from_yaml_documents(text: &str) -> Result<Vec<serde_json::Value>, serde_saphyr::Error> {
    let mut documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(text)?;
    documents.retain(|document| !document.is_null());
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    #[test]
    fn documents_come_one_by_one_with_aliases_filled_in() {
        let text = "# a comment\na: &one {b: '1', c: 1, d: 0.5}\ne: *one\n---\n# empty\n---\n[x]\n";
        let documents = super::from_yaml_documents(text).unwrap();
        let one = serde_json::json!({ "b": "1", "c": 1, "d": 0.5 });
        assert_eq!(
            documents,
            [serde_json::json!({ "a": one, "e": one }), serde_json::json!(["x"])]
        );
        assert!(super::from_yaml_documents("a: [").is_err());
    }

    #[test]
    fn strings_that_look_like_other_things_stay_strings() {
        let value = serde_json::json!({ "a": "true", "b": "10", "c": "1.33", "d": [1, "x: y"] });
        let yaml = super::to_yaml(&value).unwrap();
        let back: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, value, "{yaml}");
    }

    fn value() -> impl Strategy<Value = Value> {
        let word = prop_oneof![
            any::<String>(),
            "[-?:,&*!|>'\"%@`~#\\[\\]{} \t\nxn0-9.eE+_]{0,6}",
            Just("null".to_owned()),
            Just("yes".to_owned()),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(word.clone(), inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in value()) {
            let wanted: Vec<_> = (!value.is_null()).then(|| value.clone()).into_iter().collect();
            let yaml = super::to_yaml(&value).unwrap();
            let found = super::from_yaml_documents(&yaml);
            prop_assert!(found.as_ref().is_ok_and(|found| *found == wanted), "{:?} {:?}", yaml, found);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), bent in "[-a:{}\\[\\]&*!|> \n'\"]{0,24}") {
            let _ = super::from_yaml_documents(&text);
            let _ = super::from_yaml_documents(&bent);
        }
    }

    #[test]
    fn fuzz_yaml() {
        let seed = "a: &one {b: '1', c: 0.5}\nd: *one\n<<: *one\ne: |\n  text\nf: >-\n  more\n---\n- !!int 1\n";
        fuzz::text_target([seed], |text| {
            for value in super::from_yaml_documents(text).unwrap_or_default() {
                super::to_yaml(&value).unwrap();
            }
        });
    }
}
