//! A server that answers wrongly in more than a hundred ways: none is accepted, none is fatal
//! while a good server remains, and none leaves anything behind that a later run trips over.
//!
//! A fault that is not borne names itself; `KFETCH_FAULT=NAME cargo test -p kfetch --test cli
//! faults` tries it alone.

mod bodies;
mod case;
mod cuts;
mod heads;
mod ranges;
mod tls;
mod waits;
mod wire;

use std::{
    collections::BTreeSet,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Instant,
};

pub(crate) use wire::{Fault, Wire};

use self::case::{Case, Machines, Place};

/// Runs of kfetch at the same time: most of them wait.
const AT_ONCE: usize = 12;

/// Places besides files, and how the names of the faults begin that are tried there.
const ELSEWHERE: &[(Place, &[&str])] = &[
    (Place::Archive, &["cut-", "flipped-", "lacking-", "login-page", "length-of"]),
    (
        Place::Target,
        &["cut-", "flipped-", "stalled-middle", "status-404", "status-503", "redirect-to"],
    ),
    (
        Place::Layer,
        &[
            "cut-",
            "flipped-",
            "lacking-",
            "doubled-",
            "stalled-",
            "trickling",
            "range-",
            "chunks-",
            "no-answer",
            "ssh",
            "status-404",
            "status-503",
            "login-page",
            "zeros",
            "twice",
        ],
    ),
    (
        Place::Config,
        &["cut-middle", "flipped-", "lacking-", "stalled-first", "trickling", "status-503"],
    ),
    (
        Place::Manifest,
        &[
            "cut-",
            "flipped-",
            "lacking-",
            "stalled-middle",
            "login-page",
            "noise",
            "no-answer",
            "trickling",
            "status-404",
            "status-503",
            "chunks-of",
        ],
    ),
    (
        Place::Tag,
        &["cut-", "empty", "login-page", "noise", "no-answer", "status-404", "status-503"],
    ),
    (
        Place::Token,
        &["cut-", "empty", "login-page", "no-answer", "stalled-middle", "trickling", "status-403"],
    ),
];

fn cases() -> Vec<Case> {
    let faults = [bodies::all(), heads::all(), ranges::all()].concat();
    let mut cases = Vec::new();
    for (place, prefixes) in ELSEWHERE {
        for fault in &faults {
            if prefixes.iter().any(|prefix| fault.name.starts_with(prefix)) {
                cases.push(Case { place: *place, fault: fault.clone() });
            }
        }
    }
    cases.extend(faults.into_iter().map(|fault| Case { place: Place::File, fault }));
    cases
}

#[test]
fn no_fault_is_accepted_and_none_is_fatal_beside_a_good_server() {
    let asked = std::env::var("KFETCH_FAULT").ok();
    let mut cases = cases();
    cases.retain(|case| asked.as_ref().is_none_or(|asked| case.name() == *asked));
    let names: BTreeSet<_> = cases.iter().map(Case::name).collect();
    assert_eq!(names.len(), cases.len(), "two faults have the same name");
    assert!(asked.is_some() || names.len() >= 100, "only {} faults", names.len());

    let (machines, begun) = (Machines::new(), Instant::now());
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(why) = case.hold(&machines) {
                        failed.lock().unwrap().push(format!("{}: {why}", case.name()));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("{} faults in {:.1} s", names.len(), begun.elapsed().as_secs_f64());
    assert!(failed.is_empty(), "{} are not borne:\n{}", failed.len(), failed.join("\n"));
}
