//! In what an object of the cluster is not the wanted one.

use serde_json::Value;

use crate::steps::file::diff;

/// Where two states of an object differ.
#[derive(Debug)]
pub struct Difference {
    /// The first field, as a dotted path.
    pub path: String,
    /// All of it, as a unified diff of YAML.
    pub diff: String,
}

impl Difference {
    /// What it takes to get from `before` to `after`; none where nothing is to be done. Unlike
    /// the comparison with a manifest, a field that only one of them has counts.
    pub fn between(before: &Value, after: &Value) -> Option<Self> {
        let first = first_difference(after, before).or_else(|| first_difference(before, after))?;
        Some(Self { path: first, diff: diff(&pretty(before), &pretty(after)) })
    }
}

pub(super) fn pretty(value: &Value) -> String {
    kspec::to_yaml(value).unwrap_or_else(|_| value.to_string())
}

/// The first field of `wanted` that `found` has otherwise, as a dotted path. Fields that only the
/// server knows (defaults, status) do not count; neither do null and empty fields of ours.
pub(super) fn first_difference(wanted: &Value, found: &Value) -> Option<String> {
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
pub(super) fn projected(wanted: &Value, found: &Value) -> Value {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{Difference, first_difference};

    #[test]
    fn a_field_that_goes_is_a_difference_between_states() {
        let with = json!({ "data": { "a": "1", "b": "2" } });
        let without = json!({ "data": { "a": "1" } });
        let difference = Difference::between(&with, &without).unwrap();
        assert_eq!(difference.path, "data.b");
        assert!(difference.diff.contains("-  b: "), "{}", difference.diff);
        assert!(Difference::between(&with, &with).is_none());
    }

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

    fn object() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-2_i64..3).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-d]", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    /// `wanted` as the server has it: with fields of its own, and without what is empty.
    fn served(wanted: &Value) -> Value {
        match wanted {
            Value::Object(fields) => {
                let kept = fields.iter().filter(|(_, value)| !super::is_empty(value));
                let kept = kept.map(|(key, value)| (key.clone(), served(value)));
                kept.chain([("uid".to_owned(), json!("u"))]).collect()
            }
            Value::Array(items) => items.iter().map(served).collect(),
            leaf => leaf.clone(),
        }
    }

    /// Each leaf of `value`, as a pointer.
    fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                fields.iter().for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found));
            }
            Value::Array(items) => {
                let items = items.iter().enumerate();
                items.for_each(|(key, value)| leaves(value, &format!("{at}/{key}"), found));
            }
            _ => found.push(at.to_owned()),
        }
    }

    proptest! {
        #[test]
        fn no_object_differs_from_itself_nor_by_what_the_server_adds(object in object()) {
            prop_assert!(Difference::between(&object, &object).is_none());
            let served = served(&object);
            prop_assert_eq!(first_difference(&object, &served), None);
            let projected = super::projected(&object, &served);
            prop_assert_eq!(first_difference(&object, &projected), None);
        }

        #[test]
        fn one_other_value_is_a_difference(object in object(), at in any::<prop::sample::Index>()) {
            let mut all = Vec::new();
            leaves(&object, "", &mut all);
            if let Some(pointer) = (!all.is_empty()).then(|| at.get(&all)) {
                let mut other = object.clone();
                *other.pointer_mut(pointer).unwrap() = json!("other");
                prop_assert!(first_difference(&object, &other).is_some());
                prop_assert!(first_difference(&other, &object).is_some());
                let difference = Difference::between(&object, &other).unwrap();
                prop_assert!(difference.diff.contains('+'), "{}", difference.diff);
            }
        }
    }
}
