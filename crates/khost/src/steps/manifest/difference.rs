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
    use serde_json::json;

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
}
