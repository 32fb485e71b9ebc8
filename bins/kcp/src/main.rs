//! kcp: make this node a control plane, with kubeadm.
//!
//! Reads  `cluster.toml`, `facts.json`, `artifacts.json`, `pki.json`, `etcd.json`,
//!        `node.json`
//! Writes `control-plane.json`, `/usr/local/bin/kubectl`, what kubeadm keeps below
//!        `/etc/kubernetes`, `/root/.kube/config`

mod audit;
mod authorities;
mod credentials;
mod encryption;
mod endpoints;
mod etcd;
mod fixed;
mod health;
mod init;
mod inputs;
mod join;
mod join_command;
mod join_config;
mod join_document;
mod kube_proxy;
mod kubeadm;
mod kubeadm_config;
mod kubeconfig;
mod kubelet;
mod labels;
mod leave;
mod marker;
mod patches;
mod remove;
mod rotate;
mod scheduler;
mod settings;
mod static_pods;
mod worker;

use khost::{
    Result, StepList, Tool,
    app::Cli,
    error::Exit,
    static_pod::{Component, StaticPod},
    steps::{directory::Directory, file::File, program::Program},
};
use kspec::Role;

use crate::{inputs::Inputs, marker::Marker};

const ABOUT: &str = "Make this node a control plane, with kubeadm

Installs kubectl, writes kubeadm's configuration, runs
`kubeadm init` against the etcd that ketcd runs, points this node's own
kubeconfigs at its own API server, and waits until the API server, the
controller manager and the scheduler work and the cluster knows the node. It
is Ready only once kcni has given it a network.

The first control plane of cluster.toml makes the cluster. Every other node
joins it, as a control plane or as a worker, once it was brought what it needs:

    kcp join-command node2 | ssh node2 kcp join -

Reads cluster.toml, facts.json, artifacts.json, pki.json, etcd.json and
node.json; leaves control-plane.json.

Example: show what would change, then do it

    kcp plan
    kcp apply";

/// bash completes kubectl; kubespray's place for it (`client` role).
const COMPLETION: &str = "/etc/bash_completion.d/kubectl.sh";

/// Where kubespray has the operator's own manifests (`kubernetes_user_manifests_path`); what is in
/// it is the operator's.
const USER_MANIFESTS: &str = "/root/kube-manifests/kubernetes";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Print what another node needs to join, for `kcp join` there
    ///
    /// A token of 24 hours, and whom to trust; for a control plane also the key to the cluster's
    /// authorities, which are laid ready, encrypted, in the cluster for two hours. Secrets: it goes
    /// into a pipe or a file of mode 0600.
    JoinCommand(join_command::Request),
    /// Take what `join-command` made for this node; `apply` then joins
    Join(join_document::Request),
    /// Take a node out of the cluster: move its pods away, and forget it
    Remove(remove::Request),
    /// Encrypt with a new key what etcd stores, and drop the old one
    ///
    /// For `[control-plane.encryption]`. The API server learns the new key and starts anew, all
    /// that is to be encrypted is written again, then the old key is dropped. What was interrupted
    /// is gone on with by running it, or `kcp apply`, again.
    RotateKey(rotate::Request),
}

fn main() -> std::process::ExitCode {
    khost::app::main("kcp", ABOUT, run)
}

fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("kcp", &cli.common);
    match cli.verb {
        Verb::Phase(khost::app::Verb::Reset { yes }) => tool.reset(yes, || remove::farewell(&tool)),
        Verb::Phase(verb) => tool.run::<Verb>(&verb, ABOUT, steps),
        Verb::JoinCommand(request) => join_command::run(&tool, &request),
        Verb::Join(request) => join_document::run(&tool, &request),
        Verb::Remove(request) => remove::run(&tool, &request),
        Verb::RotateKey(request) => rotate::run(&tool, &request),
    }
}

