//! Which machine a program is for, told from the head of its file.

use std::{fs::File, io::Read as _, path::Path};

use khost::{Error, Result};
use kspec::{Arch, LockedFile};

/// Bytes of a file that tell it: `e_machine` of elf(5) is the last of them.
pub(crate) const HEAD: usize = 20;

/// The number of a machine in ELF files (`e_machine`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Machine(u16);

impl Machine {
    /// Of the ELF file that begins with `head`; none when it is something else, such as a script.
    fn of(head: &[u8]) -> Option<Self> {
        let number = [*head.get(HEAD - 2)?, *head.get(HEAD - 1)?];
        let big_endian = head[5] == 2; // EI_DATA is ELFDATA2MSB
        head.starts_with(b"\x7fELF").then(|| {
            Self(if big_endian { u16::from_be_bytes(number) } else { u16::from_le_bytes(number) })
        })
    }

    fn runs_on(self, arch: Arch) -> bool {
        self.0
            == match arch {
                Arch::Amd64 => 62,  // EM_X86_64
                Arch::Arm64 => 183, // EM_AARCH64
            }
    }

    fn name(self) -> String {
        match self.0 {
            3 => "386".into(),
            21 => "ppc64".into(),
            22 => "s390x".into(),
            40 => "arm".into(),
            62 => "amd64".into(),
            183 => "arm64".into(),
            243 => "riscv64".into(),
            other => format!("machine {other}"),
        }
    }
}

/// Refuse the program at `path`, which is `file` of the lock, when it is for another machine.
pub(crate) fn check(path: &Path, file: &LockedFile) -> Result<()> {
    let failed = |error| Error::io("read", path, error);
    let mut head = Vec::new();
    let program = File::open(path).map_err(failed)?;
    program.take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
    check_head(&head, file, &format!("`{}`", file.url))
}

/// Refuse what begins with `head` and is called `what`, out of `file` of the lock, when it is a
/// program for another machine. What is no ELF file is left to whoever runs it.
pub(crate) fn check_head(head: &[u8], file: &LockedFile, what: &str) -> Result<()> {
    match Machine::of(head) {
        Some(machine) if !machine.runs_on(file.arch) => {
            let (arch, found) = (file.arch, machine.name());
            Err(Error::host("wrong-architecture", format!("{what} is for {found}, not for {arch}"))
                .hint(format!(
                    "correct `url` and `sha256` of `{}` for {arch} in artifacts.lock",
                    file.name
                )))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use kspec::Arch;

    use super::Machine;

    /// The head of an ELF file in this byte order (1: little endian) for this machine.
    fn head(order: u8, machine: [u8; 2]) -> Vec<u8> {
        let mut head = b"\x7fELF\x02".to_vec();
        head.push(order);
        head.resize(18, 0);
        head.extend(machine);
        head
    }

    #[test]
    fn machines() {
        let cases = [
            (head(1, [62, 0]), "amd64", true, false),
            (head(1, [183, 0]), "arm64", false, true),
            (head(1, [3, 0]), "386", false, false),
            (head(2, [0, 22]), "s390x", false, false),
            (head(1, [1, 1]), "machine 257", false, false),
        ];
        for (head, name, amd64, arm64) in cases {
            let machine = Machine::of(&head).unwrap();
            assert_eq!(machine.name(), name);
            assert_eq!(machine.runs_on(Arch::Amd64), amd64, "{name}");
            assert_eq!(machine.runs_on(Arch::Arm64), arm64, "{name}");
        }
        for other in [b"#!/bin/sh\necho hello there\n".as_slice(), b"\x7fELF", b""] {
            assert_eq!(Machine::of(other), None);
        }
    }
}
