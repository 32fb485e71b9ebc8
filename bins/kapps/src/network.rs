//! The pod network, which the add-ons' pods need and their objects do not.

use std::{
    cell::OnceCell,
    time::{Duration, Instant},
};

use khost::{
    Tool, fs,
    lock::Lock,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};
use kspec::state::{Cni, State as _};

/// How long kcni may take to begin when both are started at once.
const PATIENCE: Duration = Duration::from_secs(3);

/// kcni has left `cni.json`. While it is at work this waits for it: the add-ons are applied already,
/// and their pods start with the network. When it is not, nobody else will bring it.
///
/// # Errors
/// `input-missing`, `input-invalid`.
pub(crate) fn there() -> Wait {
    let awaited = Awaited {
        id: "pod-network".into(),
        what: "the pod network".into(),
        limit: Duration::from_secs(300),
        look: "kcni check".into(),
    };
    let begun = OnceCell::new();
    Wait::new(awaited, move |context| {
        let begun: &Instant = begun.get_or_init(Instant::now);
        let comes = || begun.elapsed() < PATIENCE || Lock::holder(context.host, "kcni").is_some();
        if !fs::exists(&context.host.path(Cni::PATH)) && comes() {
            return Ok(Seen::NotYet(format!("kcni has not left `{}`", Cni::PATH)));
        }
        Tool::state_on::<Cni>(context.host)?;
        Ok(Seen::Ready)
    })
}
