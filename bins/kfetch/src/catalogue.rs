//! What can be locked: every component of a node, its versions, and what they must hash to.
//!
//! The data is `share/catalogue.toml`, compiled in: a lock is made without asking anybody.

use std::collections::BTreeMap;

use khost::{Error, Result};
use kspec::{Arch, Format, LockedFile, Sha256};
use semver::Version;
use serde::Deserialize;

const TEXT: &str = include_str!("../../../share/catalogue.toml");

/// Components in the order in which a lock has them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Catalogue {
    schema: u32,
    /// Versions that go with a minor of Kubernetes, by component.
    minor: BTreeMap<String, BTreeMap<String, String>>,
    #[serde(rename = "file")]
    files: Vec<File>,
    #[serde(rename = "image")]
    images: Vec<Image>,
}

/// A component that is one file, and all its versions.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    name: String,
    /// With `{version}` and `{arch}` to be filled in, as `members` may have them.
    url: String,
    version: String,
    #[serde(default)]
    format: Format,
    #[serde(default)]
    members: Vec<String>,
    sha256: BTreeMap<Version, BTreeMap<Arch, Sha256>>,
}

/// A component that is an image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Image {
    name: String,
    #[serde(rename = "ref")]
    reference: String,
    version: String,
}

/// One version of every component.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    pub(crate) files: Vec<Chosen<'a>>,
    /// Name and full reference.
    pub(crate) images: Vec<(&'a str, String)>,
}

/// One version of a file.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    file: &'a File,
    pub(crate) version: String,
}

impl Catalogue {
    /// The one that came with this program.
    pub(crate) fn built_in() -> Result<Self> {
        Self::parse(TEXT)
    }

    fn parse(text: &str) -> Result<Self> {
        let damaged = |cause: String| {
            Error::host("catalogue-damaged", "the catalogue in this program cannot be read")
                .because(cause)
                .hint("install kfetch again: this one was built from a damaged source")
        };
        let found: Self = toml::from_str(text).map_err(|error| damaged(error.to_string()))?;
        match found.schema {
            kspec::SCHEMA => Ok(found),
            other => Err(damaged(format!("it has schema {other}"))),
        }
    }

