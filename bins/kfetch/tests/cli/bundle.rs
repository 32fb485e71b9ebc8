//! Bundles: the same for the same lock, all a node needs, and refused when they are not what they
//! should be.

use std::{fs, os::unix::fs::MetadataExt as _};

use kspec::Sha256;
use ktest::Tree;
use serde_json::Value;
use tar::{EntryType, Header};

use crate::{
    KFETCH, Lock, RECORD, STORE, blob, bytes, download, run, served_by,
    server::{Answer, Server},
    tar_gz, this_arch, tree,
};

const LOCK: &str = "/etc/k8steps/artifacts.lock";
const BUNDLE: &str = "/run/node.tar";

/// A server, and a lock of a file, an archive and two images that share a layer.
fn seed() -> (Server, Lock) {
    let (server, archive) = (Server::start(), tar_gz(&[("bin/etcd", "the etcd")]));
    server.serve("/kubelet", Answer::Bytes(b"the kubelet".into()));
    server.serve("/etcd.tgz", Answer::Bytes(archive.clone()));
    let at = usize::from(this_arch().as_str() == "arm64");
    let one = server.image("one:1", &["base", "one"])[at];
    let two = server.image("two:1", &["base", "two"])[at];
    let lock = Lock::new()
        .file("kubelet", &format!("{}/kubelet", server.url()), b"the kubelet")
        .archive("etcd", &format!("{}/etcd.tgz", server.url()), &archive, &["bin/*"])
        .image("one", "r.example/one:1")
        .pinned(one)
        .image("two", "r.example/two:1")
        .pinned(two);
    (server, lock)
}

fn online(server: &Server) -> String {
    served_by(server).replace("mirrors-only = true", "")
}

/// A machine that has everything, and its bundle.
fn bundled() -> (Tree, Vec<u8>) {
    let (server, lock) = seed();
    let tree = tree(&online(&server), &lock.0);
    run(&tree, &["apply"], 0);
    let path = tree.path(BUNDLE);
    run(&tree, &["bundle", path.to_str().unwrap()], 0);
    let bundle = fs::read(path).unwrap();
    (tree, bundle)
}

/// A machine that has nothing but its description, and the bundle `bytes`.
fn node(bytes: &[u8]) -> (Tree, String) {
    let tree = Tree::with_cluster(KFETCH, "[download]\noffline = true\n");
    tree.write("/var/lib/misc", "");
    tree.write(BUNDLE, "");
    put(&tree, bytes);
    let path = tree.path(BUNDLE).to_str().unwrap().to_owned();
    (tree, path)
}

fn put(tree: &Tree, bytes: &[u8]) {
    let mut file = fs::File::create(tree.path(BUNDLE)).unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
}

type Entries = Vec<(Header, Vec<u8>)>;

/// A bundle taken apart.
fn entries(bundle: &[u8]) -> Entries {
    let mut archive = tar::Archive::new(bundle);
    let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.header().clone(), bytes)
    };
    archive.entries().unwrap().map(entry).collect()
}

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

#[test]
fn the_same_lock_gives_the_same_bytes() {
    let (first, bundle) = bundled();
    let (server, _) = seed();
    let text = first.read(LOCK);
    let (_, images) = text.split_once("[[image]]").unwrap();
    let second = tree(&online(&server), &format!("schema = 1\n[[image]]{images}"));
    run(&second, &["apply"], 0); // another order, and other servers
    second.write(LOCK, &text);
    // The first server's addresses are in the lock, and it has gone: what it gave comes by hand.
    for bytes in [b"the kubelet".to_vec(), tar_gz(&[("bin/etcd", "the etcd")])] {
        second.write(&format!("{STORE}/blobs/sha256/{}", Sha256::of(&bytes).hex()), "");
        put_blob(&second, &bytes, &bytes);
    }
    let out = second.tool().args(["bundle", "-"]).assert().code(0).get_output().clone();
    assert_eq!(Sha256::of(&out.stdout), Sha256::of(&bundle));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains(&format!("SHA-256 {}\n", Sha256::of(&bundle).hex())), "{said}");

    let entries = entries(&bundle);
    let names: Vec<_> =
        entries.iter().map(|(header, _)| header.path().unwrap().display().to_string()).collect();
    assert_eq!(names[..3], ["artifacts.lock", "oci-layout", "index.json"]);
    assert!(names[3..5].is_sorted() && names[5..].is_sorted(), "{names:?}");
    assert_eq!(names.len(), 3 + 2 + 2 + 3 + 2 - 1, "a config is shared as well: {names:?}");
    for (header, _) in &entries {
        assert_eq!(header.entry_type(), EntryType::Regular);
        let of = (header.mode().unwrap(), header.uid().unwrap(), header.gid().unwrap());
        assert_eq!((of, header.mtime().unwrap()), ((0o644, 0, 0), 0));
    }
}

