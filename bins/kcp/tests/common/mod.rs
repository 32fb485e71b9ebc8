//! What kcp's tests start from.
#![allow(dead_code, reason = "each of the tests uses a part of it")]

use ktest::Tree;

pub(crate) const KCP: &str = env!("CARGO_BIN_EXE_kcp");

/// A tree with everything the earlier phases leave.
pub(crate) fn tree(extra: &str) -> Tree {
    let tree = Tree::with_cluster(KCP, extra);
    fill(&tree);
    tree
}

pub(crate) fn fill(tree: &Tree) {
    let files = [tree.store("kubectl", "1.33.3", &["kubectl"])];
    tree.leave(&ktest::artifacts(files, []));
    tree.leave(&ktest::facts());
    tree.leave(&ktest::pki());
    tree.leave(&ktest::etcd());
    tree.leave(&ktest::node());
}
