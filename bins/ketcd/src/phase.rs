//! The parts of a member, each as the steps that see to it: `apply` takes all of them, `restore`
//! some, with its own in between.

use std::rc::Rc;

use khost::{
    Change, Context, Host, Owner, Result, Status, StepList, Tool, fs,
    steps::{
        command::Guarded, deferred::Deferred, directory::Directory, file::File, program::Program,
        unit::Unit,
    },
};
use kspec::{
    Cluster, Node, SCHEMA,
    paths::{BIN_DIR, ETCD_DATA_DIR},
    state::EtcdState,
};
use semver::Version;

use crate::{
    backup::Timer,
    env::{self, Start},
    etcdctl,
    health::{Healthy, Probe},
    inputs::Inputs,
    join::{Join, Place},
    launch::Launch,
    living::Living,
    members::{CLIENT_PORT, Members, url},
    promote,
    safeguard::Safeguard,
    service,
    upgrade::{self, Keep, Trial, Upgrade},
};

/// The milestone at which the other phases know where etcd is.
pub(crate) const CONFIGURED: &str = "configured";

/// This node as a member.
#[derive(Debug)]
pub(crate) struct Phase {
    pub(crate) cluster: Cluster,
    pub(crate) node: Node,
    /// What it is called by its place in cluster.toml.
    pub(crate) name: String,
    pub(crate) members: Members,
    pub(crate) inputs: Inputs,
    place: Place,
    probe: Probe,
    unit: Unit,
    safeguard: Safeguard,
    upgrade: Rc<Upgrade>,
    /// The version that was healthy last, by `etcd.json`.
    found: Option<Version>,
}

impl Phase {
    /// Of this node; none when it is no member.
    pub(crate) fn new(tool: &Tool) -> Result<Option<Self>> {
        let cluster = tool.cluster()?;
        let node = tool.node(&cluster)?.clone();
        let members = Members::of(&cluster);
        let Some(name) = members.name_of(&node) else { return Ok(None) };
        let inputs = Inputs::read(tool)?;
        let others = Living::new(&inputs.ca, &inputs.admin, members.others(&node));
        let place = Place::new(&members, &node, &name, others);
        let probe = Probe::new(&inputs, members.endpoints().len());
        // etcd reads its own certificate again by itself, and the CA only at its start.
        let reads = [env::PATH, &format!("{BIN_DIR}/etcd"), &inputs.ca];
        let unit = Unit::new(service::NAME).reads(reads);
        let safeguard = Safeguard::new(&unit, &probe, &cluster.etcd.backup);
        let found = found(tool);
        let upgrade = Rc::new(Upgrade::new(&inputs.programs, found.clone(), &inputs.version));
        let phase = Self {
            cluster,
            node,
            name,
            members,
            inputs,
            place,
            probe,
            unit,
            safeguard,
            upgrade,
            found,
        };
        env::render(&phase.settings(), &phase.place.described())?; // what is unfit is refused first
        Ok(Some(phase))
    }

    /// What other phases are told of a node that is no member.
    pub(crate) fn elsewhere(cluster: &Cluster) -> EtcdState {
        EtcdState {
            schema: SCHEMA,
            version: None,
            member: None,
            endpoints: Members::of(cluster).endpoints(),
            data_dir: ETCD_DATA_DIR.into(),
        }
    }

    fn settings(&self) -> env::Settings {
        env::Settings {
            etcd: self.cluster.etcd.clone(),
            version: self.inputs.version.clone(),
            address: self.node.address,
            access: self.node.access(),
            inputs: self.inputs.clone(),
        }
    }

    /// Refuse another version of etcd that could not go on with the data that is here.
    pub(crate) fn refuse_leap(&self, host: &Host) -> Result<()> {
        match &self.found {
            Some(found) if Place::has_data(host) => upgrade::refuse(found, &self.inputs.version),
            _ => Ok(()),
        }
    }

    /// The etcd that runs, as long as another one has yet to show that it works.
    pub(crate) fn keep(&self, steps: &mut StepList) {
        let (probe, safeguard) = (self.probe.clone(), self.safeguard.clone());
        steps.add(Keep { upgrade: Rc::clone(&self.upgrade), probe, safeguard });
    }

    /// Its programs, and where its data goes.
    pub(crate) fn install(&self, steps: &mut StepList) {
        for (name, program) in &self.inputs.programs {
            steps.add(Program::new(name, program));
        }
        let wrapper = etcdctl::wrapper(&self.inputs);
        steps.add(File::new(etcdctl::WRAPPER).mode(0o755).text(wrapper));
        let owner = Owner::new("etcd", "etcd");
        steps.add(Directory::new(ETCD_DATA_DIR).mode(0o700).owner(owner.clone()).filled());
        steps.add(owned(owner));
    }

    /// Its place in the cluster that exists.
    pub(crate) fn join(&self, steps: &mut StepList) {
        steps.add(Join(self.place.clone()));
        let (settings, place) = (self.settings(), self.place.clone());
        steps.add(Deferred::new(env::PATH, move |context| {
            let Some(start) = place.start(context.host)? else { return Ok(None) };
            environment(&settings, &start).map(Some)
        }));
    }

