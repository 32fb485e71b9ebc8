//! System users and groups, by shadow's own programs.

use nix::unistd::{Group as GroupEntry, User as UserEntry};

use crate::{Change, Cmd, Context, Error, Result, Status, Step, Thing};

/// A system group without a fixed number.
#[derive(Debug, Clone)]
pub struct Group {
    name: String,
}

/// A system user: no home is made, no login is possible.
#[derive(Debug, Clone)]
pub struct User {
    name: String,
    group: String,
    comment: String,
}

impl Group {
    /// The group `name`.
    pub fn new(name: &str) -> Self {
        Self { name: name.into() }
    }
}

impl User {
    /// The user `name`, in `group`, described as `comment`.
    pub fn new(name: &str, group: &str, comment: &str) -> Self {
        Self { name: name.into(), group: group.into(), comment: comment.into() }
    }
}

impl Step for Group {
    fn id(&self) -> String {
        format!("group:{}", self.name)
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        Ok(if group_exists(&self.name)? {
            Status::Done
        } else {
            Status::Differs(Change::new(format!("add group {}", self.name)))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Group(self.name.clone())])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        Cmd::new("groupadd").args(["--system", &self.name]).run().map(drop)
    }
}

impl Step for User {
    fn id(&self) -> String {
        format!("user:{}", self.name)
    }

    fn check(&self, _: &Context<'_>) -> Result<Status> {
        Ok(if user_exists(&self.name)? {
            Status::Done
        } else {
            Status::Differs(Change::new(format!("add user {} ({})", self.name, self.comment)))
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::User(self.name.clone())])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        let args = ["--system", "--no-create-home", "--shell", "/sbin/nologin", "--gid"];
        let cmd = Cmd::new("useradd").args(args).arg(&self.group);
        cmd.args(["--comment", &self.comment, &self.name]).run().map(drop)
    }
}

pub(crate) fn user_exists(name: &str) -> Result<bool> {
    UserEntry::from_name(name)
        .map(|user| user.is_some())
        .map_err(|error| lookup_failed(name, error))
}

pub(crate) fn group_exists(name: &str) -> Result<bool> {
    GroupEntry::from_name(name)
        .map(|group| group.is_some())
        .map_err(|error| lookup_failed(name, error))
}

fn lookup_failed(name: &str, errno: nix::errno::Errno) -> Error {
    Error::host("user-lookup-failed", format!("cannot look up `{name}`")).because(errno)
}

pub(crate) fn remove_user(name: &str) -> Result<()> {
    // 6: there is no such user (userdel(8)), which is what we want.
    Cmd::new("userdel").arg(name).accept(&[0, 6]).run().map(drop)
}

pub(crate) fn remove_group(name: &str) -> Result<()> {
    // 6: there is no such group (groupdel(8)); userdel may have taken it along.
    Cmd::new("groupdel").arg(name).accept(&[0, 6]).run().map(drop)
}
