//! Archives and programs with the right digest and the wrong contents.

use std::os::unix::fs::PermissionsExt as _;

use kspec::Sha256;
use tar::{EntryType, Header};

use crate::{
    Lock, RECORD, STORE, blob, bytes, download,
    inputs::archive_refused,
    run,
    server::{Answer, Server},
    tar_gz, this_arch, tree,
};

const UNSAFE: &str = "do not use this archive";

type Tar = tar::Builder<Vec<u8>>;

/// A `.tar.gz` of what `fill` puts into it.
fn packed(fill: impl FnOnce(&mut Tar)) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    fill(&mut tar);
    gzip(&tar.into_inner().unwrap())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut packer, bytes).unwrap();
    packer.finish().unwrap()
}

fn file(tar: &mut Tar, name: &str, mode: u32, text: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(mode);
    tar.append_data(&mut header, name, text).unwrap();
}

/// A member without bytes; names are written as they are.
fn member(tar: &mut Tar, kind: EntryType, name: &str, target: &str) {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(0);
    header.set_mode(0o777);
    header.as_gnu_mut().unwrap().set_real_size(0); // which only sparse files have
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
    header.set_cksum();
    tar.append(&header, std::io::empty()).unwrap();
}

/// The head of an ELF program for this machine, or for another.
fn elf(own: bool) -> Vec<u8> {
    let machine = if (this_arch().as_str() == "arm64") == own { 183 } else { 62 };
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(18, 0);
    program.extend([machine, 0]);
    program.extend(bytes(500));
    program
}

#[test]
fn links_that_lead_out() {
    for (kind, name, target) in [
        (EntryType::Symlink, "bin/ctr", "/etc/passwd"),
        (EntryType::Symlink, "bin/ctr", "../../escaped"),
        (EntryType::Symlink, "bin", "/tmp"),
        (EntryType::Link, "bin/ctr", "../escaped"),
        (EntryType::Link, "bin/ctr", "/etc/shadow"),
    ] {
        let archive = packed(|tar| {
            file(tar, "bin/one", 0o755, b"the one");
            member(tar, kind, name, target);
            file(tar, "bin/through", 0o755, b"through the link");
        });
        archive_refused(&archive, &["bin/*"], 1, "archive-unsafe", UNSAFE);
    }
}

#[test]
fn links_inside_are_not_made() {
    let archive = packed(|tar| {
        file(tar, "bin/one", 0o755, b"the one");
        member(tar, EntryType::Symlink, "bin/two", "one");
        member(tar, EntryType::Link, "bin/three", "bin/one");
    });
    let server = Server::start();
    server.serve("/a", Answer::Bytes(archive.clone()));
    let url = format!("{}/a", server.url());
    let tree = tree(&download(""), &Lock::new().archive("a", &url, &archive, &["bin/*"]).0);
    run(&tree, &["apply"], 0);
    let dir = tree.path(&format!("{STORE}/unpacked/{}", Sha256::of(&archive).hex()));
    let names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["one"]);
    let hint = "correct `members` of `a`";
    archive_refused(&archive, &["bin/two"], 2, "member-missing", hint);
}

#[test]
fn what_no_release_holds() {
    use EntryType as Kind;
    for kind in [Kind::Char, Kind::Block, Kind::Fifo, Kind::GNUSparse, Kind::new(b'V')] {
        let archive = packed(|tar| {
            file(tar, "bin/one", 0o755, b"the one");
            member(tar, kind, "dev", "");
        });
        archive_refused(&archive, &["bin/*"], 1, "archive-unsafe", UNSAFE);
    }
    let long = packed(|tar| {
        file(tar, "bin/one", 0o755, b"the one");
        file(tar, &format!("bin/{}", "n/".repeat(1 << 20)), 0o755, b"far down");
    });
    archive_refused(&long, &["bin/*"], 1, "archive-unsafe", UNSAFE);
    let hidden = packed(|tar| {
        tar.append_pax_extensions([("path", "../escaped".as_bytes())]).unwrap();
        file(tar, "bin/one", 0o755, b"the one");
    });
    archive_refused(&hidden, &["bin/*"], 1, "archive-unsafe", UNSAFE);
    let twice = tar_gz(&[("bin/one", "the one"), ("bin/one", "another one")]);
    archive_refused(&twice, &["bin/*"], 2, "member-twice", "name only one of them");
}

