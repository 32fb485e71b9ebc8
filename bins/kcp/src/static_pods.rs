//! The static pods of a control plane that runs follow kubeadm's configuration and their files.
//!
//! kubeadm makes their manifests, but not in place: it writes them all at once and waits for
//! nothing. Rendered into a directory of their own (`--dry-run`) they can be shown in a plan line
//! by line, put in place one after the other, and taken back.

use std::path::PathBuf;

use khost::{
    Change, Context, Detail, Error, Host, Result, Status, Step, Thing,
    fs::{self, Attributes},
    static_pod::{Component, StaticPod},
    steps::file::diff,
};

use crate::{init, inputs::Inputs, kubeadm, marker::Marker, patches};

/// One of them.
#[derive(Debug)]
pub(crate) struct Current {
    component: Component,
    pod: StaticPod,
    /// kubeadm's configuration as it is to be, and the patches beside it.
    config: String,
    patches: Vec<(String, String)>,
    wanted: Marker,
}

impl Current {
    pub(crate) fn new(component: Component, inputs: &Inputs, config: &str) -> Self {
        Self {
            component,
            pod: StaticPod::new(component, &inputs.cluster),
            config: config.into(),
            patches: patches::texts(&inputs.facts),
            wanted: Marker::wanted(inputs, config),
        }
    }

    fn id(&self) -> String {
        format!("static-pod:{}", self.component.pod())
    }

    /// The manifest as it is and as it is to be; none while `kubeadm init` has not made one.
    /// kubeadm is asked only when its configuration changed, or somebody changed the manifest.
    fn manifests(&self, context: &Context<'_>) -> Result<Option<(String, String)>> {
        let host = context.host;
        let marker = Marker::read(host)?;
        let present = fs::read_text(&host.path(self.component.manifest()))?;
        let Some(present) = present.filter(|_| marker.is_initialised()) else { return Ok(None) };
        if init::comes(context) {
            return Ok(None); // in a plan: kubeadm is yet to make it
        }
        let settled =
            marker.config == self.wanted.config && self.pod.worked_with(host, &present)?;
        let wanted = if settled { present.clone() } else { self.rendered()? };
        Ok(Some((present, wanted)))
    }

    /// What kubeadm would write, from files of its own: in a plan those of the node are yet to be
    /// changed.
    fn rendered(&self) -> Result<String> {
        let failed = |error: std::io::Error| {
            Error::host("render-failed", "cannot make a directory for kubeadm").because(error)
        };
        let dir = tempfile::Builder::new().prefix("kcp-").tempdir().map_err(failed)?; // 0700
        let put = |name: &str, text: &str| -> Result<PathBuf> {
            let path = dir.path().join(name);
            fs::write(&path, text.as_bytes(), Attributes { mode: 0o600, owner: None })?;
            Ok(path)
        };
        let patches = dir.path().join("patches");
        fs::make_dirs(&patches, 0o700)?;
        for (name, text) in &self.patches {
            put(&format!("patches/{name}"), text)?;
        }
        let config = self.config.replace(patches::DIR, &patches.display().to_string());
        let config = put("config.yaml", &config)?;
        kubeadm::validate(&config)?;
        let made = dir.path().join("made");
        fs::make_dirs(&made, 0o700)?;
        let phase = self.component.pod().trim_start_matches("kube-");
        let args = ["init", "phase", "control-plane", phase, "--dry-run"];
        kubeadm::render(&args, &config, &made)?;
        let name = format!("{}.yaml", self.component.pod());
        // Older kubeadms make a directory of their own in it.
        let below = fs::names(&made)?.into_iter().map(|dir| made.join(dir).join(&name));
        for path in std::iter::once(made.join(&name)).chain(below) {
            if let Some(text) = fs::read_text(&path)? {
                return Ok(text);
            }
        }
        Err(Error::host("render-failed", format!("kubeadm wrote no manifest `{name}`")))
    }
}

impl Step for Current {
    fn id(&self) -> String {
        Self::id(self)
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let Some((present, wanted)) = self.manifests(context)? else { return Ok(Status::Done) };
        let pod = self.component.pod();
        if present != wanted {
            let detail = Some(Detail::Diff(diff(&present, &wanted)));
            let what = format!("give {pod} its new manifest");
            return Ok(Status::Differs(Change { what, detail }));
        }
        if !self.pod.worked_with(context.host, &present)? {
            return Ok(Status::Differs(Change::new(format!("see that {pod} works as it is"))));
        }
        Ok(match self.pod.stale(context, &self.id())? {
            Some(why) => Status::Differs(Change::new(format!("start {pod} anew: {why}"))),
            None => Status::Done,
        })
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = vec![Thing::File(self.component.manifest())];
        things.extend(self.pod.notes(context.host));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let Some((present, wanted)) = self.manifests(context)? else { return Ok(()) };
        if present == wanted && self.pod.worked_with(context.host, &present)? {
            return self.pod.restart(context);
        }
        self.pod.put(context, &wanted)
    }
}

/// `kubeadm init` has made them all, and they work: remember them, and what they have read.
pub(crate) fn note(context: &Context<'_>, pods: &[StaticPod; 3]) -> Result<()> {
    let host = context.host;
    for (component, pod) in Component::ALL.into_iter().zip(pods) {
        pod.started_by(host, || Ok(()))?;
        if let Some(manifest) = fs::read_text(&host.path(component.manifest()))? {
            pod.note_worked(host, &manifest)?;
        }
    }
    Ok(())
}

/// What remembering them touches.
pub(crate) fn noted(host: &Host, pods: &[StaticPod; 3]) -> Vec<Thing> {
    pods.iter().flat_map(|pod| pod.notes(host)).collect()
}
