//! Clusters, locks and manifests of a size that few have: what a phase takes must not run away.

use std::fmt::Write as _;

use kspec::paths::CLUSTER_TOML;
use serde_json::Value;

use crate::Tree;

/// A tool that holds no more than 100 MB, in KiB.
const MOST: u64 = 100_000_000 / 1024;
/// As many nodes as the largest cluster that is tried.
const NODES: usize = 500;

impl Tree {
    /// Run the tool as [`Tree::run`] does, which must hold no more memory than any tool may. What it
    /// said on standard output.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn run_in_little_memory(&self, args: &[&str], code: i32) -> String {
        let events = self.path("/run/events");
        let args = [args, &["--events", events.to_str().unwrap()]].concat();
        let (said, _) = self.run(&args, code);
        let events = self.read("/run/events");
        let ended: Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
        let peak = ended["peak_kib"].as_u64().unwrap();
        assert!(peak < MOST, "{args:?} held {peak} KiB");
        said
    }

    /// What is to be done on `node1` must be the same whether it is alone or one of 500 nodes, but
    /// for the steps `other`, and take no more memory than any tool may.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn has_no_more_to_do_among_500_nodes(&self, other: &[&str]) {
        let planned = || -> Vec<Value> {
            let said = self.run_in_little_memory(&["plan", "--json", "--node", "node1"], 3);
            let events = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let mut planned: Vec<_> = events.filter(|event| event["event"] == "planned").collect();
            for event in &mut planned {
                event["at"] = Value::Null;
                if event["step"].as_str().is_some_and(|step| other.contains(&step)) {
                    event["diff"] = Value::Null;
                }
            }
            planned
        };
        let one = self.read(CLUSTER_TOML);
        let one = one.replace("schema = 1\n", "schema = 1\nnetwork.pod-cidr = \"10.0.0.0/9\"\n");
        self.write(CLUSTER_TOML, &one);
        let alone = planned();
        assert!(!alone.is_empty());
        let others = (1..NODES).fold(String::new(), |mut text, number| {
            let (high, low) = (number / 250, number % 250);
            let _ = write!(
                text,
                "[[node]]\nname = \"worker{number}\"\naddress = \"198.18.{high}.{low}\"\n\
                 roles = [\"worker\"]\nlabels = {{ \"example.com/rack\" = \"r{number}\" }}\n"
            );
            text
        });
        self.write(CLUSTER_TOML, &(one + &others));
        assert_eq!(planned(), alone);
    }
}
