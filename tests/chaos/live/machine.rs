//! How a node is, fact by fact, and what of it is not as before.

use std::collections::BTreeSet;

use pipeline_tests::node::Node;

/// What may differ, and why, is for those who run `reset` to know: the list is theirs.
const LIST: &str = include_str!("../../../docs/reset.md");

/// The facts that `snapshot` prints.
#[derive(Debug)]
pub(crate) struct Machine(BTreeSet<String>);

impl Machine {
    pub(crate) fn of(node: &Node) -> Self {
        let facts = String::from_utf8_lossy(&node.secret("/root/live/snapshot")).into_owned();
        Self(facts.lines().map(str::to_owned).collect())
    }

    /// The facts that are not as they were: what is gone (`-`) and what is new (`+`), but for those
    /// that docs/reset.md has.
    pub(crate) fn changes(&self, before: &Self) -> Vec<String> {
        let gone = before.0.difference(&self.0).map(|fact| ('-', fact));
        let new = self.0.difference(&before.0).map(|fact| ('+', fact));
        let allowed: Vec<_> = may_differ(LIST).collect();
        gone.chain(new)
            .filter(|(_, fact)| !allowed.iter().any(|pattern| matches(pattern, fact)))
            .map(|(sign, fact)| format!("{sign} {fact}"))
            .collect()
    }
}

/// The first column of the tables: patterns of facts.
fn may_differ(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |")).map(|(it, _)| it)
}

/// Does the fact begin as the pattern says? A star stands for anything.
fn matches(pattern: &str, fact: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = fact.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    parts.all(|part| match rest.find(part) {
        Some(at) => {
            rest = &rest[at + part.len()..];
            true
        }
        None => false,
    })
}

#[test]
fn only_what_is_listed_may_differ() {
    let facts = |text: &str| Machine(text.lines().map(str::to_owned).collect());
    let before = facts("file /etc/hosts f 644 0:0\nbytes /var/log/wtmp 00");
    let after = facts("file /etc/hosts f 600 0:0\nbytes /var/log/wtmp 01");
    let changes = ["- file /etc/hosts f 644 0:0", "+ file /etc/hosts f 600 0:0"];
    assert_eq!(after.changes(&before), changes);
    assert!(matches("file /etc/*-", "file /etc/passwd- f") && !matches("file /a*-", "file /a/b"));
    assert!(may_differ(LIST).count() > 1 && !may_differ(LIST).any(str::is_empty));
}
