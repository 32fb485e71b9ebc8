//! Encryption of what etcd stores (kubespray `kube_encrypt_secret_data`): the keys, and that what
//! is there already is encrypted as well.
//!
//! An order that never leaves anything unreadable: the API server learns a new key before it
//! writes with it, everything is written anew, and only then is an old key forgotten.

mod keys;
mod rewrite;

use std::{cell::Cell, rc::Rc};

use khost::{
    Change, Context, Error, Host, Result, Status, Step, Thing,
    fs::{self, Attributes},
    static_pod::StaticPod,
    steps::command::Guarded,
};
use kspec::{
    Role,
    cluster::Encryption,
    paths::{KUBE_CERT_DIR, STATE_DIR},
};

use crate::{inputs::Inputs, marker::Marker};
pub(crate) use keys::{Keys, Next};

/// kubespray's place for the keys.
pub(crate) const PATH: &str = "/etc/kubernetes/ssl/secrets_encryption.yaml";

/// The id of the step that keeps them.
const ID: &str = "file:/etc/kubernetes/ssl/secrets_encryption.yaml";

/// The file with the keys.
#[derive(Debug, Clone)]
pub(crate) struct KeysFile {
    wanted: Encryption,
    /// This node makes the first key; the others are given it.
    first: bool,
    /// The only API server: nobody else has to learn a key before it is written with.
    alone: bool,
    /// Whether a new key is asked for, and has not been made yet.
    rotate: Rc<Cell<bool>>,
}

impl KeysFile {
    pub(crate) fn new(inputs: &Inputs) -> Self {
        let first = !inputs.joins;
        let alone = inputs.cluster.with_role(Role::ControlPlane).count() == 1;
        let wanted = inputs.cluster.control_plane.encryption.clone();
        Self { wanted, first, alone, rotate: Rc::default() }
    }

    /// The same with a new key, unless one that was begun with is there still.
    pub(crate) fn rotated(self) -> Self {
        self.rotate.set(true);
        self
    }

    /// Refuse, before anything is written, keys that cannot be gone by.
    ///
    /// # Errors
    /// `encryption-config-unreadable`, `encryption-key-missing`.
    pub(crate) fn usable(&self, host: &Host) -> Result<()> {
        self.next(host).map(drop)
    }

    fn next(&self, host: &Host) -> Result<Next> {
        let present = read(host)?;
        let next = match (Keys::next(present.as_ref(), &self.wanted), present) {
            (Next::Same, Some(keys)) if self.rotate.get() && keys.list.len() == 1 => {
                Next::Add(keys)
            }
            (next, _) => next,
        };
        if matches!(next, Next::Add(_)) {
            self.refuse_a_key_that_others_lack(host)?;
        }
        Ok(next)
    }

    fn refuse_a_key_that_others_lack(&self, host: &Host) -> Result<()> {
        let live = Marker::read(host)?.is_initialised();
        if self.alone || (self.first && !live) {
            return Ok(());
        }
        let (message, hint) = if self.first {
            (
                "this cluster has several control planes, and the others lack a new key",
                "encrypt from the beginning, or while there is one control plane",
            )
        } else {
            (
                "this control plane lacks the keys of the first one",
                "bring them with `kcp join-command` and `kcp join`, or copy the file from the first \
                 control plane, 0600",
            )
        };
        Err(Error::input("encryption-key-missing", format!("`{PATH}` does not do: {message}"))
            .because("an API server cannot read what another one encrypts with a key it lacks")
            .hint(hint))
    }
}

