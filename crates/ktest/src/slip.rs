//! What a hand does to a text that it edits.

use proptest::{prelude::*, sample::Index};

/// `text` with some letters gone and a few others in their place: a slip of the hand, for
/// properties of what reads a text that people edit.
pub fn slip_of_the_hand(text: &str) -> impl Strategy<Value = String> + use<> {
    let letters: Vec<char> = text.chars().collect();
    (any::<Index>(), 0_usize..40, "[-a-z: \\n\\[{&*é]{0,4}").prop_map(move |(at, drop, put)| {
        let at = at.index(letters.len());
        let rest = (at + drop).min(letters.len());
        let head = letters[..at].iter().copied();
        head.chain(put.chars()).chain(letters[rest..].iter().copied()).collect()
    })
}
