//! What `SELinux` does now, and how it labels files. What it does after the next boot is a matter
//! of its file.

use std::path::PathBuf;

use crate::{Change, Cmd, Context, Host, Result, Status, Step, Thing, fs};

/// Exists where `SELinux` is on: `1` where it forbids, `0` where it only logs (selinux(8)).
const ENFORCE: &str = "/sys/fs/selinux/enforce";

/// Whether it forbids, or logs what it would forbid and lets it happen. Fine where it is off.
#[derive(Debug, Clone, Copy)]
pub struct Mode {
    forbids: bool,
}

impl Mode {
    /// It only logs.
    pub fn permissive() -> Self {
        Self { forbids: false }
    }

    /// It forbids.
    pub fn enforcing() -> Self {
        Self { forbids: true }
    }
}

impl Step for Mode {
    fn id(&self) -> String {
        "selinux".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if !is_on(context.host) || is_enforcing(context.host)? == self.forbids {
            return Ok(Status::Done);
        }
        let (logs, forbids) = ("permissive", "enforcing");
        Ok(Status::Differs(if self.forbids {
            Change::values("let SELinux forbid", logs, forbids)
        } else {
            Change::values("let SELinux only log", forbids, logs)
        }))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::Selinux])
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        set_enforcing(self.forbids)
    }
}

/// Whether `SELinux` is on, be it only to log.
pub fn is_on(host: &Host) -> bool {
    fs::exists(&host.path(ENFORCE))
}

pub(crate) fn is_enforcing(host: &Host) -> Result<bool> {
    Ok(fs::read_text(&host.path(ENFORCE))?.is_some_and(|text| text.trim() == "1"))
}

pub(crate) fn set_enforcing(enforcing: bool) -> Result<()> {
    Cmd::new("setenforce").arg(if enforcing { "1" } else { "0" }).run().map(drop)
}

/// The type that files shall have.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// The files, as semanage-fcontext(8) wants them: a regular expression for the whole path.
    pub pattern: &'static str,
    /// A path that the pattern matches.
    pub path: &'static str,
    /// The type, e.g. `kubelet_exec_t`.
    pub kind: &'static str,
}

/// The policy says which type these files have, and they have it. What the policy says already is
/// not said again.
#[derive(Debug, Clone)]
pub struct Labels {
    labels: Vec<Label>,
    deep: Vec<&'static str>,
}

