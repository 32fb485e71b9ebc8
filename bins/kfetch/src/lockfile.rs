//! The text of `artifacts.lock`, brought to what is wanted; comments and what is the operator's
//! own stay.

use std::collections::BTreeMap;

use khost::{Error, Result};
use kspec::{Arch, Format, Lock, LockedFile, Sha256};
use toml_edit::{Array, ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

use crate::catalogue::{Chosen, Selection};

/// Digests of one image by architecture.
pub(crate) type Digests = BTreeMap<Arch, Sha256>;

/// How a lock begins that was not there before.
const HEADER: &str = "\
# What a node needs: files with the SHA-256 that their projects publish for amd64 and arm64, images
# with the digests their registries gave. `kfetch lock` writes it for the kubernetes.version of
# cluster.toml. Comments, and sections it does not know, stay as they are.
schema = 1
";

/// A lock being edited.
#[derive(Debug)]
pub(crate) struct LockFile {
    document: DocumentMut,
    /// What has been done, a line each.
    pub(crate) notes: Vec<String>,
}

impl LockFile {
    /// The lock `text`, or a new one.
    pub(crate) fn new(text: Option<&str>) -> Result<Self> {
        let document = text.unwrap_or(HEADER).parse();
        let document = document.map_err(|error| unusual().because(error))?;
        Ok(Self { document, notes: Vec::new() })
    }

    pub(crate) fn text(&self) -> String {
        self.document.to_string()
    }

    /// The lock that this text is now.
    pub(crate) fn lock(&self) -> Result<Lock> {
        Lock::parse(&self.text()).map_err(|error| {
            Error::input("input-invalid", "artifacts.lock is not valid")
                .because(error)
                .hint("correct it and run again")
        })
    }

    /// Have the versions of `selection`. A section that has its version already stays as it is,
    /// whoever wrote it.
    pub(crate) fn take(&mut self, selection: &Selection<'_>) -> Result<()> {
        for chosen in &selection.files {
            for arch in [Arch::Amd64, Arch::Arm64] {
                self.take_file(chosen, arch)?;
            }
        }
        for (name, reference) in &selection.images {
            self.take_image(name, reference)?;
        }
        Ok(())
    }

    fn take_file(&mut self, chosen: &Chosen<'_>, arch: Arch) -> Result<()> {
        let name = chosen.name();
        let sections = sections(&mut self.document, "file")?;
        let is = |section: &&mut Table| {
            text(section, "name") == Some(name) && text(section, "arch") == Some(arch.as_str())
        };
        let Some(section) = sections.iter_mut().find(is) else {
            let mut section = Table::new();
            fill(&mut section, &chosen.locked(arch)?);
            sections.push(section);
            self.notes.push(format!("{name} for {arch}: {}", chosen.version));
            return Ok(());
        };
        let before = text(section, "version").unwrap_or_default().to_owned();
        if before != chosen.version {
            fill(section, &chosen.locked(arch)?);
            self.notes.push(format!("{name} for {arch}: {before} -> {}", chosen.version));
        } else if let Some(published) = chosen.published(arch)
            && text(section, "sha256").and_then(|text| text.parse().ok()) != Some(published)
        {
            self.notes.push(format!(
                "{name} for {arch}: its SHA-256 is not the published one ({}), and is kept; \
                 remove the section to have that one",
                published.hex()
            ));
        }
        Ok(())
    }

    fn take_image(&mut self, name: &str, reference: &str) -> Result<()> {
        let sections = sections(&mut self.document, "image")?;
        let is = |section: &&mut Table| text(section, "name") == Some(name);
        let Some(section) = sections.iter_mut().find(is) else {
            let mut section = Table::new();
            set(&mut section, "name", name.into());
            set(&mut section, "ref", reference.into());
            sections.push(section);
            self.notes.push(format!("{name}: {reference}"));
            return Ok(());
        };
        let before = text(section, "ref").unwrap_or_default().to_owned();
        let Some(after) = with_tag_of(&before, reference) else { return Ok(()) };
        if before != after {
            set(section, "ref", after.as_str().into());
            section.remove("digest"); // it was that of the other tag
            self.notes.push(format!("{name}: {before} -> {after}"));
        }
        Ok(())
    }

    /// Write the digests of the images that have some in `resolved`, which is in their order.
    pub(crate) fn pin(&mut self, resolved: &[Option<Digests>]) -> Result<()> {
        let images = sections(&mut self.document, "image")?;
        for (at, digests) in resolved.iter().enumerate() {
            let image = images.get_mut(at).ok_or_else(unusual)?;
            let Some(digests) = digests else { continue };
            let reference = text(image, "ref").unwrap_or_default();
            for (arch, digest) in digests {
                let note = format!("{reference} for {arch}: not pinned -> {digest}");
                self.notes.push(note);
            }
            let mut table = image.get("digest").and_then(Item::as_inline_table).cloned();
            let table = table.get_or_insert_with(InlineTable::new);
            for (arch, digest) in digests {
                table.insert(arch.as_str(), digest.to_string().into());
            }
            table.fmt();
            set(image, "digest", Value::InlineTable(table.clone()));
        }
        Ok(())
    }
}

fn unusual() -> Error {
    Error::input("lock-unusual", "artifacts.lock is not made of [[file]] and [[image]] sections")
        .hint("write every file and image as a section of its own")
}

fn sections<'a>(document: &'a mut DocumentMut, kind: &str) -> Result<&'a mut ArrayOfTables> {
    let item = document.entry(kind).or_insert(Item::ArrayOfTables(ArrayOfTables::new()));
    item.as_array_of_tables_mut().ok_or_else(unusual)
}

