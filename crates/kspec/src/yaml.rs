//! YAML as Kubernetes reads it.

use serde::Serialize;

/// `value` as one YAML document, without a leading `---`.
///
/// # Errors
/// When `value` has a shape YAML cannot hold; none of this project's types does.
pub fn to_yaml(value: &impl Serialize) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(value)
}

#[cfg(test)]
mod tests {
    #[test]
    fn strings_that_look_like_other_things_stay_strings() {
        let value = serde_json::json!({ "a": "true", "b": "10", "c": "1.33", "d": [1, "x: y"] });
        let yaml = super::to_yaml(&value).unwrap();
        let back: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, value, "{yaml}");
    }
}
