//! A file with these bytes, this mode and this owner.

use std::{
    fs::Metadata,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use kspec::Sha256;

use crate::{
    Change, Context, Detail, Error, Host, Owner, Result, Status, Step, Thing,
    fs::{self, Attributes},
};

/// A file. Missing parent directories are made, 0755.
#[derive(Debug, Clone)]
pub struct File {
    path: PathBuf,
    content: Content,
    mode: u32,
    owner: Owner,
}

#[derive(Clone)]
enum Content {
    Text(String),
    Binary(Vec<u8>),
    Secret(Vec<u8>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Binary(bytes) => f.debug_tuple("Binary").field(&Sha256::of(bytes)).finish(),
            Self::Secret(_) => f.write_str("Secret(..)"),
        }
    }
}

impl File {
    /// An empty file at the host's absolute `path`, 0644, owned by root.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let content = Content::Text(String::new());
        Self { path: path.into(), content, mode: 0o644, owner: Owner::root() }
    }

    /// What it says. Shown in plans as a diff.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.content = Content::Text(text.into());
        self
    }

    /// What it is when it is not for people to read: plans show digests.
    #[must_use]
    pub fn binary(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.content = Content::Binary(bytes.into());
        self
    }

    /// What it says, shown to nobody: plans show digests.
    #[must_use]
    pub fn secret(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.content = Content::Secret(bytes.into());
        self
    }

    /// Its permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Its owner.
    #[must_use]
    pub fn owner(mut self, owner: Owner) -> Self {
        self.owner = owner;
        self
    }

    fn bytes(&self) -> &[u8] {
        match &self.content {
            Content::Text(text) => text.as_bytes(),
            Content::Binary(bytes) | Content::Secret(bytes) => bytes,
        }
    }

    fn change(&self, what: String, before: &[u8]) -> Status {
        let detail = Some(match &self.content {
            Content::Text(text) => Detail::Diff(diff(&String::from_utf8_lossy(before), text)),
            Content::Binary(bytes) => Detail::Values {
                before: Sha256::of(before).to_string(),
                after: Sha256::of(bytes).to_string(),
            },
            Content::Secret(bytes) => Detail::Values {
                before: format!("{} (secret)", Sha256::of(before)),
                after: format!("{} (secret)", Sha256::of(bytes)),
            },
        });
        Status::Differs(Change { what, detail })
    }
}

impl Step for File {
    fn id(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let real = context.host.path(&self.path);
        let path = self.path.display();
        let present = match fs::look(&real)? {
            Some(found) if found.is_file() => fs::read(&real)?,
            _ => None,
        };
        let Some(present) = present else {
            let what = format!("create {path} ({:04o} {})", self.mode, self.owner);
            return Ok(self.change(what, &[]));
        };
        if present != self.bytes() {
            return Ok(self.change(format!("change {path}"), &present));
        }
        attributes_differ(context.host, &self.path, self.mode, &self.owner)
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        things.push(Thing::File(self.path.clone()));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        make_parents(host, &self.path)?;
        let attributes = Attributes { mode: self.mode, owner: host.ids(&self.owner)? };
        fs::write(&host.path(&self.path), self.bytes(), attributes)
    }
}

/// Whether mode or owner of what is at `path` differ from what is wanted.
pub(crate) fn attributes_differ(
    host: &Host,
    path: &Path,
    mode: u32,
    owner: &Owner,
) -> Result<Status> {
    let Some(found) = fs::look(&host.path(path))? else { return Ok(Status::Done) };
    differs_from(host, path, &found, mode, owner)
}

/// Whether mode or owner of what was found at `path` differ from what is wanted.
pub(crate) fn differs_from(
    host: &Host,
    path: &Path,
    found: &Metadata,
    mode: u32,
    owner: &Owner,
) -> Result<Status> {
    let path = path.display();
    if fs::mode(found) != mode {
        let (before, after) = (format!("{:04o}", fs::mode(found)), format!("{mode:04o}"));
        return Ok(Status::Differs(Change::values(
            format!("set the mode of {path}"),
            before,
            after,
        )));
    }
    if !host.is_live() || owner.ids()? == Some((found.uid(), found.gid())) {
        return Ok(Status::Done);
    }
    let before = format!("{}:{}", found.uid(), found.gid());
    let what = format!("set the owner of {path}");
    Ok(Status::Differs(Change::values(what, before, owner.to_string())))
}

/// Directories above `path` that are not there, outermost first.
///
/// # Errors
/// `not-a-directory`: they would have to lie in a file, or behind a link that leads nowhere.
pub(crate) fn missing_parents(host: &Host, path: &Path) -> Result<Vec<Thing>> {
    let mut missing = Vec::new();
    for parent in path.ancestors().skip(1) {
        if fs::look(&host.path(parent))?.is_some() {
            if !host.path_to(parent).is_dir() {
                return Err(not_a_directory(parent));
            }
            break;
        }
        missing.push(Thing::Directory(parent.to_owned()));
    }
    missing.reverse();
    Ok(missing)
}

/// The error when something else is where a directory is needed.
pub(crate) fn not_a_directory(path: &Path) -> Error {
    let path = path.display();
    Error::host("not-a-directory", format!("`{path}` is in the way"))
        .because("a directory is needed there and something else exists")
        .hint(format!("move `{path}` away and run again"))
}

/// Make the directories above `path`.
pub(crate) fn make_parents(host: &Host, path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| fs::make_dirs(&host.path_to(parent), 0o755))
}

/// The lines that differ, with two lines around them; each begins with ` `, `-` or `+`.
pub fn diff(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    let text = diff.unified_diff().context_radius(2).missing_newline_hint(false).to_string();
    text.lines().filter(|line| !line.starts_with("@@")).fold(String::new(), |mut all, line| {
        all += line;
        all.push('\n');
        all
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::File;
    use crate::{
        Context, Host, Status, Step as _,
        report::{Loudness, Report},
    };

    #[test]
    fn missing_same_different_and_wrong_mode() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let what = |file: &File| match file.check(&context).unwrap() {
            Status::Done => "done".to_owned(),
            Status::Differs(change) => change.what,
        };

        let file = File::new("/etc/deep/file").mode(0o640).text("one\n");
        assert_eq!(what(&file), "create /etc/deep/file (0640 root:root)");
        file.apply(&context).unwrap();
        assert_eq!(what(&file), "done");

        let real = root.path().join("etc/deep/file");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(what(&file), "set the mode of /etc/deep/file");
        file.apply(&context).unwrap();
        assert_eq!(what(&file.clone().text("two\n")), "change /etc/deep/file");
        assert_eq!(fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn a_secret_is_never_shown() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let file = File::new("/key").mode(0o600).secret("hunter2");
        let status = file.check(&Context::new(&host, &report, None)).unwrap();
        assert!(!format!("{status:?} {file:?}").contains("hunter2"));
    }
}
