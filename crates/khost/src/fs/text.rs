//! Files of others as text, of which every byte comes back, those too that are no UTF-8.

/// The stand-ins for single bytes: private characters that no file is expected to hold. One that
/// does is taken for its bytes as well.
const FIRST: u32 = 0x10_ff00;

fn is_stand_in(letter: char) -> bool {
    u32::from(letter) >= FIRST
}

/// `bytes` with a stand-in for each that is not of UTF-8.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    let stand_in = |byte: &u8| char::from_u32(FIRST + u32::from(*byte));
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if is_stand_in(letter) {
                text.extend(letter.encode_utf8(&mut [0; 4]).as_bytes().iter().filter_map(stand_in));
            } else {
                text.push(letter);
            }
        }
        text.extend(chunk.invalid().iter().filter_map(stand_in));
    }
    text
}

/// The bytes that [`text_of`] made `text` of.
pub(crate) fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match u32::from(letter).checked_sub(FIRST).map(u8::try_from) {
            Some(Ok(byte)) => bytes.push(byte),
            _ => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// `text` for people.
pub(crate) fn shown(text: &str) -> String {
    text.replace(is_stand_in, "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{bytes_of, shown, text_of};

    /// Bytes of which some are the stand-ins themselves, whole or torn.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..4),
            any::<String>().prop_map(String::into_bytes),
            (0x10_fe00_u32..=0x10_ffff).prop_map(|code| {
                char::from_u32(code).unwrap_or_default().to_string().into_bytes()
            }),
        ];
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn every_byte_comes_back(bytes in bytes()) {
            let text = text_of(&bytes);
            prop_assert_eq!(bytes_of(&text), bytes);
            prop_assert!(!shown(&text).contains(super::is_stand_in));
        }
    }
}
