//! One thing that is wanted, be it a file or an image: is it there, and how it gets there.

use std::collections::BTreeMap;

use khost::{Change, Result, fs};
use kspec::{
    Arch, Format, LockedFile,
    state::{Artifacts, Member},
};

use crate::{
    archive,
    download::{Address, Blob, Downloads, Source},
    elf, image,
    index::Descriptor,
    progress::Progress,
    source::Sources,
    store::Store,
    wanted::WantedImage,
};

/// One thing that is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum What<'a> {
    /// A program, or an archive of programs.
    File(&'a LockedFile),
    /// An image.
    Image(&'a WantedImage),
}

/// What came of fetching it: for an image, its manifest.
pub(crate) type Got = Option<Descriptor>;

impl What<'_> {
    /// The id of its step.
    pub(crate) fn id(&self) -> String {
        match self {
            Self::File(file) => format!("artifact:{}", file.name),
            Self::Image(image) => format!("image:{}", image.text),
        }
    }

    /// What people call it.
    pub(crate) fn title(&self) -> String {
        match self {
            Self::File(file) => format!("{} {}", file.name, file.version),
            Self::Image(image) => image.text.clone(),
        }
    }

    /// What fetching it would change; none when the store has it.
    pub(crate) fn look(&self, store: &Store) -> Result<Option<Change>> {
        match self {
            Self::File(file) => look(store, file),
            Self::Image(image) => image::look(store, image),
        }
    }

    /// Whether all its bytes are in the store already, so that nobody need be asked for any.
    pub(crate) fn is_here(&self, store: &Store) -> Result<bool> {
        match self {
            Self::File(file) => Ok(fs::digest(&store.blob(file.sha256))? == Some(file.sha256)),
            Self::Image(image) => image::is_here(store, image),
        }
    }

    /// Have its bytes in the store.
    pub(crate) fn fetch(
        &self,
        sources: &Sources,
        arch: Arch,
        downloads: &Downloads<'_>,
        progress: &Progress<'_>,
    ) -> Result<Got> {
        downloads.go_on()?;
        let store = downloads.store;
        let words = match (self.is_here(store)?, self) {
            (false, _) => ["fetching", "fetched"],
            (true, Self::File(_)) => ["unpacking", "unpacked"],
            (true, Self::Image(_)) => ["naming", "named"],
        };
        let transfer = progress.start(self.id(), self.title(), words);
        let got = match self {
            Self::File(file) => {
                if fs::digest(&store.blob(file.sha256))? != Some(file.sha256) {
                    let address = |url| Address { url, source: Source::Web };
                    let addresses: Vec<_> = sources.urls(file)?.into_iter().map(address).collect();
                    let at = |position, total| transfer.at(position, total);
                    let program = (file.format == Format::Binary).then_some(*file);
                    let (what, digest) = (&self.title(), file.sha256);
                    let blob = Blob { what, digest, size: None, program };
                    downloads.blob(blob, &addresses, &at)?;
                }
                if file.format == Format::TarGz {
                    archive::unpack(store, file)?;
                }
                None
            }
            Self::Image(image) => {
                let hosts = sources.hosts(&image.reference.registry)?;
                Some(image::fetch(downloads, &hosts, image, arch, &transfer)?)
            }
        };
        transfer.end();
        Ok(got)
    }
}

/// What phases install is hashed: the file, or the members of the archive.
fn look(store: &Store, file: &LockedFile) -> Result<Option<Change>> {
    let title = format!("{} {}", file.name, file.version);
    if file.format == Format::TarGz
        && let Some(contents) = archive::contents(store, file)?
        && store.size(file.sha256)? == Some(contents.size)
        && contents.intact(store, file)?
    {
        return Ok(None);
    }
    let wanted = file.sha256.to_string();
    let blob = store.blob(file.sha256);
    Ok(match (fs::digest(&blob)?, file.format) {
        (None, _) => Some(Change::new(format!("fetch {title} ({wanted})"))),
        (Some(found), Format::Binary) if found == file.sha256 => {
            elf::check(&blob, file)?;
            None
        }
        (Some(found), Format::TarGz) if found == file.sha256 => {
            Some(Change::new(format!("unpack {title}")))
        }
        (Some(found), _) => {
            Some(Change::values(format!("fetch {title} again"), found.to_string(), wanted))
        }
    })
}

/// The programs that `file` is or holds, for `artifacts.json`; none when it was never unpacked.
pub(crate) fn members(
    store: &Store,
    file: &LockedFile,
    record: Option<&Artifacts>,
) -> Result<Option<BTreeMap<String, Member>>> {
    if file.format == Format::Binary {
        let member = Member { path: Store::blob_name(file.sha256), sha256: file.sha256 };
        return Ok(Some([(file.name.clone(), member)].into()));
    }
    if let Some(contents) = archive::contents(store, file)? {
        let member = |(name, sha256): (String, _)| {
            let path = Store::member_name(file.sha256, &name);
            (name, Member { path, sha256 })
        };
        return Ok(Some(contents.files.into_iter().map(member).collect()));
    }
    // The same archive holds the same members as when it was last unpacked.
    let known = record.and_then(|record| record.files.get(&file.name));
    let place = Store::member_name(file.sha256, "");
    let of_it = |member: &Member| member.path.starts_with(&place);
    Ok(known.filter(|k| k.members.values().all(of_it)).map(|known| known.members.clone()))
}