/// The phase as a list: a pure function of its inputs.
fn steps(tool: &Tool) -> Result<StepList> {
    let cluster = tool.cluster()?;
    let node = tool.node(&cluster)?;
    if !node.is(Role::ControlPlane) && !node.is(Role::Worker) {
        tool.report
            .say(&format!("node {} is an etcd member, and no part of the cluster", node.name));
        return Ok(StepList::new());
    }
    if !node.is(Role::ControlPlane) {
        return worker::steps(tool, &cluster);
    }
    let inputs = Inputs::read(tool)?;
    let config = kubeadm_config::render(&inputs)?;
    fixed::refuse_changes(tool, &config)?;
    init::refuse_another_cluster(&tool.host)?;
    if inputs.joins {
        init::refuse_a_member_of_another_cluster(&tool.host)?;
    }
    let keys = encryption::KeysFile::new(&inputs);
    keys.usable(&tool.host)?;

    let mut steps = StepList::new();
    steps.add(Program::new("kubectl", &inputs.kubectl));
    let completion = khost::completion::bash("kcp", "kubectl");
    steps.add(File::new(COMPLETION).mode(0o755).text(completion));
    steps.add(File::new(scheduler::PATH).text(scheduler::config(&inputs.cluster)?));
    steps.extend(patches::files(&inputs.facts));
    steps.add(keys.clone());
    audit::files(&mut steps, tool, &inputs.cluster.control_plane.audit)?;
    steps.add(File::new(kubeadm_config::PATH).mode(0o640).text(&config));

    // kubelet, controller manager and scheduler are pointed at the node's own API server before
    // they start for the first time, so none has to be restarted for it. admin.conf must wait:
    // kubeadm copies its server into the `cluster-info` that joining nodes go by.
    // A kubelet that joins gets its kubeconfig while kubeadm is at it, for this node's server.
    if inputs.joins {
        steps.add(authorities::Brought::new(&inputs));
    }
    steps.add(credentials::Credentials::new(&inputs));
    let own = |name, after| kubeconfig::own_server(name, &inputs.local, after);
    steps.extend(["controller-manager", "scheduler"].map(|name| own(name, credentials::ID)));
    let made = if inputs.joins {
        steps.milestone("prepared");
        steps.add(join::Join::of_control_plane(&inputs, &config));
        steps.add(own("kubelet", join::ID));
        join::ID
    } else {
        steps.add(own("kubelet", credentials::ID));
        steps.milestone("prepared");
        steps.add(init::Init::new(&inputs, &config));
        init::ID
    };
    steps.add(own("admin", made));
    steps.add(kubeconfig::rotating_certificate());
    steps.add(kubeconfig::closed("super-admin"));
    steps.add(Directory::new(kubeconfig::ROOT_DIR).mode(0o700).filled()); // kubectl caches in it
    steps.add(kubeconfig::for_root(&inputs.local));
    steps.add(Directory::new(USER_MANIFESTS));
    // The API server answers and runs as it should: nothing below starts it anew. One that was just
    // made needs no look at its pods, and what is applied by now is at work as soon as they are.
    let is_new = !inputs.joins && !Marker::read(&tool.host)?.is_initialised();
    if is_new {
        steps.add(leave::state(&inputs));
        steps.milestone("cluster");
    }

    steps.add(kubelet::running());
    for component in Component::ALL {
        let pod = StaticPod::new(component, &inputs.cluster);
        steps.add(static_pods::Current::new(component, &inputs, &config));
        steps.add(pod.healthy());
        if component == Component::ApiServer && inputs.speaks_for_all() {
            steps.add(encryption::written_anew(&keys));
            steps.add(encryption::old_keys_dropped(&keys, &pod));
        }
    }
    if !is_new {
        steps.add(leave::state(&inputs));
        steps.milestone("cluster");
    }
    if inputs.speaks_for_all() {
        steps.add(kube_proxy::Follows::new(&inputs, &config));
    }
    steps.add(settings::applied(&inputs, &config));
    steps.add(health::registered(&inputs.node.name));
    steps.add(labels::wanted(&inputs));
    steps.add(labels::of_workers(&inputs.cluster));
    Ok(steps)
}
