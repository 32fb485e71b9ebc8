//! One apply or reset of a phase at a time: a lock that dies with its process.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read as _, Seek as _, Write as _},
    path::PathBuf,
};

use crate::{Error, Host, Result, fs};

/// Where the locks are.
const LOCK_DIR: &str = "/run/k8steps";

/// Held while a phase changes the machine.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Take the lock of `phase`.
    ///
    /// # Errors
    /// When another process holds it; the error names its pid.
    pub fn take(host: &Host, phase: &str) -> Result<Self> {
        let dir = host.path(LOCK_DIR);
        fs::make_dirs(&dir, 0o755)?;
        let path = dir.join(format!("{phase}.lock"));
        let failed = |error| Error::io("lock", &path, error);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.read_to_string(&mut holder).map_err(failed)?;
                let pid = holder.trim();
                return Err(Error::host(
                    "already-running",
                    format!("another `{phase}` is at work (pid {pid})"),
                )
                .hint(format!("wait for it, or look at it with `ps -fp {pid}`")));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(failed)?;
        Ok(Self { path, _file: file })
    }

    /// The process of `phase` that holds the lock, as the file tells: looked at, never touched, so
    /// that it is in nobody's way.
    pub fn holder(host: &Host, phase: &str) -> Option<u32> {
        let path = host.path(LOCK_DIR).join(format!("{phase}.lock"));
        let pid: u32 = fs::read_text(&path).ok()??.trim().parse().ok()?;
        let name = fs::read_text(format!("/proc/{pid}/comm").as_ref()).ok()??;
        (name.trim() == phase).then_some(pid)
    }

    /// Remove the lock file as well: nothing of the phase is left.
    pub(crate) fn remove(self) -> Result<()> {
        fs::remove(&self.path)?;
        if let Some(dir) = self.path.parent() {
            fs::remove_empty_dir(dir)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Lock;
    use crate::Host;

    #[test]
    fn who_holds_it_is_a_process_of_that_phase() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::new(root.path());
        let own = crate::fs::read_text("/proc/self/comm".as_ref()).unwrap().unwrap();
        let own = own.trim();
        assert_eq!(Lock::holder(&host, own), None, "nobody took it");
        let _lock = Lock::take(&host, own).unwrap();
        assert_eq!(Lock::holder(&host, own), Some(std::process::id()));
        let _other = Lock::take(&host, "kcni").unwrap();
        assert_eq!(Lock::holder(&host, "kcni"), None, "this process is no kcni");
    }
}
