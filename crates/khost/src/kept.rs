//! Files as they are, kept until what takes their place has shown that it works.

use std::{
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    Host, Result, Thing,
    fs::{self, Attributes},
    steps::selinux,
};

/// Some files of the host, and the directory where they are kept.
#[derive(Debug, Clone)]
pub struct Kept {
    dir: PathBuf,
    files: Vec<PathBuf>,
}

impl Kept {
    /// `files`, to be kept in the directory `dir`: absolute paths on the host.
    pub fn new<P: Into<PathBuf>>(
        dir: impl Into<PathBuf>,
        files: impl IntoIterator<Item = P>,
    ) -> Self {
        Self { dir: dir.into(), files: files.into_iter().map(Into::into).collect() }
    }

    fn unfinished(&self) -> PathBuf {
        self.dir.with_extension("part")
    }

    /// Where the file at this place of the list is kept in `dir`: two may have the same name.
    fn place(dir: &Path, at: usize) -> PathBuf {
        dir.join(at.to_string())
    }

    /// Whether they are kept, all of them.
    pub fn is_there(&self, host: &Host) -> bool {
        fs::exists(&host.path(&self.dir))
    }

    /// What [`Self::keep`] makes.
    pub fn things(&self) -> Vec<Thing> {
        vec![Thing::Tree(self.dir.clone()), Thing::Tree(self.unfinished())]
    }

    /// Keep them as they are now, with their modes and owners: all of them or, killed, none. One
    /// that is not there is kept as missing.
    pub fn keep(&self, host: &Host) -> Result<()> {
        let (dir, unfinished) = (host.path(&self.dir), host.path(self.unfinished()));
        fs::remove_tree(&unfinished)?;
        if let Some(parent) = dir.parent() {
            fs::make_dirs(parent, 0o755)?;
        }
        fs::make_dir(&unfinished, Attributes { mode: 0o700, owner: None })?;
        for (at, file) in self.files.iter().enumerate() {
            copy(&host.path(file), &Self::place(&unfinished, at))?;
        }
        fs::remove_tree(&dir)?;
        fs::rename(&unfinished, &dir)
    }

    /// Let all of them be as they were when they were kept.
    pub fn put_back(&self, host: &Host) -> Result<()> {
        let dir = host.path(&self.dir);
        for (at, file) in self.files.iter().enumerate() {
            copy(&Self::place(&dir, at), &host.path(file))?;
        }
        let things: Vec<_> = self.files.iter().cloned().map(Thing::File).collect();
        selinux::relabel(host, &things)
    }

    /// Let go of what was kept.
    pub fn forget(&self, host: &Host) -> Result<()> {
        fs::remove_tree(&host.path(&self.dir))
    }
}

/// Make `to` what `from` is, or missing if that is.
fn copy(from: &Path, to: &Path) -> Result<()> {
    match (fs::look(from)?, fs::digest(from)?) {
        (Some(metadata), Some(digest)) => {
            let owner = Some((metadata.uid(), metadata.gid()));
            fs::copy(from, to, digest, Attributes { mode: fs::mode(&metadata), owner })
        }
        _ => fs::remove(to),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests meddle")]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::Kept;
    use crate::Host;

    #[test]
    fn files_come_back_as_they_were() {
        let tree = tempfile::tempdir().unwrap();
        let host = Host::new(tree.path());
        let [one, other, missing] = ["/a/x", "/b/x", "/b/y"].map(|path| host.path(path));
        for (path, mode) in [(&one, 0o755), (&other, 0o640)] {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("old {mode:o}")).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let kept = Kept::new("/state/before", ["/a/x", "/b/x", "/b/y"]);
        assert!(!kept.is_there(&host));
        kept.keep(&host).unwrap();
        assert!(kept.is_there(&host));

        fs::write(&one, "new").unwrap();
        fs::remove_file(&other).unwrap();
        fs::write(&missing, "new").unwrap();
        kept.put_back(&host).unwrap();
        for (path, mode) in [(&one, 0o755), (&other, 0o640)] {
            assert_eq!(fs::read_to_string(path).unwrap(), format!("old {mode:o}"));
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, mode);
        }
        assert!(!missing.exists());

        // What a killed run left half kept is not taken for kept.
        kept.forget(&host).unwrap();
        fs::create_dir_all(host.path("/state/before.part")).unwrap();
        assert!(!kept.is_there(&host));
        kept.keep(&host).unwrap();
        assert!(kept.is_there(&host) && !host.path("/state/before.part").exists());
        kept.forget(&host).unwrap();
        kept.forget(&host).unwrap();
        assert_eq!(fs::read_dir(host.path("/state")).unwrap().count(), 0);
    }
}
