//! Another version of etcd in the place of the one that runs, and that one back when the new one
//! does not work.
//!
//! What is replaced, programs, settings and unit, is kept from before the first of it changes
//! until the new etcd is healthy: so a run that was killed in between can go back as well.

use std::rc::Rc;

use khost::{
    Change, Context, Error, Kind, Result, Status, Step, Thing, fs, kept::Kept,
    steps::command::Guarded, systemd, wait::Seen,
};
use kspec::{
    paths::{BIN_DIR, STATE_DIR},
    state::Member,
};
use semver::Version;

use crate::{
    env,
    etcdctl::WRAPPER,
    health::{Healthy, LOOK, Probe},
    join::Place,
    launch::Launch,
    safeguard::Safeguard,
    service,
};

/// Id of the step that keeps what is about to be replaced.
pub(crate) const ID: &str = "etcd-kept";

/// Refuse what etcd itself would refuse once its program is in place: etcd goes up one minor
/// version at a time, and its data does not go down one (etcd's "Upgrading etcd clusters" and
/// "Downgrade"). Releases of the same minor version take each other's place.
///
/// # Errors
/// `etcd-downgrade`, `etcd-upgrade-skips`.
pub(crate) fn refuse(found: &Version, wanted: &Version) -> Result<()> {
    let minor = |version: &Version| (version.major, version.minor);
    let (old, new) = (minor(found), minor(wanted));
    let message = format!("etcd {wanted} cannot take the place of etcd {found}");
    if new < old {
        return Err(Error::input("etcd-downgrade", message)
            .because(format!("it does not read what {}.{} has written", old.0, old.1))
            .hint(format!(
                "name a release of etcd {}.{} in artifacts.lock; to go back, run `ketcd restore \
                 FILE --force` with a snapshot that etcd {}.{} saved (`ketcd backups`)",
                old.0, old.1, new.0, new.1
            )));
    }
    if new > old && new != (old.0, old.1 + 1) {
        return Err(Error::input("etcd-upgrade-skips", message)
            .because("etcd goes up one minor version at a time")
            .hint(format!(
                "name a release of etcd {}.{} in artifacts.lock first (`kfetch apply`, `ketcd \
                 apply`), then this one",
                old.0,
                old.1 + 1
            )));
    }
    Ok(())
}

/// From one etcd to another.
#[derive(Debug)]
pub(crate) struct Upgrade {
    kept: Kept,
    /// What the program will be.
    program: Option<Member>,
    /// The version that was last found healthy; none when that is not known.
    from: Option<Version>,
    to: Version,
}

impl Upgrade {
    /// To `programs` of version `to`.
    pub(crate) fn new(programs: &[(String, Member)], from: Option<Version>, to: &Version) -> Self {
        let program = programs.iter().find(|(name, _)| name == "etcd");
        let program = program.map(|(_, program)| program.clone());
        let mut files: Vec<String> =
            programs.iter().map(|(name, _)| format!("{BIN_DIR}/{name}")).collect();
        files.extend([env::PATH.to_owned(), service::PATH.to_owned()]);
        let kept = Kept::new(format!("{STATE_DIR}/etcd-before"), files);
        Self { kept, program, from, to: to.clone() }
    }

    /// Whether the program in place is another one than is wanted.
    fn is_due(&self, context: &Context<'_>) -> Result<bool> {
        let found = fs::digest(&context.host.path(format!("{BIN_DIR}/etcd")))?;
        let wanted = self.program.as_ref().map(|program| program.sha256);
        Ok(found.is_some() && found != wanted)
    }

    fn old(&self) -> String {
        self.from
            .as_ref()
            .map_or_else(|| "the etcd from before".into(), |old| format!("etcd {old}"))
    }
}

/// Before the program is replaced: a snapshot, and all that is needed to go back. An etcd that
/// is not healthy is nothing to go back to.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) upgrade: Rc<Upgrade>,
    pub(crate) probe: Probe,
    pub(crate) safeguard: Safeguard,
}