#[test]
fn a_bomb() {
    let zeros = vec![0; 17 << 20];
    for taken in ["bin/zeros", "bin/one"] {
        let bomb = packed(|tar| {
            file(tar, "bin/zeros", 0o755, &zeros);
            file(tar, "bin/one", 0o755, b"the one");
        });
        assert!(bomb.len() < 200_000, "it would not be one");
        archive_refused(&bomb, &[taken], 1, "archive-unsafe", UNSAFE);
    }
    let behind = packed(|tar| file(tar, "bin/one", 0o755, b"the one"));
    let behind = [behind, gzip(&zeros)].concat();
    archive_refused(&behind, &["bin/one"], 1, "archive-unsafe", UNSAFE);
}

#[test]
fn damage_is_found_to_the_last_byte() {
    let archive = packed(|tar| {
        file(tar, "bin/one", 0o755, &bytes(50_000));
        file(tar, "LICENSE", 0o644, &bytes(5000));
    });
    let (length, hint) = (archive.len(), "correct `format` of `a`");
    let flipped = |at: usize| {
        let mut bent = archive.clone();
        bent[at] ^= 0x40;
        bent
    };
    for (what, bent) in [
        ("cut in a member", archive[..length / 2].to_vec()),
        ("cut before the check sum", archive[..length - 8].to_vec()),
        ("cut in the check sum", archive[..length - 3].to_vec()),
        ("check sum", flipped(length - 7)),
        ("length", flipped(length - 2)),
        ("garbage behind", [archive.as_slice(), b"garbage"].concat()),
        ("no tar", gzip(b"hello")),
        ("no gzip", bytes(5000)),
        ("nothing", Vec::new()),
    ] {
        println!("{what}");
        archive_refused(&bent, &["bin/one"], 2, "archive-unreadable", hint);
    }
}

#[test]
fn a_program_for_another_machine() {
    let archive = packed(|tar| file(tar, "bin/ctr", 0o755, &elf(false)));
    let hint = "correct `url` and `sha256` of `a` for";
    archive_refused(&archive, &["bin/*"], 1, "wrong-architecture", hint);

    let (server, foreign) = (Server::start(), elf(false));
    server.serve("/kubelet", Answer::Bytes(foreign.clone()));
    let url = format!("{}/kubelet", server.url());
    let tree = tree(&download(""), &Lock::new().file("kubelet", &url, &foreign).0);
    for asked in [1, 0] {
        let (_, stderr) = run(&tree, &["apply"], 1);
        let error = format!("error[wrong-architecture]: `{url}` is for ");
        assert!(stderr.contains(&error), "{stderr}");
        assert!(stderr.contains("hint: correct `url` and `sha256` of `kubelet`"), "{stderr}");
        assert!(!blob(&tree, &foreign).exists() && !tree.path(RECORD).exists());
        assert_eq!(server.requests().len(), asked, "what had come was sent again");
    }
}

#[test]
fn programs_for_this_machine_and_without_any_special_rights() {
    let script = b"#!/bin/sh\necho hello\n";
    let archive = packed(|tar| {
        file(tar, "bin/ctr", 0o6777, &elf(true));
        file(tar, "bin/script", 0o4711, script);
    });
    let server = Server::start();
    server.serve("/a", Answer::Bytes(archive.clone()));
    server.serve("/kubelet", Answer::Bytes(elf(true)));
    let url = |path: &str| format!("{}/{path}", server.url());
    let lock = Lock::new().archive("a", &url("a"), &archive, &["bin/*"]).file(
        "kubelet",
        &url("kubelet"),
        &elf(true),
    );
    let tree = tree(&download(""), &lock.0);
    run(&tree, &["apply"], 0);
    for name in ["ctr", "script"] {
        let path = format!("{STORE}/unpacked/{}/{name}", Sha256::of(&archive).hex());
        let mode = std::fs::metadata(tree.path(&path)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "{name}");
    }
}