    /// `etcd.env` of a member that begins as one of all those in cluster.toml.
    pub(crate) fn begin(&self, steps: &mut StepList, start: &Start) -> Result<()> {
        steps.add(environment(&self.settings(), start)?);
        Ok(())
    }

    /// The unit's file.
    pub(crate) fn unit_file(&self, steps: &mut StepList) {
        let text = service::render(self.inputs.facts.limits.nofile);
        steps.add(File::new(service::PATH).text(text));
    }

    /// A snapshot before it is restarted.
    pub(crate) fn safeguard(&self, steps: &mut StepList) {
        steps.add(self.safeguard.clone());
    }

    /// It runs with all of this, and is healthy.
    pub(crate) fn start(&self, steps: &mut StepList) {
        let (launch, healthy) = self.starting();
        steps.add(launch);
        steps.add(healthy);
        steps.add(upgrade::settled(&self.upgrade));
    }

    /// As [`Self::start`]; when another etcd does not get there, the one that was kept runs again.
    pub(crate) fn start_or_go_back(&self, steps: &mut StepList) {
        let (launch, healthy) = self.starting();
        steps.add(Trial::new(launch.clone(), &self.upgrade, &launch, &healthy));
        steps.add(Trial::new(healthy.clone(), &self.upgrade, &launch, &healthy));
        steps.add(upgrade::settled(&self.upgrade));
    }

    fn starting(&self) -> (Launch, Healthy) {
        let own = vec![url([127, 0, 0, 1].into(), CLIENT_PORT)];
        let own = Living::new(&self.inputs.ca, &self.inputs.admin, own);
        let healthy = Healthy::new(&self.probe, own, Members::peer_url(&self.node));
        (Launch::new(self.unit.clone(), self.probe.clone()), healthy)
    }

    /// The other phases know where etcd is.
    pub(crate) fn tell(&self, steps: &mut StepList) {
        let all = Living::new(&self.inputs.ca, &self.inputs.admin, self.members.endpoints());
        let state = EtcdState {
            version: Some(self.inputs.version.to_string()),
            member: Some(self.name.clone()),
            ..Self::elsewhere(&self.cluster)
        };
        steps.add(left(state, all));
        steps.milestone(CONFIGURED);
    }

    /// Whether where etcd is can be told before it has started: it begins here, alone, and for the
    /// first time. So nobody has to be asked who votes, and no version was healthy before.
    pub(crate) fn begins_alone(&self, host: &Host) -> bool {
        self.members.endpoints().len() == 1 && self.found.is_none() && !Place::has_data(host)
    }

    /// It votes; snapshots are taken by the calendar.
    pub(crate) fn finish(&self, steps: &mut StepList, tool: &Tool) -> Result<()> {
        steps.add(promote::voting(&self.place));
        Timer::new(tool, &self.cluster.etcd.backup)?.add_to(steps);
        Ok(())
    }
}

/// What is in the data directory is `owner`'s: somebody restored it by hand as root, or an etcd
/// that ran as root left it.
fn owned(owner: Owner) -> Guarded {
    let alien = |context: &Context<'_>, owner: &Owner| -> Result<Option<_>> {
        let Some(ids) = context.host.ids(owner)? else { return Ok(None) };
        let member = context.host.path(ETCD_DATA_DIR).join("member");
        Ok(fs::alien(&member, ids)?.map(|alien| (alien, member, ids)))
    };
    let again = owner.clone();
    Guarded::new(
        "etcd-data-owner",
        move |context| {
            Ok(alien(context, &owner)?.map_or(Status::Done, |(alien, member, _)| {
                let what = format!("give {} to {owner}", member.display());
                let found = format!("{} is not {owner}'s", alien.display());
                Status::Differs(Change::values(what, found, format!("all of it is {owner}'s")))
            }))
        },
        move |context| match alien(context, &again)? {
            Some((_, member, ids)) => fs::adopt(&member, Some(ids)),
            None => Ok(()),
        },
    )
}

/// The version of etcd that an earlier run left healthy. What is not there, or is none of ours,
/// is written anew at the end of this one.
fn found(tool: &Tool) -> Option<Version> {
    Version::parse(&tool.state::<EtcdState>().ok()?.version?).ok()
}

/// `etcd.env` with which the member starts.
fn environment(settings: &env::Settings, start: &Start) -> Result<File> {
    Ok(File::new(env::PATH).mode(0o640).text(env::render(settings, start)?))
}

/// `etcd.json`, with those members of cluster.toml that are in the cluster and vote: a client
/// that is told of others would wait for them, or be sent away by them.
fn left(described: EtcdState, living: Living) -> Deferred {
    Deferred::new(<EtcdState as kspec::state::State>::PATH, move |context| {
        let mut state = described.clone();
        let host = context.host;
        if let Some(start) = env::started_with(host)? {
            state.member = Some(start.name);
        }
        if host.is_live() && state.endpoints.len() > 1 {
            let found = if living.can_ask(host) { living.members().ok() } else { None };
            let Some(found) = found else { return Ok(None) };
            state.endpoints.retain(|url| {
                found.iter().any(|member| !member.learner && member.client_urls.contains(url))
            });
        }
        Tool::leave(&state).map(Some)
    })
}
