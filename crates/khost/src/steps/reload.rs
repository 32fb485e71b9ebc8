//! A program of others that has read its files as they are now.

use std::path::PathBuf;

use crate::{
    Change, Cmd, Context, Error, Result, Status, Step, Thing, original::Restored,
    steps::stamp::Stamp, systemd,
};

const SYSTEMCTL: [&str; 2] = ["systemctl", "try-reload-or-restart"];

/// A program that others installed and look after, and that is told when a file it reads changes.
/// As with a [`super::unit::Unit`], that it must be told is derived from state. When reset has put
/// the files back, it is told once more.
#[derive(Debug, Clone)]
pub struct Reload {
    stamp: Stamp,
    unit: Option<String>,
    line: Vec<String>,
    leaves: Vec<Thing>,
}

impl Reload {
    /// The service `unit`, if it runs: it reads `files` again, or starts again where it cannot.
    pub fn service<P: Into<PathBuf>>(unit: &str, files: impl IntoIterator<Item = P>) -> Self {
        let line = SYSTEMCTL.into_iter().chain([unit]).map(Into::into).collect();
        Self { unit: Some(unit.into()), ..Self::command(unit, line, files) }
    }

    /// The program `name`, whose command `line` makes it read `files` again.
    pub fn command<P: Into<PathBuf>>(
        name: &str,
        line: Vec<String>,
        files: impl IntoIterator<Item = P>,
    ) -> Self {
        let inputs = files.into_iter().map(Into::into).collect();
        let stamp = Stamp { name: name.into(), inputs };
        Self { stamp, unit: None, line, leaves: Vec::new() }
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
        if let Some(unit) = &self.unit
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
        things.extend([self.stamp.thing(), Thing::Notice(self.line.clone())]);
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let digest = self.stamp.digest(context.host)?;
        tell(&self.line)?;
        self.stamp.write(context.host, digest)
    }
}

fn tell(line: &[String]) -> Result<()> {
    let Some((program, args)) = line.split_first() else { return Ok(()) };
    if let [program, verb, unit] = line
        && [program, verb] == SYSTEMCTL
    {
        systemd::forget_failures(unit)?; // we may have told it several times in a few seconds
    }
    Cmd::new(program).args(args).run().map(drop)
}

/// Tell a program that what it reads was put back. One that is not installed any more need not
/// know.
pub(crate) fn notify(line: &[String]) -> Result<Restored> {
    match tell(line) {
        Ok(()) => Ok(Restored::Done),
        Err(error) if error.code() == "program-missing" => Ok(Restored::Left(error.to_string())),
        Err(error) => Err(Error::host("notice-failed", "a program was not told of the change")
            .because(error.chain())
            .hint(format!("run `{}` by hand, and reset again", line.join(" ")))),
    }
}
