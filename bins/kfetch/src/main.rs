//! kfetch: have every file and image the node needs, each with the right digest.
//!
//! Reads  `cluster.toml`, `artifacts.lock`
//! Writes `artifacts.json`, `/var/lib/k8steps/store`

mod archive;
mod attempt;
#[cfg(test)]
mod bent;
mod bundle;
mod catalogue;
mod challenge;
mod clients;
mod credentials;
mod download;
mod elf;
mod extract;
mod fetcher;
mod hashed;
mod image;
mod index;
mod layout;
mod list;
mod load;
mod lockfile;
mod pace;
mod partial;
mod pin;
mod pool;
mod progress;
mod prune;
mod record;
mod reference;
mod registry;
mod registry_host;
mod source;
mod store;
mod trust;
mod unbundle;
mod verb;
mod verify;
mod wanted;
mod web;
mod what;

use std::{process::ExitCode, rc::Rc};

use khost::{Result, StepList, Tool, app::Cli, error::Exit};

use crate::{
    fetcher::{Fetcher, Item},
    layout::Layout,
    record::Record,
    source::Sources,
    store::Store,
    verb::{Verb, Verbs},
    wanted::Wanted,
};

const ABOUT: &str = "Have every file and image the node needs, each with the right digest

Downloads what artifacts.lock names for this machine's architecture, several \
at a time: files from the mirrors of cluster.toml and then from upstream, \
images from the hosts of their registry. Nothing is kept under its name before \
its SHA-256 fits. A download that was cut off goes on where it stopped.

Everything lies in /var/lib/k8steps/store, one OCI image layout. Needs no \
facts.json: kfetch may run beside kprep and kpki.

Example: fetch, and see what there is

    kfetch apply
    kfetch list";

fn main() -> ExitCode {
    khost::app::main("kfetch", ABOUT, run)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that khost::app::main calls")]
fn run(cli: Cli<Verbs>) -> Result<Exit> {
    let tool = Tool::new("kfetch", &cli.common);
    let Verbs { verb, offline } = &cli.verb;
    let sources = |tool: &Tool| Sources::new(&tool.cluster()?, &tool.host, *offline);
    match verb {
        Verb::Phase(verb) => tool.run::<Verbs>(verb, ABOUT, |tool| steps(tool, sources(tool)?)),
        Verb::Lock { check } => pin::lock(&tool, &sources(&tool)?, *check),
        Verb::Bundle { file } => bundle::bundle(&tool, file),
        Verb::Load { file } => load::load(&tool, file),
        Verb::Prune { yes } => prune::prune(&tool, *yes),
        Verb::Verify => verify::verify(&tool),
        Verb::List => list::list(&tool, &fetcher(&tool, sources(&tool)?)?),
    }
}

/// The phase as a list.
fn steps(tool: &Tool, sources: Sources) -> Result<StepList> {
    wanted::check_kubernetes(&tool.lock()?, &tool.cluster()?.kubernetes.version)?;
    let fetcher = Rc::new(fetcher(tool, sources)?);
    let mut steps = StepList::new();
    steps.add(Layout);
    steps.extend(Item::all(&fetcher));
    steps.add(Record::new(&fetcher));
    Ok(steps)
}

fn fetcher(tool: &Tool, sources: Sources) -> Result<Fetcher> {
    let lock = tool.lock()?;
    let store = Store::new(&tool.host);
    let arch = wanted::this_machine()?;
    let record = record::read(&tool.host)?.filter(|record| record.arch == arch);
    let wanted = Wanted::new(&lock, arch, &store, record.as_ref())?;
    sources.check(&wanted)?;
    Ok(Fetcher::new(store, wanted, sources, record))
}
