//! `kcp rotate-key`: another key for what is encrypted in etcd.

use khost::{
    Error, Result, StepList, Tool, engine,
    error::Exit,
    static_pod::{Component, StaticPod},
};

use crate::{
    encryption::{self, KeysFile},
    inputs::Inputs,
    kubeadm_config,
    marker::Marker,
    static_pods,
};

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// Only show what would be done
    #[arg(long)]
    plan: bool,
}

/// A new key first, everything written again, the old key dropped. What was interrupted is gone
/// on with, by this or by `kcp apply`.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    if !request.plan {
        tool.needs_root("rotate-key")?;
        tool.alone()?;
    }
    let inputs = Inputs::read(tool)?;
    if !inputs.cluster.control_plane.encryption.enabled {
        return Err(Error::input(
            "encryption-off",
            "there is no key to change: nothing is encrypted",
        )
        .hint("set `enabled = true` in [control-plane.encryption] and run `kcp apply`"));
    }
    if !Marker::read(&tool.host)?.is_initialised() {
        return Err(Error::input("no-cluster", "there is no cluster on this node yet")
            .hint("run `kcp apply`"));
    }
    let config = kubeadm_config::render(&inputs)?;
    let file = KeysFile::new(&inputs).rotated();
    let api_server = StaticPod::new(Component::ApiServer, &inputs.cluster);
    let mut steps = StepList::new();
    steps.add(file.clone());
    steps.add(static_pods::Current::new(Component::ApiServer, &inputs, &config));
    steps.add(api_server.healthy());
    steps.add(encryption::written_anew(&file));
    steps.add(encryption::old_keys_dropped(&file, &api_server));
    if request.plan {
        return engine::plan(&steps, &tool.context());
    }
    engine::apply("kcp", &steps, &tool.context())
}