impl Step for KeysFile {
    fn id(&self) -> String {
        ID.into()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok(match self.next(context.host)? {
            Next::Same => open_to_others(context.host)?,
            Next::Add(keys) if keys.list.is_empty() => {
                Status::Differs(Change::new(format!("create {PATH} (0600 root:root) with a key")))
            }
            Next::Add(_) => Status::Differs(Change::new(format!("add a new key to {PATH}"))),
            Next::Keep(keys) => {
                let before = read(context.host)?.map(|keys| keys.writer()).unwrap_or_default();
                Status::Differs(Change::values(format!("change {PATH}"), before, keys.writer()))
            }
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::File(PATH.into())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let keys = match self.next(host)? {
            Next::Same => read(host)?,
            Next::Keep(keys) => Some(keys),
            Next::Add(keys) => Some(keys.with_new_key(self.wanted.provider)?),
        };
        self.rotate.set(false);
        keys.map_or(Ok(()), |keys| write(host, &keys))
    }
}

/// Everything is written with the key that the file has first: what was there before as well.
pub(crate) fn written_anew(file: &KeysFile) -> Guarded {
    let (asked, resources) = (file.clone(), file.wanted.resources.clone());
    Guarded::new(
        "encrypted-anew",
        move |context: &Context<'_>| {
            let host = context.host;
            if !Marker::read(host)?.is_initialised() {
                return Ok(Status::Done); // nothing is there yet; `kubeadm init` writes with it
            }
            let what = "write again in etcd what is to be encrypted";
            if asked.next(host)? != Next::Same {
                return Ok(Status::Differs(Change::new(what))); // in a plan: the keys change
            }
            let Some(keys) = read(host)? else { return Ok(Status::Done) };
            let before = fs::read_text(&host.path(written_with()))?.unwrap_or_default();
            Ok(if before.trim() == keys.writer() {
                Status::Done
            } else {
                Status::Differs(Change::values(what, before.trim(), keys.writer()))
            })
        },
        move |context: &Context<'_>| {
            rewrite::all(context, &resources)?;
            note(context.host)
        },
    )
    .touching([Thing::File(written_with())])
}

/// No key is kept that nothing is encrypted with.
pub(crate) fn old_keys_dropped(file: &KeysFile, pod: &StaticPod) -> Guarded {
    let (asked, pod) = (file.clone(), pod.clone());
    let touched = [Thing::File(PATH.into()), pod.stamp()];
    Guarded::new(
        "old-keys-dropped",
        move |context: &Context<'_>| {
            let Some(keys) = read(context.host)? else { return Ok(Status::Done) };
            let live = Marker::read(context.host)?.is_initialised();
            // In a plan: one is to come before those that are there.
            let added = matches!(asked.next(context.host)?, Next::Add(_));
            Ok(if live && !keys.plain && (keys.list.len() > 1 || added) {
                Status::Differs(Change::new(format!("drop the old keys from {PATH}")))
            } else {
                Status::Done
            })
        },
        move |context: &Context<'_>| {
            let Some(keys) = read(context.host)? else { return Ok(()) };
            write(context.host, &keys.without_old_keys())?;
            // The one that runs knows one key more than it needs, until it starts for another
            // reason: that is none to interrupt it.
            pod.started_by(context.host, || Ok(()))
        },
    )
    .touching(touched)
}

/// What is in the file; none when there is no file.
pub(crate) fn read(host: &Host) -> Result<Option<Keys>> {
    let text = fs::read_text(&host.path(PATH))?;
    text.map(|text| Keys::parse(&text, PATH)).transpose()
}

pub(crate) fn write(host: &Host, keys: &Keys) -> Result<()> {
    fs::make_dirs(&host.path(KUBE_CERT_DIR), 0o755)?;
    let owner = host.ids(&khost::Owner::root())?;
    fs::write(&host.path(PATH), keys.render()?.as_bytes(), Attributes { mode: 0o600, owner })
}

/// Remember what everything in etcd is written with.
pub(crate) fn note(host: &Host) -> Result<()> {
    let Some(keys) = read(host)? else { return Ok(()) };
    let attributes = Attributes { mode: 0o644, owner: None };
    fs::write(&host.path(written_with()), format!("{}\n", keys.writer()).as_bytes(), attributes)
}

/// Where that is remembered: the name of a key, never the key.
pub(crate) fn written_with() -> std::path::PathBuf {
    std::path::Path::new(STATE_DIR).join("encrypted-with")
}

fn open_to_others(host: &Host) -> Result<Status> {
    let Some(found) = fs::look(&host.path(PATH))? else { return Ok(Status::Done) };
    let mode = fs::mode(&found);
    Ok(if mode == 0o600 {
        Status::Done
    } else {
        let what = format!("set the mode of {PATH}");
        Status::Differs(Change::values(what, format!("{mode:04o}"), "0600"))
    })
}
