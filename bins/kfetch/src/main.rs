//! kfetch: have every file and image the node needs, each with the right digest.
//!
//! Reads  `cluster.toml`, `artifacts.lock`
//! Writes `artifacts.json`, `/var/lib/k8steps/store`

mod archive;
mod attempt;
mod download;
mod fetcher;
mod image;
mod index;
mod layout;
mod list;
mod partial;
mod pin;
mod pool;
mod progress;
mod record;
mod reference;
mod registry;
mod source;
mod store;
mod verify;
mod wanted;
mod what;

use std::{process::ExitCode, rc::Rc};

use khost::{Result, StepList, Tool, app::Cli, error::Exit};

use crate::{
    fetcher::{Fetcher, Item},
    layout::Layout,
    record::Record,
    source::Sources,
    store::Store,
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

/// What kfetch can do.
#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(flatten)]
    Phase(khost::app::Verb),
    /// Write the digests that image tags have now into artifacts.lock
    Lock,
    /// Read everything in the store again; exits 1 when something is damaged
    Verify,
    /// List what the lock names, and whether the store has it
    List,
}

fn main() -> ExitCode {
    khost::app::main("kfetch", ABOUT, run)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that khost::app::main calls")]
fn run(cli: Cli<Verb>) -> Result<Exit> {
    let tool = Tool::new("kfetch", &cli.common);
    match &cli.verb {
        Verb::Phase(verb) => tool.run::<Verb>(verb, ABOUT, steps),
        Verb::Lock => {
            tool.needs_root("lock")?;
            pin::pin(&tool)
        }
        Verb::Verify => verify::verify(&tool),
        Verb::List => list::list(&tool, &fetcher(&tool)?),
    }
}

/// The phase as a list.
fn steps(tool: &Tool) -> Result<StepList> {
    let fetcher = Rc::new(fetcher(tool)?);
    let mut steps = StepList::new();
    steps.add(Layout);
    steps.extend(Item::all(&fetcher));
    steps.add(Record::new(&fetcher));
    Ok(steps)
}

fn fetcher(tool: &Tool) -> Result<Fetcher> {
    let cluster = tool.cluster()?;
    let lock = tool.lock()?;
    let store = Store::new(&tool.host);
    let arch = wanted::this_machine()?;
    let record = record::read(&tool.host)?.filter(|record| record.arch == arch);
    let wanted = Wanted::new(&lock, arch, &store, record.as_ref())?;
    let sources = Sources::new(&cluster)?;
    sources.check(&wanted)?;
    Ok(Fetcher::new(store, wanted, sources, record))
}