#[test]
fn a_bundle_is_all_that_a_node_needs() {
    let (source, bundle) = bundled();
    let (tree, path) = node(&bundle);
    let before = tree.listing();
    let (_, stderr) = run(&tree, &["load", &path], 0);
    assert!(stderr.contains(&format!("is {}\n", Sha256::of(&bundle).hex())), "{stderr}");
    assert_eq!(tree.read(LOCK), source.read(LOCK));
    let (_, stderr) = run(&tree, &["load", &path], 0);
    assert_eq!(stderr, "kfetch: nothing to do\n");
    run(&tree, &["apply", "--offline"], 0);
    run(&tree, &["check"], 0);
    run(&tree, &["verify"], 0);
    assert_eq!(tree.read(RECORD), source.read(RECORD));
    let index = format!("{STORE}/index.json");
    assert_eq!(tree.read(&index), source.read(&index));
    let again = tree.path("/run/again.tar");
    run(&tree, &["bundle", again.to_str().unwrap()], 0);
    assert_eq!(Sha256::of(fs::read(&again).unwrap()), Sha256::of(&bundle));
    fs::rename(again, tree.root().with_file_name("again")).unwrap();

    run(&tree, &["reset", "--yes"], 0);
    fs::rename(tree.path(LOCK), tree.root().with_file_name("lock")).unwrap();
    assert_eq!(tree.listing(), before, "reset leaves something");

    let mut piped = tree.tool();
    piped.args(["load", "-"]).write_stdin(bundle).assert().code(0);
    run(&tree, &["apply"], 0);
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

#[test]
fn the_operators_lock_is_not_replaced() {
    let (_, bundle) = bundled();
    let (tree, path) = node(&bundle);
    tree.write(LOCK, "schema = 1\n# mine\n");
    let hint = format!("if the bundle is right, run `mv {}", tree.path(LOCK).display());
    tree.refuses(&["load", &path], 2, "lock-differs", &hint);
}

#[test]
fn a_load_that_was_cut_off_goes_on() {
    let (_, bundle) = bundled();
    let (tree, path) = node(&bundle[..bundle.len() - 4000]);
    let (_, stderr) = run(&tree, &["load", &path], 1);
    assert!(stderr.contains("error[bundle-damaged]"), "{stderr}");
    let blobs = || {
        let dir = fs::read_dir(tree.path(&format!("{STORE}/blobs/sha256"))).unwrap();
        dir.map(|entry| (entry.as_ref().unwrap().path(), entry.unwrap().metadata().unwrap().ino()))
            .collect::<std::collections::BTreeMap<_, _>>()
    };
    let first = blobs();
    assert!(first.len() > 4, "{first:?}");
    put(&tree, &bundle);
    run(&tree, &["load", &path], 0);
    let layers = |ino: &u64| !first.values().any(|known| known == ino);
    let new = blobs().values().filter(|ino| layers(ino)).count();
    assert!(new < first.len(), "blobs that had come were written again");
    run(&tree, &["apply"], 0);
}

#[test]
fn what_cannot_be_bundled() {
    let (server, lock) = seed();
    let open = lock.clone().image("open", "r.example/open:1");
    let tree = tree(&online(&server), &open.0);
    let path = tree.path(BUNDLE).to_str().unwrap().to_owned();
    tree.refuses(&["bundle", &path], 2, "not-pinned", "run `kfetch lock`");
    tree.write(LOCK, &lock.0);
    tree.refuses(&["bundle", &path], 1, "bundle-incomplete", "run `kfetch apply`");
    let (_, stderr) = run(&tree, &["bundle", &path], 1);
    let all = "not in the store: etcd 1.2.3, kubelet 1.33.3, r.example/one:1, r.example/two:1";
    assert!(stderr.contains(all), "{stderr}");
    tree.refuses(&["bundle", "-", "--json"], 2, "output-twice", "name a file");

    run(&tree, &["apply"], 0);
    put_blob(&tree, b"the kubelet", b"the kubeleT");
    tree.refuses(&["bundle", &path], 1, "store-damaged", "run `kfetch verify`");
    assert!(!tree.path(BUNDLE).exists());
}

/// Put other bytes where a blob is.
fn put_blob(tree: &Tree, wanted: &[u8], found: &[u8]) {
    let file = fs::File::options().write(true).truncate(true).open(blob(tree, wanted));
    std::io::Write::write_all(&mut file.unwrap(), found).unwrap();
}

#[test]
fn memory_stays_flat() {
    let long = 160 << 20;
    let mut zeros = std::io::Read::take(std::io::repeat(0), long);
    let tree = tree(&download(""), "schema = 1\n");
    run(&tree, &["apply"], 0);
    tree.write(&format!("{STORE}/blobs/sha256/long"), "");
    let place = tree.path(&format!("{STORE}/blobs/sha256/long"));
    let mut file = fs::File::options().write(true).open(&place).unwrap();
    let digest = khost::fs::copy_hashed(&mut zeros, &mut file).unwrap();
    fs::rename(&place, place.with_file_name(digest.hex())).unwrap();
    let lock = Lock::new().file("long", "https://h/long", b"");
    tree.write(LOCK, &lock.0.replace(&Sha256::of(b"").hex(), &digest.hex()));
    let path = tree.path(BUNDLE).to_str().unwrap().to_owned();

    let peak = |tree: &Tree, args: &[&str]| {
        let (_, stderr) = run(tree, args, 0);
        let (_, peak) = stderr.split_once("peak_memory=\"").unwrap();
        peak.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let limit = 60 * 1024;
    assert!(peak(&tree, &["bundle", &path, "-vv"]) < limit);
    let (other, _) = node(b"");
    assert!(peak(&other, &["load", &path, "-vv"]) < limit);
}
