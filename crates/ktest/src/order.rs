//! In which order a phase goes.

use serde_json::Value;

use crate::Tree;

impl Tree {
    /// The ids of the steps that `plan ARGS` goes through, also of those that mean nothing in a
    /// tree. Something must be left to do.
    #[expect(clippy::missing_panics_doc, clippy::unwrap_used, reason = "only tests call this")]
    pub fn order(&self, args: &[&str]) -> Vec<String> {
        let (told, _) = self.run(&[&["plan", "--json"], args].concat(), 3);
        let events = told.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter_map(|event| Some(event["step"].as_str()?.to_owned())).collect()
    }

    /// The last step before `milestone`, and the first one after it where it is not the end, of what
    /// `plan ARGS` goes through.
    #[expect(clippy::missing_panics_doc, reason = "only tests call this")]
    pub fn around(&self, milestone: &str, args: &[&str]) -> Vec<String> {
        let all = self.order(args);
        let begun = self.order(&[&["--until", milestone], args].concat());
        assert!(all.starts_with(&begun), "{begun:?} begins something else than {all:?}");
        all.into_iter().skip(begun.len() - 1).take(2).collect()
    }
}
