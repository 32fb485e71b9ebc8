//! Archives that somebody, or chance, has bent.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use kspec::{Arch, LockedFile, Sha256};
use tar::{Builder, EntryType, Header};
use tempfile::TempDir;

use super::{extract, stays_inside};
use crate::bent::{self, Outer};

/// A chance that is the same in every run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end.max(1) as u64).unwrap()
    }
}

/// One member of each kind that archives of programs have.
fn tar() -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    let long = format!("bin/{}", "n".repeat(150));
    for (name, text) in [("bin/one", "the one"), (&long, "the long"), ("bin/two", "the other")] {
        let mut header = Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    tar.append_pax_extensions([("comment", "none".as_bytes())]).unwrap();
    let mut link = Header::new_ustar();
    link.set_entry_type(EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "bin/link", "one").unwrap();
    tar.into_inner().unwrap()
}

/// Bend `tar` in one of the ways that readers trip over.
fn bend(tar: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(tar.len());
    let block = at / 512 * 512;
    match chance.below(7) {
        0 => tar[at] ^= 1 << chance.below(8),
        1 => tar[at] = u8::try_from(chance.below(256)).unwrap(),
        2 => tar.truncate(at),
        3 => drop(tar.drain(at..(at + chance.below(600)).min(tar.len()))),
        4 => {
            let again = tar[block..(block + 512).min(tar.len())].to_vec();
            drop(tar.splice(block..block, again));
        }
        5 => {
            // A field of a header, as somebody would write it who knows the format.
            let (field, text): (usize, &[u8]) = [
                (0, b"../escaped\0".as_slice()),
                (0, b"/escaped\0"),
                (124, b"77777777777\0"),
                (124, b"-0000000001\0"),
                (124, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
                (156, b"1"),
                (156, b"2"),
                (156, b"6"),
                (156, b"x"),
                (156, b"L"),
                (156, b"S"),
                (157, b"../../escaped\0"),
            ][chance.below(12)];
            let field = block + field;
            let end = (field + text.len()).min(tar.len());
            tar[field.min(end)..end].copy_from_slice(&text[..end.saturating_sub(field)]);
        }
        _ => tar.extend(vec![0; chance.below(2000)]),
    }
    // Without a sound check sum, most readers would not look further.
    if chance.below(4) > 0
        && let Some(header) = tar.get_mut(block..block + 512)
    {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}

fn locked() -> LockedFile {
    let text = "schema = 1\n[[file]]\nname = 'x'\nversion = '1'\narch = 'amd64'\n\
                url = 'http://h/x'\nformat = 'tar.gz'\nmembers = ['bin/*']\n";
    let text = format!("{text}sha256 = '{}'\n", Sha256::of("").hex());
    let lock = kspec::Lock::parse(&text).unwrap();
    lock.files_for(Arch::Amd64).next().unwrap().clone()
}

#[test]
fn whatever_it_holds_nothing_gets_out() {
    let memory = Path::new("/dev/shm");
    let memory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    let dir = TempDir::new_in(memory).unwrap();
    let (blob, into, file) = (dir.path().join("blob"), dir.path().join("into"), locked());
    let (sound, mut chance) = (tar(), Chance(0x2545_f491_4f6c_dd1d));
    let (mut taken, mut refused) = (0, 0);
    for round in 0..3000 {
        let mut bent = sound.clone();
        for _ in 0..round.min(1 + round % 4) {
            bend(&mut bent, &mut chance);
        }
        let mut packer = GzEncoder::new(File::create(&blob).unwrap(), Compression::none());
        packer.write_all(&bent).unwrap();
        packer.finish().unwrap();
        fs::create_dir(&into).unwrap();
        match extract(&blob, &file, &into) {
            Ok(files) => {
                taken += 1;
                for (name, digest) in files {
                    let found = khost::fs::digest(&into.join(name)).unwrap();
                    assert_eq!(found, Some(digest), "round {round}");
                }
            }
            Err(error) => {
                refused += 1;
                assert!(
                    error.code().starts_with("archive-")
                        || error.code().starts_with("member-")
                        || error.code() == "write-failed",
                    "round {round}: {}",
                    error.chain()
                );
            }
        }
        let outside = khost::fs::names(dir.path()).unwrap();
        assert_eq!(outside, ["blob", "into"], "round {round}: something got out");
        for entry in fs::read_dir(&into).unwrap() {
            assert!(entry.unwrap().file_type().unwrap().is_file(), "round {round}");
        }
        khost::fs::remove_tree(&into).unwrap();
    }
    assert!(taken > 100 && refused > 1000, "{taken} taken, {refused} refused: no test of anything");
}

#[test]
fn links_and_where_they_lead() {
    let cases = [
        ("bin", "one", true),
        ("bin", "../lib/one", true),
        ("bin", "../../one", false),
        ("", "../one", false),
        ("", "/etc/passwd", false),
        ("a/b", "../../c", true),
        ("a/b", "../../../c", false),
        ("a", "./..//b/../c", true),
    ];
    for (from, target, inside) in cases {
        assert_eq!(stays_inside(Path::new(from), Path::new(target)), inside, "{from} {target}");
    }
}

/// Unpack the .tar.gz archive `packed`.
fn unpacked(packed: &[u8], file: &LockedFile) {
    let outer = Outer::new();
    let (blob, into) = (outer.path("blob"), outer.path("root"));
    File::create(&blob).unwrap().write_all(packed).unwrap();
    fs::create_dir(&into).unwrap();
    let _ = extract(&blob, file, &into);
    outer.check(&["blob", "root"]);
}

#[test]
fn fuzz_archive() {
    let file = locked();
    fuzz::target([tar()], move |bytes| {
        let mut packer = GzEncoder::new(Vec::new(), Compression::none());
        packer.write_all(&bent::mended(bytes)).unwrap();
        unpacked(&packer.finish().unwrap(), &file);
    });
}

#[test]
fn fuzz_gzip() {
    let file = locked();
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(&tar()).unwrap();
    fuzz::target([packer.finish().unwrap()], move |bytes| unpacked(bytes, &file));
}
