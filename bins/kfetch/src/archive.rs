//! What is taken out of a downloaded `.tar.gz`, and how it stays known to be right.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use khost::{Error, Result, fs};
use kspec::{LockedFile, Sha256};
use serde::{Deserialize, Serialize};

use crate::{extract::extract, layout, store::Store};

/// `unpacked/HEX.json`: written last, so that its being there says that all the rest is.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contents {
    /// Bytes of the archive.
    pub(crate) size: u64,
    /// The patterns that were taken.
    members: Vec<String>,
    /// What they gave: digests by file name.
    pub(crate) files: BTreeMap<String, Sha256>,
}

/// What was unpacked from `file`; none when that did not end well, or took other members.
pub(crate) fn contents(store: &Store, file: &LockedFile) -> Result<Option<Contents>> {
    let text = fs::read_text(&record(store, file))?;
    let contents: Option<Contents> = text.and_then(|text| serde_json::from_str(&text).ok());
    Ok(contents.filter(|contents| {
        let mut names = contents.files.keys().map(Path::new);
        contents.members == file.members
            && names.all(|name| name.file_name() == Some(name.as_os_str()))
    }))
}

fn record(store: &Store, file: &LockedFile) -> std::path::PathBuf {
    store.path("unpacked").join(format!("{}.json", file.sha256.hex()))
}

impl Contents {
    /// Whether every member is there and has its digest.
    pub(crate) fn intact(&self, store: &Store, file: &LockedFile) -> Result<bool> {
        let dir = store.path("unpacked").join(file.sha256.hex());
        for (name, digest) in &self.files {
            if fs::digest(&dir.join(name))? != Some(*digest) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Refuse patterns that can never be meant.
pub(crate) fn check_patterns(file: &LockedFile) -> Result<()> {
    for pattern in &file.members {
        let dir = pattern.strip_suffix("/*").unwrap_or(pattern);
        if !is_inside(Path::new(pattern)) || (dir.contains('*') && pattern != "*") {
            return Err(Error::input(
                "member-invalid",
                format!("`{pattern}` of `{}` names no member of an archive", file.name),
            )
            .hint("write a path such as bin/ctr, or bin/* for every file right below bin"));
        }
    }
    Ok(())
}

/// Take `file`'s members from its blob, all of them or none.
pub(crate) fn unpack(store: &Store, file: &LockedFile) -> Result<()> {
    let blob = store.blob(file.sha256);
    let aside = store.path("partial").join(format!("{}.d", file.sha256.hex()));
    fs::remove_tree(&aside)?;
    fs::make_dirs(&aside, 0o755)?;
    let unpacked = extract(&blob, file, &aside);
    let files = match unpacked {
        Ok(files) => files,
        Err(error) => {
            fs::remove_tree(&aside)?;
            return Err(error);
        }
    };
    let dir = store.path("unpacked").join(file.sha256.hex());
    fs::remove(&record(store, file))?;
    fs::remove_tree(&dir)?;
    fs::rename(&aside, &dir)?;
    for (name, digest) in &files {
        fs::learned(&dir.join(name), *digest)?;
    }
    let size = store.size(file.sha256)?.unwrap_or_default();
    let contents = Contents { size, members: file.members.clone(), files };
    let json = serde_json::to_string_pretty(&contents)
        .map_err(|error| Error::host("store-failed", "cannot encode").because(error))?;
    layout::write(&record(store, file), (json + "\n").as_bytes())
}

/// Whether a path stays below where it begins.
pub(crate) fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Whether `pattern` means `path`; a leading `./` says nothing in either.
pub(crate) fn matches(pattern: &str, path: &Path) -> bool {
    let path = path.strip_prefix(".").unwrap_or(path);
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    match pattern.strip_suffix('*') {
        Some(dir) => path.parent() == Some(Path::new(dir)),
        None => path == Path::new(pattern),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn patterns() {
        let cases = [
            ("bin/ctr", "bin/ctr", true),
            ("bin/ctr", "./bin/ctr", true),
            ("./bin/ctr", "bin/ctr", true),
            ("bin/ctr", "bin/ctr2", false),
            ("bin/*", "bin/ctr", true),
            ("bin/*", "bin/deep/ctr", false),
            ("bin/*", "ctr", false),
            ("*", "ctr", true),
            ("*", "./ctr", true),
            ("*", "bin/ctr", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(super::matches(pattern, Path::new(path)), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn paths_that_lead_out() {
        for path in ["../x", "/etc/passwd", "a/../../x", "a/.."] {
            assert!(!super::is_inside(Path::new(path)), "{path}");
        }
        assert!(super::is_inside(Path::new("./a/b")));
    }
}
