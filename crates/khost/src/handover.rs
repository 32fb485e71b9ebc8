//! A document with secrets, from the program of one node to that of another: through a pipe, or a
//! file that nobody else may read.

use std::{
    fs::{File, Permissions},
    io::{self, IsTerminal as _, Read as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
};

use crate::{
    Error, Result,
    fs::{self, Attributes},
    report::Report,
};

/// Bytes that no such document comes near to.
const LARGEST: u64 = 1 << 20;

/// Where it is to go, and what the other node does with it.
#[derive(Debug, Clone, Copy)]
pub struct Outlet<'a> {
    /// A file, 0600; else standard output.
    pub file: Option<&'a Path>,
    /// The command that takes it from standard input, e.g. `kpki import -`.
    pub taken_by: &'a str,
}

impl Outlet<'_> {
    /// Refuse to show secrets on a screen; before they are made.
    ///
    /// # Errors
    /// `export-to-terminal`.
    pub fn refuse_terminal(&self) -> Result<()> {
        if self.file.is_some() || !io::stdout().is_terminal() {
            return Ok(());
        }
        let taken_by = self.taken_by;
        Err(Error::input("export-to-terminal", "secrets would be shown").hint(format!(
            "pipe it into `{taken_by}` on the other node, or write it to a file: `--output FILE`"
        )))
    }

    /// Hand out `text`.
    ///
    /// # Errors
    /// `export-exposed` when others could read where it would go.
    pub fn give(&self, report: &Report, text: &str) -> Result<()> {
        if let Some(file) = self.file {
            let attributes = Attributes { mode: 0o600, owner: None };
            return fs::write(&here(file), text.as_bytes(), attributes);
        }
        keep_private(&io::stdout()).map_err(|error| {
            Error::host("export-exposed", "others could read what is exported")
                .because(error)
                .hint("write it to a file of its own: `--output FILE`")
        })?;
        report.data(text);
        Ok(())
    }
}

/// What was handed over in `file`; `-` is standard input.
///
/// # Errors
/// `import-exposed` when others may read the file.
pub fn take(file: &Path) -> Result<Vec<u8>> {
    let failed = |error| Error::io("read", file, error);
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        io::stdin().lock().take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
        return Ok(bytes);
    }
    let open = File::open(file).map_err(failed)?;
    let found = open.metadata().map_err(failed)?;
    let mode = fs::mode(&found);
    if found.is_file() && mode & 0o077 != 0 {
        let file = file.display();
        return Err(Error::input(
            "import-exposed",
            format!("others may read `{file}` ({mode:04o})"),
        )
        .because("it holds secrets")
        .hint(format!(
            "run `chmod 600 {file}`, or make it anew if somebody else may have read it"
        )));
    }
    open.take(LARGEST).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// A file that a shell opened for it (`> FILE`) has the shell's mode; it becomes 0600 before the
/// first byte. Pipes have no mode.
fn keep_private(out: &io::Stdout) -> io::Result<()> {
    let file = File::from(out.as_fd().try_clone_to_owned()?);
    let found = file.metadata()?;
    if found.is_file() && found.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// `path` with its directory named, which files are replaced in.
fn here(path: &Path) -> PathBuf {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new(".").join(path),
        _ => path.to_owned(),
    }
}
