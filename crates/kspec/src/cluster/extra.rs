//! What an operator adds to a component's own configuration.

use std::collections::BTreeMap;

use serde_json::Value;

/// Fields passed through to a component's own configuration, for what these tools do not know.
pub type Extra = BTreeMap<String, Value>;

/// Lay `extra` over the configuration `base`: where both have a table, it is merged key by key, at
/// any depth; everything else, lists too, is replaced.
pub fn merge(base: &mut Value, extra: &Extra) {
    lay_over(base, extra.clone().into_iter().collect());
}

fn lay_over(base: &mut Value, extra: Value) {
    match (base, extra) {
        (Value::Object(base), Value::Object(extra)) => {
            for (key, value) in extra {
                lay_over(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, extra) => *base = extra,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn tables_are_merged_and_all_else_is_replaced() {
        let mut base = json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x" });
        let extra = serde_json::from_value(json!({ "a": { "c": [3], "e": {} }, "d": { "f": 1 } }));
        super::merge(&mut base, &extra.unwrap());
        assert_eq!(base, json!({ "a": { "b": 1, "c": [3], "e": {} }, "d": { "f": 1 } }));
    }
}
