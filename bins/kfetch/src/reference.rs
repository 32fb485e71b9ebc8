//! The full name of an image: `REGISTRY/REPOSITORY:TAG`, with or instead of a tag `@sha256:HEX`.
//!
//! Grammar: OCI distribution specification 1.1, "Pulling manifests". Short names, which Docker
//! fills in, are refused: pods and containerd would know the image by another name.

use std::str::FromStr;

use kspec::Sha256;

/// An image's name, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// `registry.k8s.io`, `10.0.0.1:5000`.
    pub(crate) registry: String,
    /// `coredns/coredns`.
    pub(crate) repository: String,
    /// `v1.12.0`.
    tag: Option<String>,
    digest: Option<Sha256>,
}

impl Reference {
    /// What a registry is asked for: the digest, or the tag.
    pub(crate) fn wanted(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, tag) => tag.clone().unwrap_or_default(),
        }
    }
}

impl FromStr for Reference {
    /// What is wrong with it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse().map_err(|e| format!("{e}"))?)),
            None => (text, None),
        };
        let (registry, rest) = name.split_once('/').unwrap_or_default();
        if !(registry.contains(['.', ':']) || registry == "localhost") {
            return Err("it does not begin with a registry, such as docker.io/library/".into());
        }
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag.to_owned())),
            None => (rest, None),
        };
        if !repository.split('/').all(is_repository) {
            return Err(format!("`{repository}` is not the name of a repository"));
        }
        if !tag.as_deref().is_none_or(is_tag) {
            return Err(format!("`{}` is not a tag", tag.unwrap_or_default()));
        }
        if tag.is_none() && digest.is_none() {
            return Err("it has neither a tag nor a digest".into());
        }
        Ok(Self { registry: registry.into(), repository: repository.into(), tag, digest })
    }
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

    use super::Reference;

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
            let found: Reference = text.parse().unwrap();
            assert_eq!(
                (found.registry.as_str(), found.repository.as_str(), found.wanted().as_str()),
                (registry, repository, wanted)
            );
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
            "r.io/a b:1",
            "r.io/:1",
            "r.io/a@sha256:00",
            "r.io/a:1/b",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
