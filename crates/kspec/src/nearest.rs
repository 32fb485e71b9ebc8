//! The known key nearest to an unknown one.

/// Reads serde's `unknown field` (or `unknown variant`) message, which lists what was expected,
/// and returns the closest of those, if any is close enough to be a slip of the finger.
pub(crate) fn suggestion(message: &str) -> Option<String> {
    let message = message.strip_prefix("unknown ")?;
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next()?;
    quoted
        .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
        .filter(|(distance, known)| *distance <= known.len().max(unknown.len()) / 2)
        .min()
        .map(|(_, known)| known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn finds_the_slip() {
        let message = "unknown field `pod-cdir`, expected one of `service-cidr`, `pod-cidr`";
        assert_eq!(suggestion(message).as_deref(), Some("pod-cidr"));
    }

    #[test]
    fn says_nothing_when_nothing_is_near() {
        assert_eq!(suggestion("unknown field `zebra`, expected `pod-cidr`"), None);
        assert_eq!(suggestion("invalid type: string, expected u32"), None);
    }
}
