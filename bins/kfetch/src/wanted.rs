//! What the lock asks of this machine, found sound before anything is fetched.

use std::collections::BTreeSet;

use khost::{Error, Result};
use kspec::{Arch, Format, Lock, LockedFile, LockedImage, Sha256, state::Artifacts};
use semver::Version;

use crate::{
    archive,
    index::Index,
    reference::{self, Named, Reference},
    store::Store,
};

/// What has the version of Kubernetes.
const FOLLOWING_FILES: [&str; 3] = ["kubelet", "kubeadm", "kubectl"];
const FOLLOWING_IMAGES: [&str; 4] =
    ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"];

/// Files and images for one architecture, in the order of the lock.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) arch: Arch,
    pub(crate) files: Vec<LockedFile>,
    pub(crate) images: Vec<WantedImage>,
}

/// One image for this architecture.
#[derive(Debug, Clone)]
pub(crate) struct WantedImage {
    pub(crate) name: String,
    /// As the lock spells it, which is how pods name it.
    pub(crate) text: String,
    pub(crate) reference: Reference,
    /// Its manifest: from the lock, or from when the tag was first resolved.
    pub(crate) digest: Option<Sha256>,
}

impl WantedImage {
    /// The same with the manifest that its tag turned out to mean.
    pub(crate) fn pinned_to(&self, digest: Sha256) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

/// The architecture of this machine.
pub(crate) fn this_machine() -> Result<Arch> {
    let uname = nix::sys::utsname::uname()
        .map_err(|error| Error::host("uname-failed", "cannot ask the kernel").because(error))?;
    let machine = uname.machine().to_string_lossy();
    Arch::from_machine(&machine).ok_or_else(|| {
        Error::host("arch-unsupported", format!("nothing is locked for `{machine}` machines"))
            .hint("Kubernetes nodes of k8steps are x86_64 or aarch64")
    })
}

impl Wanted {
    /// What `lock` has for `arch`. A tag without a digest keeps the one that `record` or `store`
    /// remember: it is trusted on first use and then stays.
    pub(crate) fn new(
        lock: &Lock,
        arch: Arch,
        store: &Store,
        record: Option<&Artifacts>,
    ) -> Result<Self> {
        let files: Vec<_> = lock.files_for(arch).cloned().collect();
        if files.is_empty() && !lock.files.is_empty() {
            return Err(Error::input("arch-not-locked", format!("nothing is locked for {arch}"))
                .hint("add [[file]] sections for it to artifacts.lock"));
        }
        no_name_twice(files.iter().map(|file| &file.name))?;
        no_name_twice(lock.images.iter().map(|image| &image.name))?;
        for file in &files {
            if file.format == Format::TarGz && file.members.is_empty() {
                return Err(Error::input(
                    "members-missing",
                    format!("`{}` is an archive of which nothing is taken", file.name),
                )
                .hint("name `members` of it in artifacts.lock, such as [\"bin/*\"]"));
            }
            archive::check_patterns(file)?;
        }
        let index = Index::read(store)?.unwrap_or_default();
        let images = lock
            .images
            .iter()
            .map(|image| {
                let pinned = image.digest.get(&arch).copied();
                let digest = pinned.or_else(|| remembered(image, record, &index));
                let (name, text) = (image.name.clone(), image.reference.clone());
                Ok(WantedImage { name, text, reference: reference(image)?, digest })
            })
            .collect::<Result<_>>()?;
        Ok(Self { arch, files, images })
    }
}

fn remembered(image: &LockedImage, record: Option<&Artifacts>, index: &Index) -> Option<Sha256> {
    let recorded = record
        .and_then(|record| record.images.values().find(|known| known.reference == image.reference));
    recorded
        .map(|known| known.digest)
        .or_else(|| index.named(&image.reference).map(|entry| entry.digest))
}

/// The parsed reference of a locked image.
pub(crate) fn reference(image: &LockedImage) -> Result<Reference> {
    reference::parse(&image.reference).map_err(|cause| {
        Error::input("reference-invalid", format!("`{}` names no image", image.reference))
            .because(cause)
            .hint(format!("correct `ref` of `{}` in artifacts.lock", image.name))
    })
}

/// Refuse a lock for another Kubernetes than that of cluster.toml.
pub(crate) fn check_kubernetes(lock: &Lock, kubernetes: &Version) -> Result<()> {
    let version = kubernetes.to_string();
    let of_file = |file: &LockedFile| (file.name.clone(), file.version.clone());
    let files = lock.files.iter().filter(|file| FOLLOWING_FILES.contains(&file.name.as_str()));
    let tag = |image: &LockedImage| {
        let Named::Tag(tag) = reference(image).ok()?.named else { return None };
        Some((image.name.clone(), tag.strip_prefix('v').unwrap_or(&tag).to_owned()))
    };
    let images = lock.images.iter().filter(|image| FOLLOWING_IMAGES.contains(&image.name.as_str()));
    let mut all = files.map(of_file).chain(images.filter_map(tag));
    match all.find(|(_, found)| *found != version) {
        None => Ok(()),
        Some((name, found)) => Err(Error::input(
            "lock-version-mismatch",
            format!("artifacts.lock has {name} {found}, cluster.toml wants Kubernetes {version}"),
        )
        .hint("run `kfetch lock`, which writes the lock for it, or correct kubernetes.version")),
    }
}

fn no_name_twice<'a>(names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::input("name-twice", format!("`{name}` is locked twice"))
                .hint("keep one of the two sections in artifacts.lock"));
        }
    }
    Ok(())
}
