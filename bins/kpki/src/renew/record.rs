//! A renewal in progress, on disk: what the files were and what they become. It is written before
//! the first of them changes and removed when what uses them has been seen at work, so a run that
//! is killed anywhere in between is taken up by the next. It holds keys: 0600 in a directory that
//! only root can enter.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use khost::{
    Error, Host, Result, Thing,
    fs::{self, Attributes},
};
use serde::{Deserialize, Serialize};

const DIR: &str = "/var/lib/k8steps/renewal";

/// What one renewal replaces.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    /// The old certificate can still be used: worth putting back.
    pub(crate) old_is_good: bool,
    /// In the order they are replaced; a key before its certificate.
    pub(crate) files: Vec<Replaced>,
}

/// One file.
#[derive(Serialize, Deserialize)]
pub(crate) struct Replaced {
    pub(crate) path: PathBuf,
    old: Content,
    new: Content,
    mode: u32,
    owner: Option<(u32, u32)>,
}

/// What is, or is to be, at a path.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Content {
    Absent,
    Text(String),
    Link(PathBuf),
}

/// The directory, for the journal: a reset in the middle takes it away.
pub(crate) fn thing() -> Thing {
    Thing::Tree(DIR.into())
}

/// When everything has been renewed, what is left of killed runs is of no use, and holds keys.
pub(crate) fn tidy(host: &Host) -> Result<()> {
    fs::remove_tree(&host.path(DIR))
}

impl Replaced {
    /// The file at `path`, to become `new`, with the mode and owner it has; a new one gets
    /// `attributes`.
    pub(crate) fn new(
        host: &Host,
        path: impl Into<PathBuf>,
        new: Content,
        attributes: Attributes,
    ) -> Result<Self> {
        let path = path.into();
        let real = host.path(&path);
        let (mut mode, mut owner) = (attributes.mode, attributes.owner);
        if let Some(found) = fs::look(&real)?
            && found.is_file()
        {
            mode = fs::mode(&found);
            owner = host.is_live().then(|| (found.uid(), found.gid()));
        }
        Ok(Self { old: Content::at(&real)?, new, mode, owner, path })
    }

    fn put(&self, host: &Host, content: &Content) -> Result<()> {
        let real = host.path(&self.path);
        if Content::at(&real)? == *content {
            return Ok(());
        }
        match content {
            Content::Absent => fs::remove(&real),
            Content::Link(target) => fs::link(&real, target),
            Content::Text(text) => {
                let attributes = Attributes { mode: self.mode, owner: self.owner };
                fs::write(&real, text.as_bytes(), attributes)
            }
        }
    }
}

impl Content {
    fn at(real: &Path) -> Result<Self> {
        if let Some(target) = fs::link_target(real)? {
            return Ok(Self::Link(target));
        }
        Ok(fs::read_text(real)?.map_or(Self::Absent, Self::Text))
    }
}

impl Record {
    fn path(host: &Host, name: &str) -> PathBuf {
        host.path(DIR).join(name)
    }

    /// The unfinished renewal of `name`, unless somebody else has changed its files since.
    pub(crate) fn read(host: &Host, name: &str) -> Result<Option<Self>> {
        let Some(text) = fs::read_text(&Self::path(host, name))? else { return Ok(None) };
        let Ok(record) = serde_json::from_str::<Self>(&text) else { return Ok(None) };
        for file in &record.files {
            let now = Content::at(&host.path(&file.path))?;
            if now != file.old && now != file.new && file.new != Content::Absent {
                return Ok(None);
            }
        }
        Ok(Some(record))
    }

    /// Make it durable.
    pub(crate) fn write(&self, host: &Host, name: &str) -> Result<()> {
        let text = serde_json::to_string(self).map_err(|error| {
            Error::host("renewal-failed", "cannot note what is renewed").because(error)
        })?;
        fs::make_dirs(&host.path(DIR), 0o700)?;
        let attributes = Attributes { mode: 0o600, owner: None };
        fs::write(&Self::path(host, name), text.as_bytes(), attributes)
    }

    /// Put the new files in their places.
    pub(crate) fn put_new(&self, host: &Host) -> Result<()> {
        self.files.iter().try_for_each(|file| file.put(host, &file.new))
    }

    /// Put the old ones back.
    pub(crate) fn put_old(&self, host: &Host) -> Result<()> {
        self.files.iter().rev().try_for_each(|file| file.put(host, &file.old))
    }

    /// It is over.
    pub(crate) fn forget(host: &Host, name: &str) -> Result<()> {
        fs::remove(&Self::path(host, name))?;
        fs::remove_empty_dir(&host.path(DIR)).map(drop)
    }
}
