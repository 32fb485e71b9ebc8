//! Images as kfetch has them.

use khost::Result;
use kspec::state::Artifacts;

/// The reference of the image that the lock calls `name`.
pub(crate) fn reference<'a>(artifacts: &'a Artifacts, name: &str) -> Result<&'a str> {
    Ok(&khost::artifacts::image(artifacts, name)?.reference)
}

/// The tag of a reference: `v1.12.0`. Empty when it has none.
pub(crate) fn tag(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    let name = reference.rsplit('/').next().unwrap_or(reference);
    name.split_once(':').map_or("", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_tag_is_told_from_a_port_and_a_digest() {
        assert_eq!(super::tag("registry.k8s.io/coredns/coredns:v1.12.0"), "v1.12.0");
        assert_eq!(super::tag("10.0.0.1:5000/a/b:1@sha256:00"), "1");
        assert_eq!(super::tag("10.0.0.1:5000/a/b"), "");
    }
}