impl Step for Keep {
    fn id(&self) -> String {
        ID.into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let (host, upgrade) = (context.host, &self.upgrade);
        let runs = Place::has_data(host) && fs::exists(&host.path(WRAPPER));
        if upgrade.kept.is_there(host) || !runs || !upgrade.is_due(context)? {
            return Ok(Status::Done);
        }
        Ok(match self.probe.ask(host)? {
            Seen::Ready => Status::Differs(Change::new(format!(
                "keep {}, and a snapshot in {}, until etcd {} works",
                upgrade.old(),
                self.safeguard.dir(),
                upgrade.to
            ))),
            Seen::NotYet(_) => Status::Done,
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(self.upgrade.kept.things())
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.safeguard.save(context)?;
        self.upgrade.kept.keep(context.host)
    }
}

/// A step of the new etcd's start, after whose failure the old one is put back.
#[derive(Debug)]
pub(crate) struct Trial<S> {
    step: S,
    upgrade: Rc<Upgrade>,
    launch: Launch,
    healthy: Healthy,
}

impl<S: Step> Trial<S> {
    /// `step`; `launch` and `healthy` see to the old etcd's start.
    pub(crate) fn new(step: S, upgrade: &Rc<Upgrade>, launch: &Launch, healthy: &Healthy) -> Self {
        let (upgrade, launch, healthy) = (Rc::clone(upgrade), launch.clone(), healthy.clone());
        Self { step, upgrade, launch, healthy }
    }

    /// The old etcd takes its place again; the error that says so.
    fn go_back(&self, context: &Context<'_>, why: &Error) -> Error {
        let (old, new) = (self.upgrade.old(), format!("etcd {}", self.upgrade.to));
        context.report.say(&format!("{new} does not work, and {old} is put back: {}", why.chain()));
        if let Err(also) = self.put_back(context) {
            return Error::host(
                "etcd-rollback-failed",
                format!("{new} did not become healthy, nor did {old} in its place"),
            )
            .because(format!("{}\n{old}: {}", why.chain(), also.chain()))
            .hint(format!(
                "name the version of {old} in artifacts.lock, run `kfetch apply`, then `ketcd \
                 restore FILE --force` with the snapshot that was saved before (`ketcd backups`)"
            ));
        }
        Error::host(
            "etcd-upgrade-failed",
            format!("{new} did not become healthy; {old} is back in its place, and is"),
        )
        .because(why.chain())
        .hint(format!(
            "look with `{LOOK}`; name {old} in artifacts.lock and run `kfetch apply` until the \
             cause is gone: each `ketcd apply` tries {new} again"
        ))
    }

    fn put_back(&self, context: &Context<'_>) -> Result<()> {
        systemd::switch_off(service::NAME)?; // starting it switches it on again
        self.upgrade.kept.put_back(context.host)?;
        self.launch.apply(context)?;
        self.healthy.apply(context)?;
        self.upgrade.kept.forget(context.host)
    }
}

impl<S: Step> Step for Trial<S> {
    fn id(&self) -> String {
        self.step.id()
    }

    fn kind(&self) -> Kind {
        self.step.kind()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        self.step.check(context)
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        self.step.touches(context)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        self.step.apply(context).map_err(|error| {
            if self.upgrade.kept.is_there(context.host) {
                self.go_back(context, &error)
            } else {
                error
            }
        })
    }
}

/// The new etcd works: the old one is no longer needed.
pub(crate) fn settled(upgrade: &Upgrade) -> Guarded {
    let (kept, again) = (upgrade.kept.clone(), upgrade.kept.clone());
    let what = format!("let go of {}", upgrade.old());
    Guarded::new(
        "etcd-settled",
        move |context| {
            Ok(if kept.is_there(context.host) {
                Status::Differs(Change::new(what.clone()))
            } else {
                Status::Done
            })
        },
        move |context| again.forget(context.host),
    )
}

#[cfg(test)]
mod tests {
    use semver::Version;

    use super::refuse;

    #[test]
    fn one_minor_version_up_and_none_down() {
        let refused = |found: &str, wanted: &str| {
            let [found, wanted] = [found, wanted].map(|text| Version::parse(text).unwrap());
            refuse(&found, &wanted).err().map(|error| error.code().to_owned())
        };
        for (found, wanted) in
            [("3.5.34", "3.5.35"), ("3.5.35", "3.5.34"), ("3.5.35", "3.6.0"), ("3.6.1", "3.7.0")]
        {
            assert_eq!(refused(found, wanted), None, "{found} to {wanted}");
        }
        for (found, wanted, code) in [
            ("3.6.16", "3.5.35", "etcd-downgrade"),
            ("4.0.0", "3.6.16", "etcd-downgrade"),
            ("3.4.40", "3.6.16", "etcd-upgrade-skips"),
            ("3.6.16", "4.0.0", "etcd-upgrade-skips"),
        ] {
            assert_eq!(refused(found, wanted).as_deref(), Some(code), "{found} to {wanted}");
        }
    }
}
