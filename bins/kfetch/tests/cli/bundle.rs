//! Bundles: the same for the same lock, and all a node needs.

use std::{fs, os::unix::fs::MetadataExt as _};

use kspec::Sha256;
use ktest::Tree;
use tar::{EntryType, Header};

use crate::{
    KFETCH, Lock, RECORD, STORE, blob, download, run, served_by,
    server::{Answer, Server},
    tar_gz, this_arch, tree,
};

pub(crate) const LOCK: &str = "/etc/k8steps/artifacts.lock";
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
pub(crate) fn bundled() -> (Tree, Vec<u8>) {
    let (server, lock) = seed();
    let tree = tree(&online(&server), &lock.0);
    run(&tree, &["apply"], 0);
    let path = tree.path(BUNDLE);
    run(&tree, &["bundle", path.to_str().unwrap()], 0);
    let bundle = fs::read(path).unwrap();
    (tree, bundle)
}

/// A machine that has nothing but its description, and the bundle `bytes`.
pub(crate) fn node(bytes: &[u8]) -> (Tree, String) {
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

pub(crate) type Entries = Vec<(Header, Vec<u8>)>;

/// A bundle taken apart.
pub(crate) fn entries(bundle: &[u8]) -> Entries {
    let mut archive = tar::Archive::new(bundle);
    let entry = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        (entry.header().clone(), bytes)
    };
    archive.entries().unwrap().map(entry).collect()
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

#[test]
fn the_operators_lock_is_not_replaced() {
    let (_, bundle) = bundled();
    let (tree, path) = node(&bundle);
    tree.write(LOCK, "schema = 1\n# mine\n");
    let hint = format!("if the bundle is right, run `mv {}", tree.path(LOCK).display());
    tree.refuses(&["load", &path], 2, "lock-differs", &hint);
    let mut piped = tree.tool();
    let refused = piped.args(["load", "-"]).write_stdin(bundle).assert().code(2);
    let said = String::from_utf8(refused.get_output().stderr.clone()).unwrap();
    assert!(said.contains("error[lock-differs]"), "{said}");
    assert!(!tree.path(STORE).exists() && tree.read(LOCK) == "schema = 1\n# mine\n");
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
    let then = blobs();
    assert!(then.len() > first.len());
    for (path, ino) in &first {
        assert_eq!(then.get(path), Some(ino), "{} was written again", path.display());
    }
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
