//! Reading an archive that may be meant badly: nothing of it is believed, and all of it is limited.
//!
//! Links and directories are never made: members are placed side by side, by their own names. What
//! only a badly meant archive holds is refused all the same, so that somebody hears of it.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, BufReader, Read},
    path::{Component, Path},
};

use flate2::bufread::MultiGzDecoder;
use khost::{
    Error, Result,
    fs::{self, Attributes},
};
use kspec::{LockedFile, Sha256};
use tar::{Archive, Entry, EntryType};

use crate::{
    archive::{is_inside, matches},
    elf,
};

/// Headers, long names and extensions of one member: these are read into memory.
const HEADERS: u64 = 1 << 20;
/// Members of one archive.
const MEMBERS: usize = 100_000;
/// How much larger than the archive its contents may be. Programs shrink to a third, texts to a
/// tenth, and only zeros to a thousandth.
const RATIO: u64 = 50;
/// Contents that are fine whatever the archive's size.
const SMALL: u64 = 16 << 20;

/// Take the members that `file` names from `blob`, and put them into the directory `into`.
pub(crate) fn extract(
    blob: &Path,
    file: &LockedFile,
    into: &Path,
) -> Result<BTreeMap<String, Sha256>> {
    let source = File::open(blob).map_err(|error| Error::io("read", blob, error))?;
    let size = source.metadata().map_err(|error| Error::io("read", blob, error))?.len();
    let meter = Meter::new(size.saturating_mul(RATIO).max(SMALL));
    let packed = BufReader::with_capacity(1 << 16, source);
    let mut archive = Archive::new(Metered { bytes: MultiGzDecoder::new(packed), meter: &meter });
    let mut taking = Taking { blob, file, into, meter: &meter, files: [].into(), met: [].into() };
    taking.members(&mut archive)?;
    // What follows the last member is nothing but padding; its check sum comes after it.
    meter.allow(u64::MAX);
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(|e| taking.unreadable(e))?;
    taking.complete()
}

/// One archive, and what has been taken from it.
struct Taking<'a> {
    blob: &'a Path,
    file: &'a LockedFile,
    into: &'a Path,
    meter: &'a Meter,
    files: BTreeMap<String, Sha256>,
    met: BTreeSet<&'a str>,
}

