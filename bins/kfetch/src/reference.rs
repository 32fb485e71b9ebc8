//! The full name of an image: `REGISTRY/REPOSITORY:TAG`, with or instead of a tag `@sha256:HEX`.
//!
//! Grammar: OCI distribution specification 1.1, "Pulling manifests". Short names, which Docker
//! fills in, are refused: pods and containerd would know the image by another name.

use kspec::Sha256;

/// An image's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `HOST` or `HOST:PORT`.
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) named: Named,
}

/// Which image of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Named {
    /// What this tag means now.
    Tag(String),
    /// The one with this manifest.
    Digest(Sha256),
}

impl std::fmt::Display for Named {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// # Errors
/// What is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Reference, String> {
    let (name, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest.parse::<Sha256>().map_err(|e| format!("{e}"))?)),
        None => (text, None),
    };
    let (registry, rest) = name.split_once('/').unwrap_or_default();
    if !(registry.contains(['.', ':']) || registry == "localhost") {
        return Err("it does not begin with a registry, such as docker.io/library/".into());
    }
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    if !repository.split('/').all(is_repository) {
        return Err(format!("`{repository}` is not the name of a repository"));
    }
    if !tag.is_none_or(is_tag) {
        return Err(format!("`{}` is not a tag", tag.unwrap_or_default()));
    }
    let named = match (digest, tag) {
        (Some(digest), _) => Named::Digest(digest),
        (None, Some(tag)) => Named::Tag(tag.into()),
        (None, None) => return Err("it has neither a tag nor a digest".into()),
    };
    Ok(Reference { registry: registry.into(), repository: repository.into(), named })
}

fn is_repository(part: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    let end = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    end(part.bytes().next()) && end(part.bytes().last()) && part.bytes().all(inner)
}

fn is_tag(tag: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    !tag.is_empty() && tag.len() <= 128 && !tag.starts_with(['.', '-']) && tag.bytes().all(inner)
}

#[cfg(test)]
mod tests {
    use kspec::Sha256;

    #[test]
    fn names_taken_apart() {
        let digest = Sha256::of("x");
        let cases = [
            ("registry.k8s.io/pause:3.10", "registry.k8s.io", "pause", "3.10"),
            ("docker.io/library/nginx:1-alpine", "docker.io", "library/nginx", "1-alpine"),
            ("10.0.0.1:5000/a/b_c:v1", "10.0.0.1:5000", "a/b_c", "v1"),
            (&format!("localhost/a:v1@{digest}"), "localhost", "a", &digest.to_string()),
            (&format!("r.io:5000/a@{digest}"), "r.io:5000", "a", &digest.to_string()),
        ];
        for (text, registry, repository, wanted) in cases {
            let found = super::parse(text).unwrap();
            assert_eq!((&*found.registry, &*found.repository), (registry, repository));
            assert_eq!(found.named.to_string(), wanted);
        }
    }

    #[test]
    fn names_that_are_none() {
        for text in [
            "",
            "nginx:1",
            "library/nginx:1",
            "r.io/a",
            "r.io/A:1",
            "r.io/a//b:1",
            "r.io/../a:1",
            "r.io/a:",
            "r.io/a:-1",
            "r.io/a:é",
            "r.io/a b:1",
            "r.io/:1",
            "r.io/a@sha256:00",
            &format!("r.io/a@sha512:{}", "0".repeat(128)),
            "r.io/a:1/b",
        ] {
            assert!(super::parse(text).is_err(), "{text}");
        }
    }
}
