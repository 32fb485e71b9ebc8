//! Bundles that are not what they should be: refused, and nothing of them used.

use std::fs;

use kspec::Sha256;
use serde_json::Value;
use tar::{EntryType, Header};

use crate::{
    RECORD, STORE,
    bundle::{Entries, LOCK, bundled, entries, node},
    bytes, run, this_arch,
};

/// And put together again, whatever became of it.
fn together(entries: &[(Header, Vec<u8>)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (header, bytes) in entries {
        let mut header = header.clone();
        header.set_cksum();
        archive.append(&header, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn name(header: &mut Header, name: &str) {
    header.as_old_mut().name = [0; 100];
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
}

/// `bundle` must be refused with exactly this, and nothing of it be used.
fn refused(what: &str, bundle: &[u8], code: i32, error: &str, because: &str) {
    let (tree, path) = node(bundle);
    let (_, stderr) = run(&tree, &["load", &path], code);
    let first = format!("error[{error}]: `{path}`");
    assert!(stderr.contains(&first) && stderr.contains(because), "{what}: {stderr}");
    assert!(stderr.contains("hint: "), "{what}: {stderr}");
    assert!(!tree.path(LOCK).exists() && !tree.path(RECORD).exists(), "{what}: it is used");
    let listing = tree.listing();
    assert!(!listing.contains("store/partial/") && !listing.contains("escaped"), "{listing}");
    if let Ok(index) = fs::read(tree.path(&format!("{STORE}/index.json"))) {
        let index: Value = serde_json::from_slice(&index).unwrap();
        assert_eq!(index["manifests"], Value::Array(Vec::new()), "{what}: an image is named");
    }
    for blob in fs::read_dir(tree.path(&format!("{STORE}/blobs/sha256"))).into_iter().flatten() {
        let path = blob.unwrap().path();
        let digest = Sha256::of(fs::read(&path).unwrap()).hex();
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), digest, "{what}");
    }
}

#[test]
fn what_is_damaged_is_refused() {
    let (_, bundle) = bundled();
    for (at, (header, bytes)) in entries(&bundle).iter().enumerate().skip(3) {
        let mut other = entries(&bundle);
        other[at].1[bytes.len() / 2] ^= 1;
        let what = format!("a bit of {}", header.path().unwrap().display());
        refused(&what, &together(&other), 1, "bundle-damaged", "is sha256:");
    }
    for end in [0, 1, 511, 512, 700, 2048, 5000, bundle.len() / 2, bundle.len() - 2000] {
        refused(
            &format!("{end} bytes"),
            &bundle[..end],
            1,
            "bundle-damaged",
            "hint: copy it again",
        );
    }
    let mut header = bundle.clone();
    header[100] ^= 1; // the mode of the first entry
    refused("a header", &header, 1, "bundle-damaged", "copy it again");
}

#[test]
fn what_is_no_bundle_is_refused() {
    let (_, bundle) = bundled();
    let change = |change: &dyn Fn(&mut Entries)| {
        let mut other = entries(&bundle);
        change(&mut other);
        together(&other)
    };
    let invalid = |what: &str, bundle: &[u8], because: &str| {
        refused(what, bundle, 2, "bundle-invalid", because);
    };
    let kinds = [EntryType::Symlink, EntryType::Link, EntryType::Directory, EntryType::GNUSparse];
    for kind in kinds {
        let other = change(&|all| {
            all[6].0.set_entry_type(kind);
            all[6].0.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
            if kind != EntryType::GNUSparse {
                all[6].0.set_size(0);
                all[6].1.clear();
            }
        });
        invalid(&format!("{kind:?}"), &other, &format!("({kind:?}) where the file `blobs/"));
    }
    for path in ["../escaped", "/escaped", "blobs/sha256/../escaped", "escaped", ""] {
        let other = change(&|all| name(&mut all[6].0, path));
        invalid(path, &other, &format!("it has `{path}` (Regular) where"));
        let other = change(&|all| {
            let mut extra = all[6].clone();
            name(&mut extra.0, path);
            all.push(extra);
        });
        invalid(path, &other, &format!("it has `{path}` behind its last blob"));
    }
    invalid("twice", &change(&|all| all.insert(7, all[6].clone())), "(Regular) where the file");
    invalid("twice at the end", &change(&|all| all.push(all[6].clone())), "behind its last blob");
    invalid("another order", &change(&|all| all.swap(6, 7)), "where the file `blobs/sha256/");
    invalid("one lacks", &change(&|all| drop(all.remove(6))), "where the file `blobs/sha256/");
    invalid("no lock", &change(&|all| drop(all.remove(0))), "where the file `artifacts.lock`");
    let other = change(&|all| all[1].1[2] = b'x');
    invalid("another layout", &other, "its oci-layout is another one");
    let other = change(&|all| {
        let index = String::from_utf8(all[2].1.clone()).unwrap();
        all[2].1 = index.replace("r.example/one:1", "r.example/own:1").into();
    });
    invalid("another name", &other, "its index.json is not that of its lock");
    let lock = |from: &str, to: &str| {
        change(&|all| {
            let text = String::from_utf8(all[0].1.clone()).unwrap();
            all[0].1 = text.replace(from, to).into();
        })
    };
    invalid("another lock", &lock("schema = 1", "schema = 2"), "artifacts.lock is not valid");
    let kubelet = Sha256::of("the kubelet").hex();
    let other = Sha256::of("another one").hex();
    invalid("another kubelet", &lock(&kubelet, &other), "where the file `blobs/sha256/");
    let other = change(&|all| {
        let long = vec![b' '; 5 << 20];
        all[2].0.set_size(long.len() as u64);
        all[2].1 = long;
    });
    invalid("a long document", &other, "its `index.json` is too long");
    let mut longer = bundle.clone();
    longer.extend(b"something");
    invalid("more", &longer, "something follows its end");
    refused("no tar", &bytes(100_000), 1, "bundle-damaged", "copy it again");
}

#[test]
fn a_bundle_for_another_architecture() {
    let (_, bundle) = bundled();
    let (own, other) = match this_arch().as_str() {
        "amd64" => ("amd64", "arm64"),
        own => (own, "amd64"),
    };
    let mut all = entries(&bundle);
    for at in [0, 2] {
        let text = String::from_utf8(all[at].1.clone()).unwrap().replace(own, other);
        all[at].1 = text.into();
    }
    refused("arch", &together(&all), 2, "wrong-architecture", &format!("is for {other}\n"));
}
