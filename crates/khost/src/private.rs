//! Files with secrets: read only where nobody else can read them.

use std::{
    fs::File,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

use crate::{Error, Result};

/// All of the file at `path`, which holds e.g. "passwords"; none when there is no such file. It must
/// be its owner's alone, and the owner whoever runs this, or root.
///
/// # Errors
/// `code` when others can read it, or could have written it.
pub(crate) fn read(path: &Path, code: &'static str, holds: &str) -> Result<Option<Vec<u8>>> {
    let failed = |error| Error::io("read", path, error);
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(failed)?,
    };
    let found = file.metadata().map_err(failed)?;
    let own = [0, nix::unistd::geteuid().as_raw()].contains(&found.uid());
    if !found.is_file() || found.mode() & 0o077 != 0 || !own {
        let what = format!("`{}` holds {holds} that others can read", path.display());
        let is = format!("its mode is {:04o}, its owner {}", found.mode() & 0o7777, found.uid());
        let hint = format!("run `chmod 600 {0}` and `chown root {0}`", path.display());
        return Err(Error::input(code, what).because(is).hint(hint));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    Ok(Some(bytes))
}
