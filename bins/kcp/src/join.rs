//! `kubeadm join`, once, and again where it was interrupted.

use khost::{
    Change, Context, Error, Result, Status, Step, Thing, fs,
    static_pod::{Component, StaticPod, last_words},
};
use kspec::{
    Cluster, JoinDocument, Role,
    paths::{JOIN_DOCUMENT, KUBE_CERT_DIR, KUBELET_CONF},
    state::Facts,
};

use crate::{
    init,
    inputs::Inputs,
    join_config::{self, Joining},
    join_document, kubeadm,
    marker::Marker,
    static_pods,
};

/// The step's id.
pub(crate) const ID: &str = "kubeadm:join";

/// What the kubelet goes by until it has a certificate. kubeadm removes it in the end.
const BOOTSTRAP_CONF: &str = "/etc/kubernetes/bootstrap-kubelet.conf";

/// What it joins with; of no use afterwards.
const SECRETS: [&str; 2] = [BOOTSTRAP_CONF, JOIN_DOCUMENT];

/// This node is part of the cluster, and kubeadm has done all it does for it.
#[derive(Debug)]
pub(crate) struct Join {
    pub(crate) joining: Joining,
    pub(crate) wanted: Marker,
    pub(crate) cluster: Cluster,
    pub(crate) facts: Facts,
    pub(crate) document: Option<JoinDocument>,
    /// Of a control plane: a worker has fewer.
    pub(crate) inputs: Option<Box<Inputs>>,
}

impl Join {
    /// A further control plane, whose own configuration is `config`.
    pub(crate) fn of_control_plane(inputs: &Inputs, config: &str) -> Self {
        Self {
            joining: Joining::of(inputs),
            wanted: Marker::wanted(inputs, config),
            cluster: inputs.cluster.clone(),
            facts: inputs.facts.clone(),
            document: inputs.document.clone(),
            inputs: Some(Box::new(inputs.clone())),
        }
    }

    fn is_control_plane(&self) -> bool {
        self.joining.node.is(Role::ControlPlane)
    }

    fn run(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        match &self.inputs {
            Some(inputs) => init::fit(context, inputs)?,
            None => init::fit_for_worker()?,
        }
        // What kubeadm leaves from here on is known for ours.
        Marker { joined: true, ..Marker::read(host)? }.write(host)?;
        let mut ignored = init::ignored(&self.cluster, &self.facts);
        ignored.extend(init::left_behind(host)?);
        // kprep makes the directory; kubespray passes this check over as well.
        ignored.push("DirAvailable--etc-kubernetes-manifests".into());
        let ca = format!("{KUBE_CERT_DIR}/ca.crt");
        let mut there: Vec<_> = [BOOTSTRAP_CONF, &ca].map(str::to_owned).into();
        there.retain(|path| fs::exists(&host.path(path)));
        if self.is_control_plane() {
            there
                .extend(Component::ALL.map(|component| component.manifest().display().to_string()));
        }
        ignored
            .extend(there.iter().map(|path| format!("FileAvailable-{}", path.replace('/', "-"))));
        let ignored = format!("--ignore-preflight-errors={}", ignored.join(","));
        let document = self
            .document
            .as_ref()
            .ok_or_else(|| join_document::missing(&self.joining.node.name))?;
        let config = join_config::render(&self.joining, document)?;
        if self.is_control_plane() {
            // From this node's own configuration: that of the cluster names another node's
            // certificate for etcd.
            kubeadm::run(context, &["init", "phase", "control-plane", "all"], 60)?;
        }
        let args = ["join", "--skip-phases=control-plane-prepare", &ignored];
        let limit = self.cluster.kubeadm.init_timeout_seconds;
        let limit = context.limit.map_or(limit, |limit| limit.as_secs());
        kubeadm::run_with(context, &args, &config, limit)
            .map_err(|error| self.explained(context, &error))
    }

    /// Join, or go on where a killed run has stopped: the kubelet has its kubeconfig, `there`.
    fn finish(&self, context: &Context<'_>, there: bool) -> Result<()> {
        if !there {
            self.run(context)?;
        } else if self.is_control_plane() {
            // All that kubeadm does from here on is this; a whole second join would refuse to,
            // since the node is in the cluster.
            kubeadm::run(context, &["init", "phase", "control-plane", "all"], 60)?;
            kubeadm::run(context, &["init", "phase", "mark-control-plane"], 60)?;
        }
        if self.is_control_plane() {
            static_pods::note(context, &self.pods())?;
        }
        self.wanted.write(context.host)
    }

    fn pods(&self) -> [StaticPod; 3] {
        Component::ALL.map(|component| StaticPod::new(component, &self.cluster))
    }

