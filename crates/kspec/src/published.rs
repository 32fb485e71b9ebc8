//! JSON Schemas of every exchanged file, generated from the types.

use schemars::{JsonSchema, Schema, generate::SchemaSettings};

use crate::{Cluster, JoinDocument, Lock, PkiExport, state};

/// Schema file name and schema, one for each exchanged file. `docs/schemas/` holds them as text.
pub fn schemas() -> Vec<(&'static str, Schema)> {
    vec![
        ("cluster.schema.json", schema::<Cluster>()),
        ("lock.schema.json", schema::<Lock>()),
        ("facts.schema.json", schema::<state::Facts>()),
        ("artifacts.schema.json", schema::<state::Artifacts>()),
        ("pki.schema.json", schema::<state::PkiState>()),
        ("pki-export.schema.json", schema::<PkiExport>()),
        ("join.schema.json", schema::<JoinDocument>()),
        ("etcd.schema.json", schema::<state::EtcdState>()),
        ("node.schema.json", schema::<state::NodeState>()),
        ("control-plane.schema.json", schema::<state::ControlPlaneState>()),
        ("cni.schema.json", schema::<state::Cni>()),
        ("apps.schema.json", schema::<state::Apps>()),
    ]
}

pub(crate) fn schema<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<T>()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    /// The published files equal what the types say; `UPDATE_SCHEMAS=1` writes them anew.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test that updates checked-in files")]
    fn published_schemas_are_current() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemas");
        for (name, schema) in super::schemas() {
            let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
            let path = dir.join(name);
            if env::var_os("UPDATE_SCHEMAS").is_some() {
                fs::create_dir_all(&dir).unwrap();
                fs::write(&path, &text).unwrap();
            }
            let published = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                published == text,
                "{name} is out of date: run `UPDATE_SCHEMAS=1 cargo test -p kspec`"
            );
        }
    }
}
