//! Images as kfetch has them, or as the operator wants them.

use khost::{Error, Result};
use kspec::{
    cluster::{Addon, Download},
    state::Artifacts,
};

/// The reference of the image to run: the one that `addon` names, or that the lock calls `name`,
/// with the version that `addon` names.
///
/// # Errors
/// `artifact-missing`, and `image-not-in-store` where nothing may be fetched.
pub(crate) fn reference(
    artifacts: &Artifacts,
    download: &Download,
    addon: &Addon,
    name: &str,
) -> Result<String> {
    let wanted = match (&addon.image, &addon.version) {
        (None, None) => return Ok(khost::artifacts::image(artifacts, name)?.reference.clone()),
        (Some(image), _) => image.clone(),
        (None, Some(version)) => {
            with_tag(&khost::artifacts::image(artifacts, name)?.reference, version)
        }
    };
    if download.offline && !artifacts.images.values().any(|image| image.reference == wanted) {
        return Err(Error::input("image-not-in-store", format!("`{wanted}` is not in the store"))
            .because("[addons] of cluster.toml wants it, and download.offline lets nobody fetch it")
            .hint(format!(
                "give it an [[image]] section in artifacts.lock and run `kfetch apply` and \
                 `knode apply`, or leave {name} to the lock"
            )));
    }
    Ok(wanted)
}

/// `reference` with another tag, and without the digest of the one it had.
fn with_tag(reference: &str, tag: &str) -> String {
    let name = reference.split('@').next().unwrap_or(reference);
    let end = name.rfind('/').map_or(0, |slash| slash + 1);
    let colon = name[end..].find(':').map_or(name.len(), |at| end + at);
    format!("{}:{tag}", &name[..colon])
}

/// The tag of a reference: `v1.12.0`. Empty when it has none.
pub(crate) fn tag(reference: &str) -> &str {
    let reference = reference.split('@').next().unwrap_or(reference);
    let name = reference.rsplit('/').next().unwrap_or(reference);
    name.split_once(':').map_or("", |(_, tag)| tag)
}

#[cfg(test)]
mod tests {
    use kspec::cluster::{Addon, Download};

    #[test]
    fn the_operators_choice_goes_before_the_locks() {
        let lock = ktest::artifacts([], [ktest::image("coredns", "r.example/coredns:v1.12.0")]);
        let chosen = |image: Option<&str>, version: Option<&str>, offline| {
            let (image, version) = (image.map(Into::into), version.map(Into::into));
            let addon = Addon { image, version, ..Addon::default() };
            let download = Download { offline, ..Download::default() };
            super::reference(&lock, &download, &addon, "coredns")
        };
        assert_eq!(chosen(None, None, true).unwrap(), "r.example/coredns:v1.12.0");
        assert_eq!(chosen(None, Some("v1.12.1"), false).unwrap(), "r.example/coredns:v1.12.1");
        assert_eq!(chosen(Some("o.example/dns:1"), None, false).unwrap(), "o.example/dns:1");
        assert_eq!(chosen(None, Some("v1.12.0"), true).unwrap(), "r.example/coredns:v1.12.0");
        let refused = chosen(Some("o.example/dns:1"), None, true).unwrap_err();
        assert_eq!(refused.code(), "image-not-in-store");
    }

    #[test]
    fn a_version_replaces_the_tag_alone() {
        let digest = "10.0.0.1:5000/a/b:1@sha256:00";
        assert_eq!(super::with_tag(digest, "2"), "10.0.0.1:5000/a/b:2");
        assert_eq!(super::with_tag("10.0.0.1:5000/a/b", "2"), "10.0.0.1:5000/a/b:2");
    }

    #[test]
    fn a_tag_is_told_from_a_port_and_a_digest() {
        assert_eq!(super::tag("registry.k8s.io/coredns/coredns:v1.12.0"), "v1.12.0");
        assert_eq!(super::tag("10.0.0.1:5000/a/b:1@sha256:00"), "1");
        assert_eq!(super::tag("10.0.0.1:5000/a/b"), "");
    }
}