impl Labels {
    /// `labels`; whatever they name has its label, and so has all that is below the directories
    /// `deep`.
    pub fn new(labels: &[Label], deep: &[&'static str]) -> Self {
        Self { labels: labels.to_vec(), deep: deep.to_vec() }
    }

    /// Those that the policy says otherwise, and not because the operator told it to.
    fn unknown(&self) -> Result<Vec<Label>> {
        let paths = self.labels.iter().map(|label| label.path);
        // One line a path, in the same order.
        let contexts = Cmd::new("matchpathcon").arg("-n").args(paths).run()?.stdout;
        let kinds = contexts.lines().map(kind).chain(std::iter::repeat(None));
        let wrong =
            self.labels.iter().zip(kinds).filter(|(label, found)| *found != Some(label.kind));
        let mut unknown: Vec<_> = wrong.map(|(label, _)| *label).collect();
        if !unknown.is_empty() {
            let told = told()?;
            unknown.retain(|label| !is_told(&told, label.pattern));
        }
        Ok(unknown)
    }

    /// Files that have another label than the policy says, as restorecon(8) names them.
    fn mislabelled(&self, host: &Host) -> Result<String> {
        let found = restorecon(host, &["-n", "-v"], self.labels.iter().map(|label| label.path))?;
        Ok(found + &restorecon(host, &["-n", "-v", "-R"], self.deep.iter().copied())?)
    }
}

impl Step for Labels {
    fn id(&self) -> String {
        "selinux-labels".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if !is_on(context.host) {
            return Ok(Status::Done);
        }
        let unknown = self.unknown()?;
        if !unknown.is_empty() {
            let names: Vec<_> = unknown.iter().map(|label| label.pattern).collect();
            let what = format!("tell SELinux the types of {}", names.join(", "));
            return Ok(Status::Differs(Change::new(what)));
        }
        Ok(match self.mislabelled(context.host)?.lines().next() {
            Some(first) => Status::Differs(Change::new(format!("label files anew: {first}"))),
            None => Status::Done,
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        let unknown = self.unknown()?;
        Ok(vec![Thing::Labels(unknown.iter().map(|label| label.pattern.to_owned()).collect())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let line = |label: &Label| format!("fcontext -a -t {} '{}'", label.kind, label.pattern);
        import(&self.unknown()?.iter().map(line).collect::<Vec<_>>())?;
        restorecon(context.host, &[], self.labels.iter().map(|label| label.path))?;
        restorecon(context.host, &["-R"], self.deep.iter().copied())?;
        Ok(())
    }
}

/// The type in a context such as `system_u:object_r:kubelet_exec_t:s0`.
fn kind(context: &str) -> Option<&str> {
    context.trim().split(':').nth(2)
}

/// Let the policy's own program do these commands of semanage(8), all or none of them.
fn import(lines: &[String]) -> Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    Cmd::new("semanage").arg("import").input(lines.join("\n") + "\n").run().map(drop)
}

/// What the policy was told on this machine, one pattern a line (semanage-fcontext(8)).
fn told() -> Result<String> {
    let list = ["fcontext", "--list", "--locallist", "--noheading"];
    Ok(Cmd::new("semanage").args(list).run()?.stdout)
}

fn is_told(told: &str, pattern: &str) -> bool {
    told.lines().any(|line| line.split_whitespace().next() == Some(pattern))
}

/// Run restorecon(8) on those of `paths` that exist, and return what it says.
fn restorecon<'a>(
    host: &Host,
    args: &[&str],
    paths: impl Iterator<Item = &'a str>,
) -> Result<String> {
    let paths: Vec<_> = paths.map(|path| host.path(path)).filter(|path| fs::exists(path)).collect();
    if paths.is_empty() {
        return Ok(String::new());
    }
    Ok(Cmd::new("restorecon").args(args.iter().copied()).args(paths).run()?.stdout)
}

/// Give what was just made at `things` the labels of the policy: a file that is moved into place
/// brings that of the directory it was made in. Nothing where `SELinux` is off.
pub(crate) fn relabel(host: &Host, things: &[Thing]) -> Result<()> {
    if !host.is_live() || !is_on(host) {
        return Ok(());
    }
    let path = |thing: &Thing| match thing {
        Thing::File(path) | Thing::Lines(path) | Thing::Directory(path) => Some(path.clone()),
        _ => None,
    };
    let paths: Vec<PathBuf> =
        things.iter().filter_map(path).filter(|path| fs::exists(path)).collect();
    if paths.is_empty() {
        return Ok(());
    }
    match Cmd::new("restorecon").args(paths).run() {
        Err(error) if error.code() == "program-missing" => Ok(()), // nobody labels files here
        done => done.map(drop),
    }
}

/// Let the policy forget the labels of `patterns`, those that it still knows.
pub(crate) fn forget(patterns: &[String]) -> Result<()> {
    let told = told()?;
    let known = patterns.iter().filter(|pattern| is_told(&told, pattern));
    let lines: Vec<_> = known.map(|pattern| format!("fcontext -d '{pattern}'")).collect();
    import(&lines)
}

#[cfg(test)]
mod tests {
    use super::{is_told, kind};

    #[test]
    fn what_was_told_is_found_by_its_whole_pattern() {
        let told = "/etc/cni(/.*)?      all files     system_u:object_r:container_file_t:s0 \n";
        assert!(is_told(told, "/etc/cni(/.*)?"));
        assert!(!is_told(told, "/etc/cni") && !is_told("", "/etc/cni(/.*)?"));
    }

    #[test]
    fn the_type_is_the_third_part() {
        assert_eq!(kind("system_u:object_r:kubelet_exec_t:s0\n"), Some("kubelet_exec_t"));
        assert_eq!(kind("<<none>>\n"), None);
        assert_eq!(kind(""), None);
    }
}
