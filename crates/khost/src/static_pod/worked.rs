//! The manifest with which a static pod last worked: what it is compared with, and can go back to.

use std::path::{Path, PathBuf};

use kspec::paths::STATE_DIR;

use super::{StaticPod, last_words};
use crate::{
    Host, Result, Thing,
    fs::{self, Attributes},
};

/// Starts the line, the file's last, that names the pod. To YAML it is a comment.
const POD: &str = "# pod ";

/// A manifest that worked, and the pod that the kubelet made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Worked {
    manifest: String,
    /// The pod's UID, which the kubelet makes out of the manifest: the same again for the same one.
    /// None when it was noted while nothing ran.
    pub(super) pod: Option<String>,
}

impl Worked {
    fn read(text: &str) -> Self {
        let lines = text.strip_suffix('\n').unwrap_or(text);
        let split = lines.rfind('\n').map_or((text, ""), |at| (&text[..=at], &lines[at + 1..]));
        match split.1.strip_prefix(POD) {
            Some(pod) => Self { manifest: split.0.into(), pod: Some(pod.into()) },
            None => Self { manifest: text.into(), pod: None },
        }
    }

    fn text(&self) -> String {
        let pod = self.pod.as_ref().map(|pod| format!("{POD}{pod}\n"));
        format!("{}{}", self.manifest, pod.unwrap_or_default())
    }
}

impl StaticPod {
    /// Whether `manifest` is the one with which it last worked.
    pub fn worked_with(&self, host: &Host, manifest: &str) -> Result<bool> {
        Ok(self.worked(host, manifest)?.is_some())
    }

    /// That it last worked with `manifest`; none when it was with another, or never seen to.
    pub(super) fn worked(&self, host: &Host, manifest: &str) -> Result<Option<Worked>> {
        let worked = fs::read_text(&host.path(self.worked_at()))?.as_deref().map(Worked::read);
        Ok(worked.filter(|worked| worked.manifest == manifest))
    }

    /// It works with `manifest`: remember that, and the pod that runs.
    ///
    /// # Errors
    /// `containerd-stopped`, `write-failed`.
    pub fn note_worked(&self, host: &Host, manifest: &str) -> Result<()> {
        // As long as there was never another, its logs name it; containerd takes longer to ask.
        let logged = last_words::uids(host, self.component);
        let pods = if logged.len() == 1 { logged } else { self.component.pods(host)? };
        // kubeadm ends its files with a new line; only below one is there a line of our own.
        let one = pods.len() == 1 && manifest.ends_with('\n');
        let pod = pods.into_iter().next().filter(|_| one);
        let worked = Worked { manifest: manifest.into(), pod };
        let path = host.path(self.worked_at());
        if let Some(dir) = path.parent() {
            fs::make_dirs(dir, 0o700)?;
        }
        fs::write(&path, worked.text().as_bytes(), Attributes { mode: 0o600, owner: None })
    }

    /// What noting that it works, and its files, touches.
    pub fn notes(&self, host: &Host) -> Vec<Thing> {
        let file = self.worked_at();
        let dir = file.parent().filter(|dir| !fs::exists(&host.path(dir)));
        let dir = dir.map(|dir| Thing::Directory(dir.into()));
        dir.into_iter().chain([Thing::File(file), self.stamp()]).collect()
    }

    fn worked_at(&self) -> PathBuf {
        Path::new(STATE_DIR).join("manifests").join(format!("{}.yaml", self.component.pod()))
    }
}

#[cfg(test)]
mod tests {
    use super::Worked;

    #[test]
    fn a_manifest_is_read_back_as_it_was_noted() {
        let of = |manifest: &str, pod: Option<&str>| Worked {
            manifest: manifest.into(),
            pod: pod.map(str::to_owned),
        };
        let noted = [
            of("a: 1\n", Some("0123abcd")),
            of("# pod of mine\na: 1\n", Some("0123abcd")),
            of("a: 1\n", None),
            of("a: 1", None),
            of("", None),
        ];
        for worked in noted {
            assert_eq!(Worked::read(&worked.text()), worked);
        }
    }
}
