//! Connections that end anywhere, again and again: whatever has come is not sent twice.

use std::fs;

use crate::{
    Lock, blob, bytes, download, run,
    server::{Answer, Server},
    tree,
};

use super::wire::{Fault, Wire};

/// Chance that can be had again: `KFETCH_SEED=N`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chance(u64);

impl Chance {
    #[expect(clippy::print_stdout, reason = "what a failed test is repeated with")]
    pub(super) fn new() -> Self {
        let given = std::env::var("KFETCH_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()));
        println!("seed {seed}");
        Self(seed)
    }

    /// A number below `end`, by the generator called `SplitMix64`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

#[test]
fn however_often_it_is_cut_nothing_is_sent_twice() {
    let (server, body, mut chance) = (Server::start(), bytes(400_000), Chance::new());
    let cuts: Vec<_> = (0..12).map(|_| chance.below(60_000)).collect();
    let fault = Fault::new("cut-anywhere", move |wire: &mut Wire<'_>| {
        let from = wire.from.unwrap_or(0);
        match cuts.get(wire.earlier) {
            Some(length) => wire.cut((from + length).min(wire.body.len())),
            None => wire.good(),
        }
    });
    server.serve("/kubelet", Answer::Faulty(fault, body.clone()));
    let url = format!("{}/kubelet", server.url());
    let tree = tree(&download(""), &Lock::new().file("kubelet", &url, &body).0);
    let mut runs = 0;
    while !blob(&tree, &body).exists() {
        runs += 1;
        assert!(runs < 20, "it does not come to an end");
        tree.tool().arg("apply").output().unwrap();
    }
    run(&tree, &["verify"], 0);
    assert_eq!(fs::read(blob(&tree, &body)).unwrap(), body);
    assert_eq!(server.sent(), body.len(), "bytes that had come were sent again");
    assert!(runs > 1 && server.requests().len() >= 10, "it was not cut often");
}