    /// kubeadm's words, and those of whichever static pod spoke last.
    fn explained(&self, context: &Context<'_>, error: &Error) -> Error {
        let mut cause = kubeadm::words(error);
        let preflight = cause.contains("[ERROR ");
        if self.is_control_plane()
            && !preflight
            && let Some(words) = last_words(context.host, &Component::ALL)
        {
            cause = format!("{cause}\n{words}");
        }
        let node = &self.joining.node.name;
        let hint = if cause.contains("already exists in the cluster") {
            format!("run `kcp remove {node}` on a control plane, then `kcp apply` here")
        } else if preflight {
            "mend what stands after [ERROR, or name it in [kubeadm] ignore-preflight-errors".into()
        } else if ["JWS signature", "Unauthorized", "expired", "public key"]
            .iter()
            .any(|sign| cause.contains(sign))
        {
            join_document::how_to_get(node)
        } else {
            "see `journalctl -u kubelet -n 50`; `kcp apply` goes on where it stopped".into()
        };
        Error::host("kubeadm-join-failed", "`kubeadm join` did not finish")
            .because(cause)
            .hint(hint)
    }
}

impl Step for Join {
    fn id(&self) -> String {
        ID.into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let host = context.host;
        let there = fs::exists(&host.path(KUBELET_CONF));
        let secret = SECRETS.iter().any(|secret| fs::exists(&host.path(secret)));
        let what = match (Marker::read(host)?.is_initialised(), there) {
            (true, true) if secret => "remove what it joined with",
            (true, true) => return Ok(Status::Done),
            (true, false) => "run kubeadm join again: the kubelet's kubeconfig is gone",
            (false, false) => "run kubeadm join",
            (false, true) => "go on with kubeadm join: it was interrupted",
        };
        Ok(Status::Differs(Change::new(what)))
    }

    fn touches(&self, context: &Context<'_>) -> Result<Vec<Thing>> {
        let mut things = vec![
            Marker::thing(),
            Thing::File(JOIN_DOCUMENT.into()),
            Thing::File(BOOTSTRAP_CONF.into()),
            Thing::File(KUBELET_CONF.into()),
            Thing::File(format!("{KUBE_CERT_DIR}/ca.crt").into()),
            // Mounted by the add-on, whose pods come with the node; kapps has it where it runs.
            Thing::Tree("/etc/kubernetes/node-feature-discovery".into()),
        ];
        if self.is_control_plane() {
            things.extend(static_pods::noted(context.host, &self.pods()));
        }
        things.extend(init::touched(context, &self.cluster, self.facts.os.family));
        Ok(things)
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let there = fs::exists(&host.path(KUBELET_CONF));
        if !(there && Marker::read(host)?.is_initialised()) {
            self.finish(context, there)?;
        }
        // Last: a run that is killed before needs them again.
        SECRETS.iter().try_for_each(|secret| fs::remove(&host.path(secret)))
    }
}

#[cfg(test)]
mod tests {
    use khost::{
        Context, Host, Status, Step as _,
        fs::{self, Attributes},
        report::{Loudness, Report},
    };
    use kspec::{
        Role,
        paths::{JOIN_DOCUMENT, KUBELET_CONF},
    };

    use super::{BOOTSTRAP_CONF, Join, Joining, SECRETS};
    use crate::{kubeadm_config::tests::inputs, marker::Marker};

    /// What is on a node whose kubelet has its kubeconfig, before the end of a join.
    fn almost_joined(host: &Host) {
        for path in SECRETS.into_iter().chain([KUBELET_CONF]) {
            let path = host.path(path);
            fs::make_dirs(path.parent().unwrap(), 0o755).unwrap();
            fs::write(&path, b"x", Attributes { mode: 0o600, owner: None }).unwrap();
        }
        fs::make_dirs(&host.path(kspec::paths::STATE_DIR), 0o755).unwrap();
    }

    #[test]
    fn a_run_that_was_killed_before_its_last_removal_is_gone_on_with() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let join = Join::of_control_plane(&inputs(), "config");
        almost_joined(&host);
        join.wanted.write(&host).unwrap();

        let Status::Differs(change) = join.check(&context).unwrap() else {
            panic!("secrets are left for good");
        };
        assert_eq!(change.what, "remove what it joined with");
        join.apply(&context).unwrap();
        assert!(SECRETS.iter().all(|secret| !fs::exists(&host.path(secret))));
        assert!(matches!(join.check(&context).unwrap(), Status::Done));
    }

    /// Otherwise a run that is killed in between would need what is gone.
    #[test]
    fn a_node_notes_that_it_has_joined_before_what_it_joined_with_goes() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        let inputs = inputs();
        let mut joining = Joining::of(&inputs);
        joining.node.roles = vec![Role::Worker]; // of which kubeadm need not finish anything
        let wanted = Marker::of_worker("config");
        let (cluster, facts) = (inputs.cluster, inputs.facts);
        let join = Join { joining, wanted, cluster, facts, document: None, inputs: None };
        almost_joined(&host);
        // The first removal fails, as if the run ended there.
        let stuck = host.path(BOOTSTRAP_CONF);
        fs::remove(&stuck).unwrap();
        fs::make_dirs(&stuck, 0o755).unwrap();

        join.apply(&context).unwrap_err();
        assert_eq!(Marker::read(&host).unwrap(), join.wanted, "not noted");
        assert!(fs::exists(&host.path(JOIN_DOCUMENT)));
        assert!(fs::remove_empty_dir(&stuck).unwrap());
        join.apply(&context).unwrap();
        assert_eq!(join.check(&context).unwrap(), Status::Done);
    }
}
