//! Reading them, without asking any cluster.

use std::{collections::BTreeMap, path::Path};

use khost::{
    Error, Host, Result, fs,
    steps::manifest::{place, title},
};

use super::Document;
use crate::addon::Addon;

const ENDS: [&str; 3] = ["yaml", "yml", "json"];

/// All documents of the files of `dir`, by the files' names. No directory, no documents.
///
/// # Errors
/// `manifest-invalid` for what is no manifest, `manifest-twice` for an object that stands twice or
/// is one of `addons`.
pub(crate) fn read(host: &Host, dir: &Path, addons: &[Addon]) -> Result<Vec<Document>> {
    let mut names = fs::names(&host.path(dir))?;
    names.retain(|name| {
        let end = Path::new(name).extension().and_then(|end| end.to_str());
        !name.starts_with('.') && end.is_some_and(|end| ENDS.contains(&end))
    });
    names.sort();
    let mut documents: Vec<Document> = Vec::new();
    for name in names {
        let path = dir.join(&name);
        let Some(text) = fs::read_text(&host.path(&path))? else { continue };
        documents.extend(parse(&path.display().to_string(), &text)?);
    }
    each_alone(&documents, addons)?;
    Ok(documents)
}

fn parse(file: &str, text: &str) -> Result<Vec<Document>> {
    let documents = kspec::from_yaml_documents(text).map_err(|error| {
        Error::input("manifest-invalid", format!("`{file}` is not YAML"))
            .because(error)
            .hint("correct it, or take it out of `addons.manifests-dir`")
    })?;
    let mut found = Vec::new();
    for (at, object) in documents.into_iter().enumerate() {
        let items = match object["items"].as_array() {
            Some(items) if object["kind"] == "List" => items.clone(),
            _ => vec![object],
        };
        let document = |object| Document { file: file.into(), number: at + 1, object };
        found.extend(items.into_iter().map(document));
    }
    found.into_iter().map(sound).collect()
}

/// A document that names an object.
fn sound(document: Document) -> Result<Document> {
    let fields = ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace"];
    let missing = fields.into_iter().find(|pointer| match document.object.pointer(pointer) {
        None => !pointer.ends_with("namespace"),
        Some(value) => value.as_str().is_none_or(str::is_empty), // `no` is no name, but `false`
    });
    let Some(pointer) = missing else { return Ok(document) };
    let field = pointer.trim_start_matches('/').replace('/', ".");
    let (file, number) = (&document.file, document.number);
    Err(Error::input(
        "manifest-invalid",
        format!("`{file}`, document {number}, has no `{field}` that is text"),
    )
    .because("it cannot be told which object of the cluster is meant")
    .hint("give each document an apiVersion, a kind and a metadata.name"))
}

/// Nobody else speaks of the same object.
fn each_alone(documents: &[Document], addons: &[Addon]) -> Result<()> {
    let of_addons: BTreeMap<_, _> = addons
        .iter()
        .flat_map(|addon| addon.objects.iter().map(|object| (place(object), addon.name)))
        .collect();
    let mut known = BTreeMap::new();
    for document in documents {
        let at = place(&document.object);
        let addon = of_addons.get(&at).map(|name| format!("the add-on `{name}`"));
        let other = known.insert(at, document).map(Document::place).or(addon);
        let Some(other) = other else { continue };
        let title = title(&document.object);
        return Err(Error::input("manifest-twice", format!("{title} stands twice"))
            .because(format!("in {}, and in {other}", document.place()))
            .hint("keep one of them; an add-on is switched off in [addons] of cluster.toml"));
    }
    Ok(())
}
