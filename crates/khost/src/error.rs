//! One error type: what failed, on what, why, and what to try next.

use std::{fmt, io, path::Path};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// How a tool ends. The numbers are part of the contract (`docs/contract.md`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 0: done, or nothing to do.
    Done,
    /// 1: the host or the cluster failed.
    Failed,
    /// 2: bad input or usage.
    BadInput,
    /// 3: the machine differs from what is wanted.
    Differs,
}

impl Exit {
    /// The number a shell sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::BadInput => 2,
            Self::Differs => 3,
        }
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// A failure: a stable code, a sentence that names the thing, its cause, and a hint.
///
/// The sentence is lower case, without a full stop and without the cause; [`crate::app`] prints
/// all of it.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    code: &'static str,
    message: String,
    source: Option<Source>,
    hint: Option<String>,
    exit: Exit,
}

impl Error {
    /// The machine or the cluster did not do what it should: exit code 1.
    pub fn host(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, code, message.into())
    }

    /// What the operator wrote or typed cannot be used: exit code 2.
    pub fn input(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Exit::BadInput, code, message.into())
    }

    fn new(exit: Exit, code: &'static str, message: String) -> Self {
        Self(Box::new(Inner { code, message, source: None, hint: None, exit }))
    }

    /// Add the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Add what to try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// `path` could not be read, written or removed; `doing` says which, as in "cannot read".
    pub fn io(doing: &str, path: &Path, source: io::Error) -> Self {
        let code = match doing {
            "read" => "read-failed",
            "remove" => "remove-failed",
            _ => "write-failed",
        };
        let hint = match source.kind() {
            io::ErrorKind::PermissionDenied => {
                Some("run as root, or pass `--root DIR` to work on a tree of your own")
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                Some("the file system is mounted read-only: remount it, or use another place")
            }
            io::ErrorKind::ResourceBusy => {
                Some("something is mounted there (`findmnt`): let whoever mounts it keep it")
            }
            io::ErrorKind::StorageFull => Some("free some space (`df -h`) and run again"),
            _ => None,
        };
        let mut error = Self::host(code, format!("cannot {doing} `{}`", path.display()));
        error.0.source = Some(source.into());
        error.0.hint = hint.map(Into::into);
        error
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What to try next, when there is something.
    pub fn next(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// How the tool ends with this error.
    pub fn exit(&self) -> Exit {
        self.0.exit
    }

    /// The sentence and all its causes on one line.
    pub fn chain(&self) -> String {
        let mut chain = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            chain = format!("{chain}: {source}");
            cause = source.source();
        }
        chain
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| source.as_ref() as _)
    }
}
