//! A program of others that has read its files as they are now.

use std::path::PathBuf;

use crate::{
    Change, Cmd, Context, Error, Result, Status, Step, Thing, original::Restored,
    steps::stamp::Stamp, systemd,
};

/// A program that others installed and look after, and that is told when a file it reads changes.
/// As with a [`super::unit::Unit`], that it must be told is derived from state. When reset has put
/// the files back, it is told once more.
#[derive(Debug, Clone)]
pub struct Reload {
    stamp: Stamp,
    who: Who,
    leaves: Vec<Thing>,
}

/// Who is told, and how.
#[derive(Debug, Clone)]
enum Who {
    /// A systemd unit, if it runs.
    Unit(String),
    /// Whoever this command speaks to.
    Command(Vec<String>),
}

impl Reload {
    /// The service `unit`, if it runs: it reads `files` again, or starts again where it cannot.
    pub fn service<P: Into<PathBuf>>(unit: &str, files: impl IntoIterator<Item = P>) -> Self {
        Self::new(unit, Who::Unit(unit.into()), files)
    }

    /// The program `name`, whose command `line` makes it read `files` again.
    pub fn command<P: Into<PathBuf>>(
        name: &str,
        line: Vec<String>,
        files: impl IntoIterator<Item = P>,
    ) -> Self {
        Self::new(name, Who::Command(line), files)
    }

    fn new<P: Into<PathBuf>>(name: &str, who: Who, files: impl IntoIterator<Item = P>) -> Self {
        let inputs = files.into_iter().map(Into::into).collect();
        Self { stamp: Stamp { name: name.into(), inputs }, who, leaves: Vec::new() }
    }

    /// What it writes when it has read them. Reset puts these back before it tells the program.
    #[must_use]
    pub fn leaves(mut self, things: impl IntoIterator<Item = Thing>) -> Self {
        self.leaves.extend(things);
        self
    }
}

impl Step for Reload {
    fn id(&self) -> String {
        format!("reload:{}", self.stamp.name)
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        if let Who::Unit(unit) = &self.who
            && !systemd::show(unit)?.active
        {
            return Ok(Status::Done); // it reads them when it starts
        }
        let name = &self.stamp.name;
        Ok(match self.stamp.stale(context, &self.id())? {
            Some(why) => Status::Differs(Change::new(format!("let {name} read its files: {why}"))),
            None => Status::Done,
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = self.leaves.clone();
        things.extend([self.stamp.thing(), self.who.notice()]);
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let digest = self.stamp.digest(context.host)?;
        self.who.tell()?;
        self.stamp.write(context.host, digest)
    }
}

impl Who {
    /// So that reset tells them as well.
    fn notice(&self) -> Thing {
        match self {
            Self::Unit(name) => Thing::NoticeUnit(name.clone()),
            Self::Command(line) => Thing::Notice(line.clone()),
        }
    }

    fn tell(&self) -> Result<()> {
        match self {
            Self::Unit(name) => tell_unit(name),
            Self::Command(line) => tell(line),
        }
    }
}

fn tell(line: &[String]) -> Result<()> {
    let Some((program, args)) = line.split_first() else { return Ok(()) };
    Cmd::new(program).args(args).run().map(drop)
}

fn tell_unit(name: &str) -> Result<()> {
    systemd::forget_failures(name)?; // we may have told it several times in a few seconds
    systemd::systemctl(&["try-reload-or-restart", name]).map(drop)
}

/// Tell a program that what it reads was put back. One that is not installed any more need not
/// know.
pub(crate) fn notify(line: &[String]) -> Result<Restored> {
    told(tell(line), &line.join(" "))
}

/// The same for a unit. One that does not run reads its files when it starts.
pub(crate) fn notify_unit(name: &str) -> Result<Restored> {
    if !systemd::show(name)?.active {
        return Ok(Restored::Done);
    }
    told(tell_unit(name), &format!("systemctl try-reload-or-restart {name}"))
}

fn told(outcome: Result<()>, by_hand: &str) -> Result<Restored> {
    match outcome {
        Ok(()) => Ok(Restored::Done),
        Err(error) if error.code() == "program-missing" => Ok(Restored::Left(error.to_string())),
        Err(error) => Err(Error::host("notice-failed", "a program was not told of the change")
            .because(error.chain())
            .hint(format!("run `{by_hand}` by hand, and reset again"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Restored, notify};

    #[test]
    fn a_program_that_cannot_be_told() {
        let tell = |line: &str| notify(&line.split(' ').map(Into::into).collect::<Vec<_>>());
        assert_eq!(tell("true").unwrap(), Restored::Done);
        let error = tell("false now").unwrap_err();
        assert_eq!(error.code(), "notice-failed");
        assert_eq!(error.next(), Some("run `false now` by hand, and reset again"));
        let Restored::Left(why) = tell("k8steps-no-such-program").unwrap() else { panic!() };
        assert!(why.contains("k8steps-no-such-program"), "{why}");
    }
}
