//! knode: run containers and the kubelet on this node.
//!
//! Reads  `cluster.toml`, `facts.json`, `artifacts.json`
//! Writes `node.json`, `/usr/local/bin/{runc,containerd,ctr,crictl,nerdctl,kubelet,kubeadm,...}`,
//!        `/etc/containerd`, `/etc/crictl.yaml`, `/etc/nerdctl`, `/etc/kubernetes/kubelet*`,
//!        the units of containerd and the kubelet; images into containerd

mod base_spec;
mod cgroup;
mod clients;
mod containerd_config;
mod containerd_unit;
mod credentials;
mod ctr;
mod distribution_runc;
mod engines;
mod image;
mod images;
mod inputs;
mod kubelet_config;
mod kubelet_env;
mod kubelet_unit;
mod listing;
mod loopback;
mod programs;
mod proxy;
mod registry;

use khost::{
    Result, StepList, Tool,
    app::Cli,
    error::Exit,
    steps::{directory::Directory, file::File},
};
use kspec::state::NodeState;

use crate::{images::Images, inputs::Inputs};

const ABOUT: &str = "Run containers and the kubelet on this node

Installs runc, containerd, crictl, nerdctl, kubeadm and the kubelet, configures
them for what this machine allows, starts containerd, imports the images of the
store into it, and prepares the kubelet: its unit is enabled but waits until kcp
has made the node part of a cluster.

Reads cluster.toml, facts.json and artifacts.json; leaves node.json.

Example: show what would change, do it, and see which images pods will find here

    knode plan
    knode apply
    knode images";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// List the images pods will find here, and whether containerd has them
    Images,
}

fn main() -> std::process::ExitCode {
    khost::app::main("knode", ABOUT, run)
}

fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("knode", &cli.common);
    match cli.verb {
        Verb::Phase(verb) => tool.run::<Verb>(&verb, ABOUT, steps),
        Verb::Images => listing::show(&tool),
    }
}

/// The phase as a list: a pure function of its inputs.
fn steps(tool: &Tool) -> Result<StepList> {
    let inputs = Inputs::read(tool)?;
    let mut steps = StepList::new();

    engines::give_way(&mut steps, &inputs, &tool.host)?;
    distribution_runc::give_way(&mut steps, &inputs, &tool.host)?;

    steps.extend(programs::all(&inputs)?);
    steps.add(File::new(clients::CRICTL).text(clients::crictl()?));
    steps.add(Directory::new("/etc/nerdctl"));
    steps.add(File::new(clients::NERDCTL).text(clients::nerdctl(inputs.driver)));
    steps.extend(clients::COMPLETED.map(|client| {
        let path = format!("/etc/bash_completion.d/{client}");
        File::new(path).text(khost::completion::bash("knode", client))
    }));

    steps.add(File::new(containerd_unit::PATH).text(containerd_unit::render(&inputs.facts)));
    proxy::of_containerd(&mut steps, &inputs.cluster);
    steps.add(Directory::new("/etc/containerd"));
    steps.add(File::new(base_spec::PATH).text(base_spec::render(inputs.nofile())));
    let config = containerd_config::render(&inputs)?;
    let config = File::new(containerd_config::PATH).mode(0o640).text(config);
    inputs.credentials.beside(config, &mut steps)?;
    let registries = registry::all(&inputs.cluster.containerd, &tool.host)?;
    registry::forget_others(&mut steps, &tool.host, &registries)?;
    for registry in registries {
        steps.add(Directory::new(registry.dir()));
        steps.add(File::new(registry.path()).mode(0o640).text(registry.render()));
    }
    steps.add(Directory::new("/var/lib/cni").filled());
    steps.add(containerd_unit::unit());
    steps.add(ctr::answers());

    steps.add(Tool::leave(&left(&inputs)?)?);
    steps.milestone("runtime");

    // A node that joins gets the pods of all DaemonSets at once.
    let (first, others) = if inputs.makes_the_cluster {
        let [first, all] = Images::around_init(&inputs.artifacts);
        (first, Some(all))
    } else {
        (Images::all(&inputs.artifacts), None)
    };
    steps.add(first);
    steps.add(File::new(kubelet_env::PATH).mode(0o600).text(kubelet_env::render(&inputs)));
    let config = kubelet_config::render(&inputs)?;
    steps.add(File::new(kubelet_config::PATH).mode(0o600).text(config));
    steps.add(File::new(kubelet_unit::PATH).mode(0o600).text(kubelet_unit::TEXT));
    steps.add(kubelet_unit::unit(inputs.driver));
    steps.add(kubelet_unit::works());
    steps.milestone("kubelet");
    steps.extend(others);
    Ok(steps)
}

/// What the later phases learn.
fn left(inputs: &Inputs) -> Result<NodeState> {
    let images = images::run_by_pods(&inputs.artifacts);
    Ok(NodeState {
        schema: kspec::SCHEMA,
        cri_socket: kspec::paths::CRI_SOCKET.into(),
        containerd: inputs.file("containerd")?.version.clone(),
        runc: inputs.file("runc")?.version.clone(),
        kubelet: inputs.file("kubelet")?.version.clone(),
        cgroup_driver: inputs.driver.name().into(),
        nofile: inputs.nofile(),
        images: images.map(|(_, image)| (image.reference.clone(), image.digest)).collect(),
    })
}
