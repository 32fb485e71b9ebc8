//! Merging what an operator adds over what is generated.

use kspec::cluster::Extra;
use serde_json::{Map, Value};

/// `extra` over `base`: tables are merged key by key at any depth, all else is replaced.
pub(crate) fn merge(base: &mut Map<String, Value>, extra: &Extra) {
    for (key, value) in extra {
        merge_value(base.entry(key.as_str()).or_insert(Value::Null), value);
    }
}

fn merge_value(base: &mut Value, extra: &Value) {
    if let (Value::Object(base), Value::Object(extra)) = (&mut *base, extra) {
        for (key, value) in extra {
            merge_value(base.entry(key.as_str()).or_insert(Value::Null), value);
        }
    } else {
        base.clone_from(extra);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn tables_are_merged_and_all_else_is_replaced() {
        let mut base = json!({ "a": { "b": 1, "c": [1, 2] }, "d": "x" });
        let extra = serde_json::from_value(json!({ "a": { "c": [3], "e": {} }, "d": { "f": 1 } }));
        super::merge(base.as_object_mut().unwrap(), &extra.unwrap());
        assert_eq!(base, json!({ "a": { "b": 1, "c": [3], "e": {} }, "d": { "f": 1 } }));
    }
}
