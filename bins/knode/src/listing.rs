//! `knode images`: which images pods will find here.

use std::collections::BTreeMap;

use khost::{Result, Tool, error::Exit};
use kspec::{
    Sha256,
    state::{Artifacts, ImageArtifact},
};
use serde_json::json;

use crate::images::{present, run_by_pods};

/// One line an image: its state, the digest the store has, its reference. With `--json`, one
/// object a line.
pub(crate) fn show(tool: &Tool) -> Result<Exit> {
    let artifacts: Artifacts = tool.state()?;
    // In a tree there is no containerd to ask.
    let present = if tool.host.is_live() { present(&tool.host)? } else { BTreeMap::new() };
    for (_, image) in run_by_pods(&artifacts) {
        tool.report.data(&line(image, state(image, &present), tool.report.is_json()));
    }
    Ok(Exit::Done)
}

fn state(image: &ImageArtifact, present: &BTreeMap<String, Sha256>) -> &'static str {
    match present.get(&image.reference) {
        Some(digest) if *digest == image.digest => "present",
        Some(_) => "other",
        None => "missing",
    }
}

fn line(image: &ImageArtifact, state: &str, as_json: bool) -> String {
    let ImageArtifact { reference, digest } = image;
    if as_json {
        let object = json!({
            "schema": kspec::SCHEMA, "phase": "knode", "event": "image", "ref": reference, "digest": digest, "state": state,
        });
        return format!("{object}\n");
    }
    format!("{state:<8}{}  {reference}\n", digest.short())
}

#[cfg(test)]
mod tests {
    use kspec::{Sha256, state::ImageArtifact};

    #[test]
    fn an_image_is_there_only_with_the_digest_of_the_store() {
        let digest = Sha256::of("pause");
        let image = ImageArtifact { reference: "r/pause:1".into(), digest };
        let state = |digest| super::state(&image, &[("r/pause:1".to_owned(), digest)].into());
        assert_eq!(state(digest), "present");
        assert_eq!(state(Sha256::of("index")), "other");
        assert_eq!(super::state(&image, &std::collections::BTreeMap::new()), "missing");
    }
}
