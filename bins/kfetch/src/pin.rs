//! `kfetch lock`: write what tags mean now into `artifacts.lock`, and leave the rest as it is.

use std::collections::BTreeMap;

use khost::{
    Error, Result, Tool,
    error::Exit,
    fs::{self, Attributes},
};
use kspec::{Arch, Lock, Sha256};
use toml_edit::{DocumentMut, InlineTable, Item, Value};

use crate::{
    download::Downloads,
    image, pool,
    source::Sources,
    store::Store,
    wanted::{self, WantedImage},
};

/// Digests of one image by architecture.
type Digests = BTreeMap<Arch, Sha256>;

/// Ask for every image; write the file only when all have answered.
pub(crate) fn pin(tool: &Tool) -> Result<Exit> {
    let (lock, path) = (tool.lock()?, tool.lock_path());
    let sources = Sources::new(&tool.cluster()?)?;
    let resolved = resolve(tool, &lock, &sources)?;

    let text = fs::read_text(&path)?.unwrap_or_default();
    let mut changed = 0;
    for (image, digests) in lock.images.iter().zip(&resolved) {
        for arch in [Arch::Amd64, Arch::Arm64] {
            let (before, after) = (image.digest.get(&arch), digests.get(&arch));
            if before != after {
                let name = &image.reference;
                tool.report.say(&format!(
                    "{name} for {arch}: {} -> {}",
                    shown(before),
                    shown(after)
                ));
                changed += 1;
            }
        }
    }
    let wanted = edit(&text, &resolved)?;
    if changed > 0 {
        let mode = fs::look(&path)?.map_or(0o644, |found| fs::mode(&found));
        fs::write(&path, wanted.as_bytes(), Attributes { mode, owner: None })?;
    }
    tool.report.summary(&match changed {
        0 => "nothing to do".into(),
        changed => format!("{changed} digests written to {}", path.display()),
    });
    Ok(Exit::Done)
}

fn shown(digest: Option<&Sha256>) -> String {
    digest.map_or_else(|| "not pinned".into(), ToString::to_string)
}

fn resolve(tool: &Tool, lock: &Lock, sources: &Sources) -> Result<Vec<Digests>> {
    let store = Store::new(&tool.host);
    let stall = tool.context().limit.unwrap_or(sources.stall());
    let downloads = Downloads::new(&store, sources, stall)?;
    let resolved = pool::each(sources.parallel(), &lock.images, |locked| -> Result<Digests> {
        let reference = wanted::reference(locked)?;
        let hosts = sources.hosts(reference.registry())?;
        let (name, text) = (locked.name.clone(), locked.reference.clone());
        let image = WantedImage { name, text, reference, digest: None };
        let digests: Digests = image::resolve(&downloads, &hosts, &image)?.into_iter().collect();
        if digests.is_empty() {
            let what = format!("`{}` is neither for amd64 nor for arm64", image.text);
            return Err(Error::host("wrong-architecture", what).hint("choose an image that is"));
        }
        Ok(digests)
    });
    resolved.into_iter().collect()
}

/// `text` with the digests of its images, in their order; comments and all else stay.
fn edit(text: &str, resolved: &[Digests]) -> Result<String> {
    let odd = || {
        Error::input("lock-unusual", "artifacts.lock does not have an [[image]] section for each")
            .hint("write every image as a section of its own, beginning with [[image]]")
    };
    let mut document: DocumentMut = text.parse().map_err(|error| odd().because(error))?;
    for (at, digests) in resolved.iter().enumerate() {
        let images = document.get_mut("image").and_then(Item::as_array_of_tables_mut);
        let image = images.and_then(|images| images.get_mut(at)).ok_or_else(odd)?;
        let table: InlineTable =
            digests.iter().map(|(arch, digest)| (arch.as_str(), digest.to_string())).collect();
        image.insert("digest", Item::Value(Value::InlineTable(table)));
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use kspec::{Arch, Lock, Sha256};

    #[test]
    fn only_digests_change() {
        let text = "# why\nschema = 1 # one\n\n# first\n[[image]]\nname = 'a'\nref = 'r/a:1' # tag\n\
                    \n[[image]]\nname = 'b'\nref = 'r/b:1'\ndigest = { amd64 = '00' }\n# end\n";
        let digests = [
            [(Arch::Amd64, Sha256::of("a")), (Arch::Arm64, Sha256::of("b"))].into(),
            [(Arch::Amd64, Sha256::of("c"))].into(),
        ];
        let edited = super::edit(text, &digests).unwrap();
        insta::assert_snapshot!(edited, @r#"
        # why
        schema = 1 # one

        # first
        [[image]]
        name = 'a'
        ref = 'r/a:1' # tag
        digest = { amd64 = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", arm64 = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" }

        [[image]]
        name = 'b'
        ref = 'r/b:1'
        digest = { amd64 = "sha256:2e7d2c03a9507ae265ecf5b5356885a53393a2029d241394997265a1a25aefc6" }
        # end
        "#);
        assert_eq!(Lock::parse(&edited).unwrap().images[1].digest, digests[1]);
        assert_eq!(super::edit(&edited, &digests).unwrap(), edited);
    }

    #[test]
    fn the_shipped_lock_can_be_edited() {
        let text = include_str!("../../../share/artifacts.lock");
        let count = Lock::parse(text).unwrap().images.len();
        let digests = vec![[(Arch::Amd64, Sha256::of("a"))].into(); count];
        let edited = super::edit(text, &digests).unwrap();
        let lost: Vec<_> = text.lines().filter(|line| !edited.contains(line)).collect();
        assert!(lost.is_empty(), "{lost:?}");
    }
}