impl Taking<'_> {
    fn members(&mut self, archive: &mut Archive<impl Read>) -> Result<()> {
        self.meter.allow(HEADERS);
        let entries = archive.entries().map_err(|error| self.unreadable(error))?;
        for (count, entry) in entries.enumerate() {
            let mut entry = entry.map_err(|error| self.unreadable(error))?;
            if count >= MEMBERS {
                return Err(self.unsafe_because(format!("it has more than {MEMBERS} members")));
            }
            self.meter.allow(entry.size());
            self.member(&mut entry)?;
            io::copy(&mut entry, &mut io::sink()).map_err(|error| self.unreadable(error))?;
            self.meter.allow(HEADERS);
        }
        Ok(())
    }

    fn member(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<()> {
        let path = entry.path().map_err(|error| self.unreadable(error))?.into_owned();
        let shown = path.display();
        if !is_inside(&path) {
            return Err(self.unsafe_because(format!("its member `{shown}` would lie outside")));
        }
        let kind = entry.header().entry_type();
        match kind {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => return Ok(()),
            EntryType::Symlink | EntryType::Link => {
                let target = entry.link_name().map_err(|error| self.unreadable(error))?;
                let target = target.unwrap_or_default();
                let from = if kind == EntryType::Link { None } else { path.parent() };
                if !stays_inside(from.unwrap_or(Path::new("")), &target) {
                    let link = format!("its link `{shown}` leads out, to `{}`", target.display());
                    return Err(self.unsafe_because(link));
                }
                return Ok(());
            }
            _ => {
                let what = format!("its member `{shown}` is no file, directory or link");
                return Err(self.unsafe_because(what));
            }
        }
        let Some(pattern) = self.file.members.iter().find(|pattern| matches(pattern, &path)) else {
            return Ok(());
        };
        self.met.insert(pattern);
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if self.files.contains_key(&name) {
            return Err(Error::input(
                "member-twice",
                format!("two members of `{}` are called `{name}`", self.file.url),
            )
            .hint(format!("name only one of them in `members` of `{}`", self.file.name)));
        }
        let digest = self.place(entry, &path, &self.into.join(&name))?;
        self.files.insert(name, digest);
        Ok(())
    }

    /// Write one member to `to`, 0755, durably.
    fn place(&self, from: &mut impl Read, path: &Path, to: &Path) -> Result<Sha256> {
        let mut head = Vec::new();
        let read = from.by_ref().take(elf::HEAD as u64).read_to_end(&mut head);
        read.map_err(|error| self.unreadable(error))?;
        let what = format!("`{}` of `{}`", path.display(), self.file.url);
        elf::check_head(&head, self.file, &what)?;
        let placed = File::create_new(to).and_then(|mut placed| {
            let digest = fs::copy_hashed(&mut head.as_slice().chain(from), &mut placed)?;
            placed.sync_all()?;
            Ok(digest)
        });
        let digest = placed.map_err(|error| {
            if self.meter.is_broken() {
                self.unreadable(error)
            } else {
                Error::io("write", to, error)
            }
        })?;
        fs::set(to, Attributes { mode: 0o755, owner: None })?;
        Ok(digest)
    }

    /// All that was named has been there.
    fn complete(self) -> Result<BTreeMap<String, Sha256>> {
        let mut named = self.file.members.iter();
        let Some(lacking) = named.find(|pattern| !self.met.contains(pattern.as_str())) else {
            return Ok(self.files);
        };
        let (url, name) = (&self.file.url, &self.file.name);
        Err(Error::input("member-missing", format!("`{url}` has no member `{lacking}`")).hint(
            format!(
                "correct `members` of `{name}` in artifacts.lock; `tar -tzf {}` lists what \
                 there is",
                self.blob.display()
            ),
        ))
    }

    fn unreadable(&self, error: io::Error) -> Error {
        if let Some(limit) = self.meter.passed() {
            return self.unsafe_because(limit);
        }
        let what = format!("`{}` is not a sound .tar.gz archive", self.file.url);
        Error::input("archive-unreadable", what).because(error).hint(format!(
            "correct `format` of `{}` in artifacts.lock; if that is right, do not use this archive",
            self.file.name
        ))
    }

    fn unsafe_because(&self, cause: String) -> Error {
        Error::host("archive-unsafe", format!("`{}` must not be unpacked", self.file.url))
            .because(cause)
            .hint("do not use this archive; report it to those who publish it")
    }
}

/// Whether a link in the directory `from` to `target` ends inside the archive.
fn stays_inside(from: &Path, target: &Path) -> bool {
    let mut depth = 0_usize;
    for part in from.components().chain(target.components()) {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            _ => return false,
        }
    }
    true
}

/// How much may still be read.
struct Meter {
    total: u64,
    /// Of all that there is.
    whole: Cell<u64>,
    /// Of what comes next.
    part: Cell<u64>,
    broken: Cell<bool>,
}

impl Meter {
    fn new(total: u64) -> Self {
        Self { total, whole: Cell::new(total), part: Cell::new(0), broken: Cell::new(false) }
    }

    /// So much may come next.
    fn allow(&self, bytes: u64) {
        self.part.set(bytes);
    }

    /// Whether reading failed.
    fn is_broken(&self) -> bool {
        self.broken.get()
    }

    /// The limit at which reading ended.
    fn passed(&self) -> Option<String> {
        let (whole, part) = (self.whole.get() == 0, self.part.get() == 0);
        match (self.is_broken(), whole, part) {
            (true, true, _) => Some(format!("it unpacks to more than {} bytes", self.total)),
            (true, _, true) => Some(format!("one of its headers is longer than {HEADERS} bytes")),
            _ => None,
        }
    }
}

/// Bytes that come until the limits of the meter are reached.
struct Metered<'a, R> {
    bytes: R,
    meter: &'a Meter,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Meter { whole, part, broken, .. } = self.meter;
        let most = whole.get().min(part.get()).min(buffer.len() as u64);
        let most = usize::try_from(most).unwrap_or(buffer.len());
        if most == 0 && !buffer.is_empty() {
            broken.set(true);
            return Err(io::Error::other("a limit is reached"));
        }
        match self.bytes.read(&mut buffer[..most]) {
            Ok(length) => {
                whole.set(whole.get() - length as u64);
                part.set(part.get() - length as u64);
                Ok(length)
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::Interrupted {
                    broken.set(true);
                }
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests;
