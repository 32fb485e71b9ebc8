//! The life of a phase, from a machine that has never seen it back to the same machine.

use serde_json::Value;

use crate::Tree;

impl Tree {
    /// What every phase promises, tried on this tree, which must be one that the phase changes:
    ///
    /// 1. `plan` ends with 3, shows each change to people, and writes nothing;
    /// 2. `apply` ends with 0 and changes exactly the steps that `plan` named, in that order;
    /// 3. a second `apply` says that there is nothing to do, and leaves every path as it was;
    /// 4. `plan` and `check` end with 0;
    /// 5. `reset --yes` ends with 0 and leaves the tree as it was before the first `apply`.
    ///
    /// `meanwhile` is called before 5, on the applied tree: it looks at what the phase made, and
    /// may leave what programs would while they run, if reset is to take it away.
    ///
    /// Returns the planned changes in words, such as "create /etc/crictl.yaml (0644 root:root)".
    #[expect(clippy::missing_panics_doc, reason = "only tests call this")]
    pub fn lives_through_its_phase(&self, meanwhile: impl FnOnce()) -> Vec<String> {
        let before = self.listing();
        let (shown, _) = self.run(&["plan"], 3);
        let (planned, words) = self.steps(&["plan", "--json"], 3, "planned");
        assert!(!planned.is_empty(), "nothing is planned");
        let marked: Vec<_> = shown.lines().filter_map(|line| line.strip_prefix("~ ")).collect();
        assert_eq!(marked, words, "people are shown something else than programs");
        assert_eq!(self.listing(), before, "plan writes something");

        let (changed, _) = self.steps(&["apply", "--json"], 0, "changed");
        assert_eq!(changed, planned, "apply does something else than planned");

        let applied = self.listing();
        let (_, said) = self.run(&["apply"], 0);
        assert!(said.contains("nothing to do"), "{said}");
        assert_eq!(self.listing(), applied, "a second apply changes something");
        self.run(&["plan"], 0);
        self.run(&["check"], 0);

        meanwhile();
        self.run(&["reset", "--yes"], 0);
        assert_eq!(self.listing(), before, "reset leaves something behind");
        words
    }

    /// The steps that a run with `--json` tells of with `event`: their ids, and what each changes.
    #[expect(clippy::unwrap_used, reason = "only tests call this")]
    fn steps(&self, args: &[&str], code: i32, event: &str) -> (Vec<String>, Vec<String>) {
        let (stdout, _) = self.run(args, code);
        let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        lines
            .filter(|line| line["event"] == event)
            .map(|line| (text(&line["step"]), text(&line["what"])))
            .unzip()
    }
}
