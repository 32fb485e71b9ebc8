//! A directory with this mode and this owner.

use std::path::PathBuf;

use crate::{
    Change, Context, Owner, Result, Status, Step, Thing,
    fs::{self, Attributes},
    steps::file::{differs_from, make_parents, missing_parents, not_a_directory},
};

/// A directory, or a link to one: then the directory behind it has the mode and the owner, and the
/// link stays. Missing parents are made, 0755.
#[derive(Debug, Clone)]
pub struct Directory {
    path: PathBuf,
    mode: u32,
    owner: Owner,
    filled: bool,
}

impl Directory {
    /// A directory at the host's absolute `path`, 0755, owned by root. Reset removes it if it was
    /// not there and is empty.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), mode: 0o755, owner: Owner::root(), filled: false }
    }

    /// Programs fill it while the node runs, and all of that is ours: reset removes the whole
    /// tree if the directory was not there before.
    #[must_use]
    pub fn filled(mut self) -> Self {
        self.filled = true;
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
}

impl Step for Directory {
    fn id(&self) -> String {
        format!("directory:{}", self.path.display())
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if fs::look(&context.host.path(&self.path))?.is_none() {
            let path = self.path.display();
            let what = format!("make directory {path} ({:04o} {})", self.mode, self.owner);
            return Ok(Status::Differs(Change::new(what)));
        }
        match fs::look_behind(&context.host.path_to(&self.path))? {
            Some(found) if found.is_dir() => {
                differs_from(context.host, &self.path, &found, self.mode, &self.owner)
            }
            _ => Err(not_a_directory(&self.path)),
        }
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = missing_parents(context.host, &self.path)?;
        let absent = fs::look(&context.host.path(&self.path))?.is_none();
        things.push(if self.filled && absent {
            Thing::Tree(self.path.clone())
        } else {
            Thing::Directory(self.path.clone())
        });
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        make_parents(host, &self.path)?;
        let attributes = Attributes { mode: self.mode, owner: host.ids(&self.owner)? };
        fs::make_dir(&host.path_to(&self.path), attributes)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, lchown, symlink},
        path::Path,
    };

    use super::Directory;
    use crate::{
        Context, Host, Owner, Status, Step as _, StepList, engine,
        error::Exit,
        report::{Loudness, Report},
    };

    fn quiet() -> Report {
        Report::new("test", false, Loudness::Quiet)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn make(path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// `/var/lib/etcd` on another disk, by a link of its own or one above it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "the hand of etcd, in a test")]
    fn the_directory_behind_a_link_counts_and_the_link_stays() {
        for (link, target) in [
            ("var/lib/etcd", "/disk/etcd"),
            ("var/lib/etcd", "../../disk/etcd"),
            ("var/lib", "/disk"),
            ("var/lib", "../disk"),
        ] {
            let root = tempfile::tempdir().unwrap();
            let (link, disk) = (root.path().join(link), root.path().join("disk/etcd"));
            make(&disk, 0o755);
            fs::write(disk.join("member"), "data").unwrap();
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            symlink(target, &link).unwrap();

            let (host, report) = (Host::new(root.path()), quiet());
            let mut steps = StepList::new();
            steps.add(Directory::new("/var/lib/etcd").mode(0o700).filled());
            let context = || Context::new(&host, &report, None);
            assert_eq!(engine::plan(&steps, &context()).unwrap(), Exit::Differs);
            engine::apply("test", &steps, &context()).unwrap();
            assert_eq!(mode(&disk), 0o700, "{target}");
            assert_eq!(engine::plan(&steps, &context()).unwrap(), Exit::Done);

            engine::reset("test", &host, &report).unwrap();
            assert_eq!(mode(&disk), 0o755, "{target}");
            assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
            assert_eq!(fs::read_to_string(disk.join("member")).unwrap(), "data");
        }
    }

    #[test]
    fn what_lies_behind_a_link_above_is_made_there() {
        let root = tempfile::tempdir().unwrap();
        make(&root.path().join("disk"), 0o755);
        fs::create_dir(root.path().join("var")).unwrap();
        symlink("/disk", root.path().join("var/lib")).unwrap();
        let (host, report) = (Host::new(root.path()), quiet());
        let mut steps = StepList::new();
        steps.add(Directory::new("/var/lib/etcd").mode(0o700));
        engine::apply("test", &steps, &Context::new(&host, &report, None)).unwrap();
        assert_eq!(mode(&root.path().join("disk/etcd")), 0o700);
        engine::reset("test", &host, &report).unwrap();
        assert_eq!(fs::read_dir(root.path().join("disk")).unwrap().count(), 0);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_in_the_way() {
        let root = tempfile::tempdir().unwrap();
        symlink("/gone", root.path().join("etcd")).unwrap();
        let (host, report) = (Host::new(root.path()), quiet());
        let context = || Context::new(&host, &report, None);
        let error = Directory::new("/etcd").check(&context()).unwrap_err();
        assert_eq!(error.code(), "not-a-directory");

        let mut steps = StepList::new();
        steps.add(Directory::new("/etcd/member/snap"));
        let error = engine::apply("test", &steps, &context()).unwrap_err();
        assert_eq!(error.code(), "not-a-directory");
        assert!(!root.path().join("gone").exists());
    }

    /// Owners count on the machine itself only, and only root gives them away.
    #[test]
    fn the_owner_behind_a_link_counts_unless_another_user_made_the_link() {
        let group = nix::unistd::Group::from_gid(65534.into()).unwrap();
        let user = nix::unistd::User::from_uid(65534.into()).unwrap();
        let (true, Some(user), Some(group)) = (Host::is_root(), user, group) else { return };
        let dir = tempfile::tempdir().unwrap();
        let (disk, link) = (dir.path().join("disk"), dir.path().join("etcd"));
        make(&disk, 0o700);
        chown(&disk, Some(1), Some(1)).unwrap();
        symlink(&disk, &link).unwrap();

        let (host, report) = (Host::new("/"), quiet());
        let context = Context::new(&host, &report, None);
        let step = Directory::new(&link).mode(0o700).owner(Owner::new(&user.name, &group.name));
        let Status::Differs(change) = step.check(&context).unwrap() else { panic!("as wanted") };
        assert!(change.what.starts_with("set the owner of"), "{}", change.what);
        step.apply(&context).unwrap();
        assert!(matches!(step.check(&context).unwrap(), Status::Done));
        let found = fs::metadata(&disk).unwrap();
        assert_eq!((found.uid(), found.gid()), (65534, 65534));
        assert_eq!(fs::symlink_metadata(&link).unwrap().uid(), 0, "the link was changed");

        lchown(&link, Some(65534), Some(65534)).unwrap();
        for error in [step.check(&context).unwrap_err(), step.apply(&context).unwrap_err()] {
            let error = error.chain();
            assert!(error.contains("is a link that user 65534 made"), "{error}");
        }
    }
}