    /// Everything for this Kubernetes. `versions` replaces the version of a component by name.
    pub(crate) fn select(
        &self,
        kubernetes: &Version,
        versions: &BTreeMap<String, String>,
    ) -> Result<Selection<'_>> {
        self.check(versions)?;
        let key = format!("{}.{}", kubernetes.major, kubernetes.minor);
        let minor = self.minor.get(&key).ok_or_else(|| {
            let known: Vec<_> = self.minor.keys().map(String::as_str).collect();
            Error::input("version-unknown", format!("the catalogue has no Kubernetes {key}"))
                .hint(format!("choose a kubernetes.version of {}", known.join(", ")))
        })?;
        let version = |name: &str, own: &str| match own {
            "kubernetes" => kubernetes.to_string(),
            "minor" => versions.get(name).or(minor.get(name)).cloned().unwrap_or_default(),
            own => versions.get(name).map_or(own, String::as_str).to_owned(),
        };
        let files = self.files.iter().map(|file| {
            let version = version(&file.name, &file.version);
            Chosen { file, version }
        });
        let images = self.images.iter().map(|image| {
            let version = version(&image.name, &image.version);
            (image.name.as_str(), image.reference.replace("{version}", &version))
        });
        Ok(Selection { files: files.collect(), images: images.collect() })
    }

    /// Refuse versions of what is not known, or follows Kubernetes.
    fn check(&self, versions: &BTreeMap<String, String>) -> Result<()> {
        let files = self.files.iter().map(|file| (file.name.as_str(), &file.version));
        let images = self.images.iter().map(|image| (image.name.as_str(), &image.version));
        let known: BTreeMap<_, _> = files.chain(images).collect();
        for name in versions.keys() {
            match known.get(name.as_str()) {
                None => {
                    let names: Vec<_> = known.keys().copied().collect();
                    return Err(Error::input(
                        "artifact-unknown",
                        format!("[download] versions names `{name}`, which the catalogue has not"),
                    )
                    .hint(format!("choose of: {}", names.join(", "))));
                }
                Some(version) if *version == "kubernetes" => {
                    return Err(Error::input(
                        "version-follows-kubernetes",
                        format!("`{name}` has the version of Kubernetes"),
                    )
                    .hint(format!("set kubernetes.version, and take `{name}` out of versions")));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

impl Chosen<'_> {
    pub(crate) fn name(&self) -> &str {
        &self.file.name
    }

    /// The digest that its project publishes for `arch`, if that is known.
    pub(crate) fn published(&self, arch: Arch) -> Option<Sha256> {
        let version = self.version.parse().ok()?;
        self.file.sha256.get(&version)?.get(&arch).copied()
    }

    /// The section for `arch`.
    ///
    /// # Errors
    /// `version-unknown` with the known versions nearest to it.
    pub(crate) fn locked(&self, arch: Arch) -> Result<LockedFile> {
        let File { name, url, format, members, .. } = self.file;
        let sha256 = self.published(arch).ok_or_else(|| {
            let what = format!("the catalogue has no SHA-256 of {name} {}", self.version);
            Error::input("version-unknown", what).hint(format!(
                "choose one it has, such as {}; or write [[file]] sections for it yourself",
                self.nearest().join(" or ")
            ))
        })?;
        let fill = |text: &String| {
            text.replace("{version}", &self.version).replace("{arch}", arch.as_str())
        };
        Ok(LockedFile {
            name: name.clone(),
            version: self.version.clone(),
            arch,
            url: fill(url),
            sha256,
            format: *format,
            members: members.iter().map(fill).collect(),
        })
    }

    /// The known versions right below and above.
    fn nearest(&self) -> Vec<String> {
        let Ok(wanted) = self.version.parse::<Version>() else {
            return self
                .file
                .sha256
                .keys()
                .next_back()
                .map(ToString::to_string)
                .into_iter()
                .collect();
        };
        let below = self.file.sha256.range(..&wanted).next_back();
        let above = self.file.sha256.range(&wanted..).next();
        below.into_iter().chain(above).map(|(version, _)| version.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use kspec::{Arch, cluster::SUPPORTED};
    use semver::Version;

    use super::Catalogue;

    fn version(name: &str, kubernetes: &str, versions: &[(&str, &str)]) -> String {
        let catalogue = Catalogue::built_in().unwrap();
        let own = |(name, version): &(&str, &str)| ((*name).to_owned(), (*version).to_owned());
        let versions = versions.iter().map(own).collect();
        let chosen = catalogue.select(&kubernetes.parse().unwrap(), &versions).unwrap();
        let file = chosen.files.iter().find(|file| file.name() == name);
        let image = || chosen.images.iter().find(|(known, _)| *known == name).unwrap().1.clone();
        file.map_or_else(image, |file| file.version.clone())
    }

    #[test]
    fn one_that_cannot_be_read() {
        let newer = super::TEXT.replacen("schema = 1", "schema = 2", 1);
        for (text, why) in [(newer.as_str(), "it has schema 2"), ("schema = 1", "missing field")] {
            let error = Catalogue::parse(text).unwrap_err();
            assert_eq!(error.code(), "catalogue-damaged");
            assert!(error.chain().contains(why), "{}", error.chain());
            assert!(error.next().unwrap().starts_with("install kfetch again"));
        }
    }

    #[test]
    fn what_follows_kubernetes_and_what_does_not() {
        let cases = [
            ("kubelet", "1.34.2", "1.34.2"),
            ("kube-proxy", "1.34.2", "registry.k8s.io/kube-proxy:v1.34.2"),
            ("crictl", "1.31.4", "1.31.1"),
            ("etcd", "1.33.3", "3.5.25"),
            ("etcd", "1.34.0", "3.5.29"),
            ("etcd", "1.35.0", "3.6.10"),
            ("pause", "1.33.9", "registry.k8s.io/pause:3.10"),
            ("pause", "1.34.0", "registry.k8s.io/pause:3.10.1"),
            ("coredns", "1.35.1", "registry.k8s.io/coredns/coredns:v1.13.1"),
            ("containerd", "1.35.1", "2.1.5"),
        ];
        for (name, kubernetes, expected) in cases {
            assert_eq!(version(name, kubernetes, &[]), expected, "{name} with {kubernetes}");
        }
        assert_eq!(version("etcd", "1.33.3", &[("etcd", "3.5.26")]), "3.5.26");
        let nginx = [("nginx", "1.28.1")];
        assert_eq!(version("nginx", "1.33.3", &nginx), "docker.io/library/nginx:1.28.1-alpine");
    }

    #[test]
    fn every_supported_minor_can_be_locked() {
        let catalogue = Catalogue::built_in().unwrap();
        let (first, end) = SUPPORTED;
        for minor in first.minor..end.minor {
            let kubernetes = Version::new(first.major, minor, 0);
            let chosen = catalogue.select(&kubernetes, &BTreeMap::new()).unwrap();
            for arch in [Arch::Amd64, Arch::Arm64] {
                for file in &chosen.files {
                    let locked = file.locked(arch).unwrap();
                    assert!(!locked.url.contains('{'), "{locked:?}");
                }
            }
            assert!(!chosen.images.iter().any(|(_, name)| name.ends_with([':', 'v'])));
        }
    }

    /// kubespray's rule (`crictl_version`, `etcd_supported_versions`), from 1.34 on; below, the
    /// recorded run's etcd.
    #[test]
    fn crictl_and_etcd_are_the_newest_that_fit() {
        let catalogue = Catalogue::built_in().unwrap();
        let newest_below = |name: &str, end: Version| {
            let file = catalogue.files.iter().find(|file| file.name == name).unwrap();
            file.sha256.range(..end).next_back().unwrap().0.to_string()
        };
        for (minor, versions) in &catalogue.minor {
            let minor: u64 = minor.strip_prefix("1.").unwrap().parse().unwrap();
            assert_eq!(versions["crictl"], newest_below("crictl", Version::new(1, minor + 1, 0)));
            let etcd = match minor {
                ..34 => "3.5.25".into(),
                34 => newest_below("etcd", Version::new(3, 6, 0)),
                _ => newest_below("etcd", Version::new(3, 7, 0)),
            };
            assert_eq!(versions["etcd"], etcd, "1.{minor}");
        }
    }
}
