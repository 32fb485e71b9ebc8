//! A program that has the machine alone, with all that it starts.

use std::{
    ffi::OsString,
    io,
    process::{Child, Command, ExitStatus},
};

use nix::{
    sys::signal::{SigSet, Signal, kill},
    unistd::Pid,
};

use super::Lock;
use crate::{Error, Host, Result, error::Exit};

/// Run `command`; meanwhile nothing changes the machine but what it starts. Ends as it does.
///
/// # Errors
/// `already-running`, `program-missing`.
pub fn run_alone(host: &Host, command: &[OsString]) -> Result<Exit> {
    let lock = Lock::take_pipeline(host)?;
    let program = command.first().map(|word| word.to_string_lossy().into_owned());
    let program = program.unwrap_or_default();
    let failed = |error| {
        Error::host("program-missing", format!("cannot run `{program}`"))
            .because(error)
            .hint("name a program, and its arguments after it")
    };
    let status = started(command).and_then(attended).map_err(failed);
    lock.remove()?;
    Ok(match status?.code() {
        Some(0) => Exit::Done,
        Some(2) => Exit::BadInput,
        Some(3) => Exit::Differs,
        _ => Exit::Failed,
    })
}

#[expect(clippy::disallowed_methods, reason = "it has the terminal and all the time it wants")]
fn started(command: &[OsString]) -> io::Result<Child> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    Command::new(program).args(arguments).spawn()
}

/// Wait for its end. To end this process is to end that one: what is typed at the terminal goes to
/// both, and it is the other that answers.
fn attended(mut child: Child) -> io::Result<ExitStatus> {
    let mut signals = SigSet::empty();
    let passed_on = [Signal::SIGTERM, Signal::SIGHUP];
    for signal in passed_on.into_iter().chain([Signal::SIGCHLD, Signal::SIGINT, Signal::SIGQUIT]) {
        signals.add(signal);
    }
    signals.thread_block()?; // after it was started: a child has the mask of its parent
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        let signal = signals.wait()?;
        if passed_on.contains(&signal) {
            let _ = kill(Pid::from_raw(child.id().cast_signed()), signal); // it may be gone already
        }
    }
}
