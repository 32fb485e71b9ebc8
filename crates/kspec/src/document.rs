//! A description written out with every default and a comment beside it, generated from the
//! types, so that the file `kprep init` writes cannot lag behind what the tools read.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::{Cluster, published::schema};

const HEADER: &str = "\
# The cluster, as k8steps builds it. Every key is optional; those below hold their defaults.
# The same file goes to every node. Which machine is which node is told by its host name, its
# address, or `--node NAME`.
";

/// `cluster` as TOML, each key below the comment that its field has in the source.
///
/// # Errors
/// Never for a [`Cluster`] that was parsed; serde's error is passed on.
pub fn commented(cluster: &Cluster) -> serde_json::Result<String> {
    let root = schema::<Cluster>().to_value();
    let value = serde_json::to_value(cluster)?;
    let mut writer =
        Writer { defs: root.get("$defs").cloned().unwrap_or_default(), out: HEADER.into() };
    writer.table("", &root, &value);
    Ok(writer.out)
}

struct Writer {
    defs: Value,
    out: String,
}

impl Writer {
    /// One table: first its plain keys, then the tables below it, as TOML demands.
    fn table(&mut self, path: &str, schema: &Value, value: &Value) {
        let empty = Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let mut below = Vec::new();
        for (key, property) in properties {
            let resolved = self.resolve(property);
            let comment = description(property).or_else(|| description(&resolved));
            match value.get(key) {
                Some(Value::Object(_)) if resolved.get("properties").is_some() => {
                    below.push((key, comment, resolved, false));
                }
                Some(Value::Array(_)) if self.item_is_table(&resolved) => {
                    below.push((key, comment, resolved, true));
                }
                Some(plain) => self.key(key, comment.as_deref(), Some(plain)),
                None => self.key(key, comment.as_deref(), None),
            }
        }
        for (key, comment, resolved, list) in below {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let comment = comment.unwrap_or_default();
            if list {
                let item = resolved.get("items").map(|item| self.resolve(item)).unwrap_or_default();
                let entries = value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
                if entries.is_empty() {
                    let _ = write!(self.out, "\n# {comment}\n#[[{path}]]\n");
                }
                for entry in entries {
                    let _ = write!(self.out, "\n# {comment}\n[[{path}]]\n");
                    self.table(&path, &item, &entry);
                }
            } else {
                let _ = write!(self.out, "\n# {comment}\n[{path}]\n");
                self.table(&path, &resolved, value.get(key).unwrap_or(&Value::Null));
            }
        }
    }

    fn key(&mut self, key: &str, comment: Option<&str>, value: Option<&Value>) {
        for line in comment.unwrap_or_default().lines() {
            let _ = writeln!(self.out, "# {line}");
        }
        let _ = match value {
            Some(value) => writeln!(self.out, "{key} = {}", inline(value)),
            None => writeln!(self.out, "#{key} ="),
        };
    }

    /// The definition behind a `$ref`, or the schema itself.
    fn resolve(&self, schema: &Value) -> Value {
        let name = schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix("#/$defs/"));
        name.and_then(|name| self.defs.get(name)).unwrap_or(schema).clone()
    }

    fn item_is_table(&self, schema: &Value) -> bool {
        schema.get("items").is_some_and(|item| self.resolve(item).get("properties").is_some())
    }
}

/// A doc comment on one line each, as rustdoc has it.
fn description(schema: &Value) -> Option<String> {
    Some(schema.get("description")?.as_str()?.replace('\n', " "))
}

fn inline(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".into(),
        Value::Object(entries) => {
            let entries: Vec<_> = entries
                .iter()
                .map(|(key, value)| format!("{} = {}", bare(key), inline(value)))
                .collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::String(text) => toml_string(text),
        plain => plain.to_string(), // JSON and TOML agree on numbers and booleans
    }
}

/// A key as TOML wants it: quoted unless it is made of letters, digits, `_` and `-`.
fn bare(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(plain) { key.into() } else { toml_string(key) }
}

/// `text` as a TOML string, which may stand as a key as well. JSON writes them alike, but for one
/// letter that TOML wants escaped.
pub fn toml_string(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::Cluster;

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut cluster = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
        cluster.nodes[0].labels.insert("example.com/disk".into(), "s\"s\\d".into());
        let text = super::commented(&cluster).unwrap();
        assert_eq!(Cluster::parse(&text).unwrap(), cluster, "{text}");
    }

    #[test]
    fn the_default_document_reads_well() {
        let cluster = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
        insta::assert_snapshot!(super::commented(&cluster).unwrap());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_label_reads_back(
            labels in prop::collection::btree_map(any::<String>(), any::<String>(), 0..3),
            odd in "[\u{0}-\u{20}\u{7f}\u{85}\\\\\"'=]{0,4}",
        ) {
            let mut cluster = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
            cluster.nodes[0].labels = labels;
            cluster.nodes[0].labels.insert(odd.clone(), odd);
            let text = super::commented(&cluster).unwrap();
            let found = Cluster::parse(&text);
            prop_assert!(found.as_ref().is_ok_and(|found| *found == cluster), "{:?}", found.err());
        }

        /// A hand that slips in the file that `kprep init` wrote: a sound description, or what
        /// is wrong with it.
        #[test]
        fn a_slip_of_the_hand_is_no_panic(
            at in any::<prop::sample::Index>(), drop in 0_usize..12, put in "\\PC{0,2}|[0-9./:-]{1,4}",
        ) {
            let cluster = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
            let letters: Vec<char> = super::commented(&cluster).unwrap().chars().collect();
            let at = at.index(letters.len());
            let rest = (at + drop).min(letters.len());
            let head = letters[..at].iter().copied();
            let text: String = head.chain(put.chars()).chain(letters[rest..].iter().copied()).collect();
            match Cluster::parse(&text) {
                Ok(cluster) => {
                    for problem in cluster.problems() {
                        prop_assert!(!problem.code.is_empty() && !problem.remedy.is_empty());
                    }
                    cluster.cluster_dns();
                    cluster.no_proxy();
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }

        #[test]
        fn any_text_is_refused_in_words(
            text in any::<String>(), bent in "[a-z\\[\\]={}\"'., \n0-9#-]{0,40}",
        ) {
            for text in [text, bent] {
                if let Err(error) = Cluster::parse(&text) {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }

    #[test]
    fn fuzz_cluster() {
        let example = Cluster::example("k8s-ctr", "192.168.10.100".parse().unwrap());
        fuzz::text_target([super::commented(&example).unwrap()], |text| {
            let Ok(cluster) = Cluster::parse(text) else { return };
            cluster.problems();
            let again = Cluster::parse(&super::commented(&cluster).unwrap());
            assert_eq!(again.unwrap(), cluster);
        });
    }
}