fn text<'a>(section: &'a Table, key: &str) -> Option<&'a str> {
    section.get(key)?.as_str()
}

/// Give `key` another value; a comment behind the old one stays.
fn set(section: &mut Table, key: &str, mut value: Value) {
    let before = section.get(key).and_then(Item::as_value);
    if let Some(before) = before {
        *value.decor_mut() = before.decor().clone();
    }
    section.insert(key, Item::Value(value));
}

/// Make `section` that of `file`.
fn fill(section: &mut Table, file: &LockedFile) {
    let sha256 = file.sha256.hex();
    for (key, value) in [
        ("name", file.name.as_str()),
        ("version", &file.version),
        ("arch", file.arch.as_str()),
        ("url", &file.url),
        ("sha256", &sha256),
    ] {
        if text(section, key) != Some(value) {
            set(section, key, value.into());
        }
    }
    match file.format {
        Format::TarGz => set(section, "format", "tar.gz".into()),
        Format::Binary => drop(section.remove("format")),
    }
    if file.members.is_empty() {
        section.remove("members");
    } else {
        set(section, "members", file.members.iter().collect::<Array>().into());
    }
}

/// `own` with the tag that `reference` has: the operator's registry stays. None when `own` is
/// named by its digest.
fn with_tag_of(own: &str, reference: &str) -> Option<String> {
    let repository = |reference: &str| -> Option<usize> {
        let at = reference.rfind(':')?;
        (!reference[at..].contains('/')).then_some(at)
    };
    if own.contains('@') {
        return None;
    }
    let (end, tag) = (repository(own).unwrap_or(own.len()), repository(reference)?);
    Some(format!("{}{}", &own[..end], &reference[tag..]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kspec::{Arch, Lock, Sha256};

    use super::{LockFile, with_tag_of};
    use crate::catalogue::Catalogue;

    const SHIPPED: &str = include_str!("../../../share/artifacts.lock");

    fn edited(text: Option<&str>, kubernetes: &str) -> LockFile {
        let catalogue = Catalogue::built_in().unwrap();
        let selection = catalogue.select(&kubernetes.parse().unwrap(), &BTreeMap::new()).unwrap();
        let mut file = LockFile::new(text).unwrap();
        file.take(&selection).unwrap();
        file
    }

    #[test]
    fn the_shipped_lock_is_the_generated_one() {
        assert_eq!(edited(None, "1.33.3").text(), SHIPPED);
        let again = edited(Some(SHIPPED), "1.33.3");
        assert_eq!((again.text().as_str(), again.notes.len()), (SHIPPED, 0));
    }

    #[test]
    fn another_version_and_back() {
        let there = edited(Some(SHIPPED), "1.34.2").text();
        assert_eq!(there, edited(None, "1.34.2").text());
        assert_eq!(edited(Some(&there), "1.33.3").text(), SHIPPED);
    }

    #[test]
    fn what_is_the_operators_own_stays() {
        let digest = Sha256::of("own").hex();
        let own = format!(
            "# why\nschema = 1 # one\n\n# ours\n[[file]]\nname = 'mine'\nversion = '1'\n\
             arch = 'amd64'\nurl = 'https://h/m'\nsha256 = '{digest}'\n\n\
             # our own build\n[[file]]\nname = 'runc'\nversion = '1.3.4' # fast\narch = 'amd64'\n\
             url = 'https://h/runc'\nsha256 = '{digest}'\n\n[[file]]\nname = 'helm'\n\
             version = '3.17.0' # old\narch = 'arm64'\nurl = 'https://h/helm'\n\
             sha256 = '{digest}' # ours\n# images\n[[image]]\nname = 'pause'\n\
             ref = '10.0.0.1:5000/pause:3.9' # near\ndigest = {{ amd64 = '{digest}' }}\n# end\n"
        );
        let file = edited(Some(&own), "1.33.3");
        let text = file.text();
        for line in own.lines().filter(|line| line.contains('#')) {
            let comment = &line[line.find('#').unwrap()..];
            assert!(text.contains(comment), "{comment} is lost:\n{text}");
        }
        assert!(text.contains("version = '1.3.4' # fast\n"), "{text}");
        assert!(text.contains("version = \"3.18.4\" # old\n"), "{text}");
        assert!(text.contains("ref = \"10.0.0.1:5000/pause:3.10\" # near\n"), "{text}");
        let said = |what: &str| file.notes.iter().any(|note| note.starts_with(what));
        assert!(said("runc for amd64: its SHA-256 is not the published one (5966ca40"));
        assert!(said("helm for arm64: 3.17.0 -> 3.18.4") && said("nginx: docker.io/"));

        let lock = Lock::parse(&text).unwrap();
        assert_eq!((lock.files.len(), lock.images.len()), (21, 12));
        assert_eq!(lock.files[0].name, "mine");
        assert!(lock.images[0].digest.is_empty(), "the digest of another tag");
        assert_eq!(edited(Some(&text), "1.33.3").text(), text);
    }

    #[test]
    fn a_digest_is_written_beside_its_tag() {
        let text = "schema = 1\n\n# first\n[[image]]\nname = 'a'\nref = 'r/a:1' # tag\n\
                    \n[[image]]\nname = 'b'\nref = 'r/b:1'\ndigest = { amd64 = '00' }\n# end\n";
        let digests = [(Arch::Amd64, Sha256::of("a")), (Arch::Arm64, Sha256::of("b"))].into();
        let mut file = LockFile::new(Some(text)).unwrap();
        file.pin(&[Some(digests), None]).unwrap();
        insta::assert_snapshot!(file.text(), @r#"
        schema = 1

        # first
        [[image]]
        name = 'a'
        ref = 'r/a:1' # tag
        digest = { amd64 = "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", arm64 = "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" }

        [[image]]
        name = 'b'
        ref = 'r/b:1'
        digest = { amd64 = '00' }
        # end
        "#);
    }

    #[test]
    fn tags_move_and_registries_stay() {
        let new = "registry.k8s.io/pause:3.10";
        for (own, expected) in [
            ("registry.k8s.io/pause:3.9", Some("registry.k8s.io/pause:3.10")),
            ("10.0.0.1:5000/pause:3.9", Some("10.0.0.1:5000/pause:3.10")),
            ("10.0.0.1:5000/pause", Some("10.0.0.1:5000/pause:3.10")),
            ("r.io/pause@sha256:00", None),
        ] {
            assert_eq!(with_tag_of(own, new).as_deref(), expected);
        }
    }

    /// Another's lock is brought to what is wanted once and for all, or refused.
    #[test]
    fn fuzz_lock_edit() {
        let own = "schema = 1\n[[file]] # a\nname = 'runc'\nversion = '1' # b\narch = 'amd64'\nurl = 'u'\n\
                   sha256 = '00'\n[[image]]\nname = 'pause'\nref = '10.0.0.1:5000/pause:3.9' # near\n\
                   digest = { amd64 = '00' }\n[other]\n";
        let catalogue = Catalogue::built_in().unwrap();
        let kubernetes = "1.33.3".parse().unwrap();
        fuzz::text_target([SHIPPED, own, ""], move |text| {
            let selection = catalogue.select(&kubernetes, &BTreeMap::new()).unwrap();
            let Ok(mut file) = LockFile::new(Some(text)) else { return };
            if file.take(&selection).is_ok() {
                let once = file.text();
                let mut file = LockFile::new(Some(&once)).unwrap();
                file.take(&selection).unwrap();
                assert_eq!(file.text(), once);
                let _ = file.lock();
            }
        });
    }
}
