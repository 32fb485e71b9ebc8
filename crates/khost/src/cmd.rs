//! Running other programs: one place, with a limit, a log line and a useful error.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, BufReader, Read, Write},
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::{
    error::{Error, Result},
    events,
};

/// A program to run. Secrets go in by [`Cmd::input`], never as arguments.
#[derive(Debug)]
#[must_use]
pub struct Cmd {
    program: String,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    input: Vec<u8>,
    limit: Duration,
    accept: &'static [i32],
}

/// What a program left behind.
#[derive(Debug)]
pub struct Output {
    /// Exit code; 128 + signal when it was killed.
    pub code: i32,
    /// Standard output, with bytes that are not UTF-8 replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

impl Cmd {
    /// `program`, found in `PATH`, with no arguments and a limit of two minutes.
    pub fn new(program: impl Into<String>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            input: Vec::new(),
            limit: Duration::from_secs(120),
            accept: &[0],
        }
    }

    /// Add an argument.
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Add arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Set a variable of its environment; not for secrets.
    pub fn env(mut self, key: &str, value: impl Into<OsString>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    /// Feed it `bytes` on standard input.
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Kill it when it takes longer than `limit`.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Exit codes that are no error; without this, only 0.
    pub fn accept(mut self, codes: &'static [i32]) -> Self {
        self.accept = codes;
        self
    }

    /// The command as a person would type it.
    pub fn line(&self) -> String {
        let args = self.args.iter().map(|arg| arg.to_string_lossy());
        std::iter::once(self.program.as_str().into()).chain(args).collect::<Vec<_>>().join(" ")
    }

    /// Run to the end.
    ///
    /// # Errors
    /// When it cannot be started, takes too long, or ends with a code that is not accepted; the
    /// last lines it wrote are the cause.
    pub fn run(self) -> Result<Output> {
        self.run_telling(&mut |_| {})
    }

    /// Run to the end, with `tell` hearing each line of its standard output as it comes: for
    /// programs that take long and say what they do.
    pub fn run_telling(self, tell: &mut dyn FnMut(&str)) -> Result<Output> {
        let (started, began) = (Instant::now(), events::now());
        let mut child = self.spawn()?;
        let (output, fed) = self.attend(&mut child, tell)?;
        events::ran(&self.line(), began, output.code);
        tracing::debug!(code = output.code, took = ?started.elapsed(), "{}", self.line());
        if started.elapsed() >= self.limit && output.code == 128 + Signal::SIGKILL as i32 {
            let limit = self.limit.as_secs();
            let error = Error::host(
                "program-too-slow",
                format!("`{}` did not end within {limit} s", self.line()),
            );
            return Err(error.because(last_lines(&output)));
        }
        if !self.accept.contains(&output.code) {
            let message = format!("`{}` failed with code {}", self.line(), output.code);
            return Err(Error::host("program-failed", message).because(last_lines(&output)));
        }
        fed.map_err(|error| {
            Error::host("program-input", format!("`{}` did not take its input", self.line()))
                .because(error)
        })?;
        Ok(output)
    }

    #[expect(clippy::disallowed_methods, reason = "the one place programs are started")]
    fn spawn(&self) -> Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(&self.args).envs(self.env.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| {
            let missing = error.kind() == io::ErrorKind::NotFound;
            let failed = Error::host(
                if missing { "program-missing" } else { "program-failed" },
                format!("cannot start `{}`", self.program),
            );
            let failed = failed.because(error);
            if missing {
                failed.hint(format!("install `{}` or put it into PATH", self.program))
            } else {
                failed
            }
        })
    }

    /// Feed and read the child until it ends, killing it at the limit.
    fn attend(
        &self,
        child: &mut Child,
        tell: &mut dyn FnMut(&str),
    ) -> Result<(Output, io::Result<()>)> {
        let pid = Pid::from_raw(child.id().cast_signed());
        let (mut stdin, stdout, stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (ended, watch) = mpsc::channel::<()>();
        let limit = self.limit;
        thread::scope(|scope| {
            scope.spawn(move || {
                if watch.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                    let _ = kill(pid, Signal::SIGKILL); // it may have ended this instant
                }
            });
            let fed = scope.spawn(move || match stdin.as_mut() {
                Some(stdin) => stdin.write_all(&self.input),
                None => Ok(()),
            });
            let errors = scope.spawn(move || drain(stderr));
            let stdout = drain_lines(stdout, tell);
            let stderr = errors.join().unwrap_or_default();
            let status = child.wait();
            drop(ended);
            let fed = fed.join().unwrap_or_else(|_| Err(io::Error::other("writer panicked")));
            let status = status.map_err(|error| {
                Error::host("program-failed", format!("lost track of `{}`", self.line()))
                    .because(error)
            })?;
            Ok((Output { code: code(status), stdout, stderr }, fed))
        })
    }
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default())
}

fn drain(pipe: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        let _ = pipe.read_to_end(&mut bytes); // what was read until a failure is what there is
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Like [`drain`], telling each line as it comes.
fn drain_lines(pipe: Option<impl Read>, tell: &mut dyn FnMut(&str)) -> String {
    let mut bytes = Vec::new();
    let mut pipe = pipe.map(BufReader::new);
    loop {
        let start = bytes.len();
        let length = pipe.as_mut().map_or(Ok(0), |pipe| pipe.read_until(b'\n', &mut bytes));
        if !matches!(length, Ok(1..)) {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
        tell(String::from_utf8_lossy(&bytes[start..]).trim_end());
    }
}

/// The last ten lines of what the program said, errors preferred.
fn last_lines(output: &Output) -> String {
    let said = if output.stderr.trim().is_empty() { &output.stdout } else { &output.stderr };
    let lines: Vec<_> = said.trim_end().lines().collect();
    match lines.len() {
        0 => "it said nothing".into(),
        length => lines[length.saturating_sub(10)..].join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Cmd;

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let output = Cmd::new("cat").input("hello").run().unwrap();
        assert_eq!((output.code, output.stdout.as_str()), (0, "hello"));
    }

    #[test]
    fn lines_are_told_one_by_one() {
        let mut told = Vec::new();
        let cmd = Cmd::new("printf").arg("one\\ntwo\\nthree");
        let output = cmd.run_telling(&mut |line| told.push(line.to_owned())).unwrap();
        assert_eq!(told, ["one", "two", "three"]);
        assert_eq!(output.stdout, "one\ntwo\nthree");
    }

    #[test]
    fn a_failure_shows_the_last_words() {
        let error = Cmd::new("sh").args(["-c", "echo why >&2; exit 4"]).run().unwrap_err();
        assert_eq!(error.chain(), "`sh -c echo why >&2; exit 4` failed with code 4: why");
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = Cmd::new("k8steps-no-such-program").run().unwrap_err();
        assert_eq!(error.code(), "program-missing");
    }

    #[test]
    fn the_limit_is_kept() {
        let error = Cmd::new("sleep").arg("60").limit(Duration::from_millis(50)).run().unwrap_err();
        assert_eq!(error.code(), "program-too-slow");
    }
}
