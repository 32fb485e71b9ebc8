//! What `SELinux` does now. What it does after the next boot is a matter of its file.

use crate::{Change, Cmd, Context, Host, Result, Status, Step, Thing, fs};

/// Exists where `SELinux` is on: `1` where it forbids, `0` where it only logs (selinux(8)).
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// `SELinux` logs what it would forbid, and lets it happen. Fine where it is off.
#[derive(Debug, Clone, Copy)]
pub struct Permissive;

impl Step for Permissive {
    fn id(&self) -> String {
        "selinux".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(if is_enforcing(context.host)? {
            Status::Differs(Change::values("let SELinux only log", "enforcing", "permissive"))
        } else {
            Status::Done
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Selinux])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        set_enforcing(false)
    }
}

pub(crate) fn is_enforcing(host: &Host) -> Result<bool> {
    Ok(fs::read_text(&host.path(ENFORCE))?.is_some_and(|text| text.trim() == "1"))
}

pub(crate) fn set_enforcing(enforcing: bool) -> Result<()> {
    Cmd::new("setenforce").arg(if enforcing { "1" } else { "0" }).run().map(drop)
}
