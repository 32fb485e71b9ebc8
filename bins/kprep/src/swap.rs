//! Swap off, now and at every boot: kubelet does not start on a node that swaps.
//!
//! kubespray (`preinstall/tasks/0010-swapoff.yml`) deletes the entries of fstab; here they become
//! comments, so that reset can bring them back.

use std::path::Path;

use khost::{
    Host, Result, StepList, fs,
    steps::{file::File, lines::Lines, link::Link, swap::SwapOff, unit_off::UnitOff},
};

const FSTAB: &str = "/etc/fstab";
/// What pulls all swap in at boot, also that which is found by the type of its partition: nothing
/// else wants the units that systemd-gpt-auto-generator(8) makes. The generator itself stays: it
/// mounts file systems, too.
const TARGET: &str = "swap.target";

/// Where unit files are, and where that generator puts its own (systemd.unit(5)). Units that come
/// from fstab are elsewhere, and go with their lines.
const UNIT_DIRS: [&str; 6] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator.late",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Compressed memory as swap, as Fedora and its kin have it: an empty file hides the
/// distribution's of the same name (zram-generator's own manual), and so with its drop-ins.
const ZRAM: &str = "zram-generator.conf";
const ZRAM_DROP_INS: &str = "zram-generator.conf.d";
const ZRAM_DIRS: [&str; 4] =
    ["/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"];

/// Services that make swap by themselves: of Debian's packages zram-tools and dphys-swapfile, of
/// Ubuntu's zram-config, and systemd-swap.
const MAKERS: [&str; 4] =
    ["zramswap.service", "dphys-swapfile.service", "zram-config.service", "systemd-swap.service"];

pub(crate) fn off(steps: &mut StepList, host: &Host) -> Result<()> {
    steps.extend(zram(host)?.into_iter().map(File::new));
    steps.add(Lines::switched_off(FSTAB, is_swap));
    steps.extend(units(host)?.iter().map(|name| Link::mask(name)));
    steps.add(Link::mask(TARGET));
    steps.extend(MAKERS.map(UnitOff::new));
    steps.add(SwapOff);
    Ok(())
}

/// The names of all swap units there are.
fn units(host: &Host) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for dir in UNIT_DIRS {
        let is_swap =
            |name: &String| Path::new(name).extension().is_some_and(|kind| kind == "swap");
        names.extend(fs::names(&host.path(dir))?.into_iter().filter(is_swap));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}

/// The empty files that hide what sets up compressed memory.
fn zram(host: &Host) -> Result<Vec<String>> {
    let mut hidden = Vec::new();
    for dir in ZRAM_DIRS {
        if fs::exists(&host.path(dir).join(ZRAM)) {
            hidden.push(format!("/etc/systemd/{ZRAM}"));
        }
        let drop_ins = fs::names(&host.path(dir).join(ZRAM_DROP_INS))?;
        hidden.extend(drop_ins.iter().map(|name| format!("/etc/systemd/{ZRAM_DROP_INS}/{name}")));
    }
    hidden.sort_unstable();
    hidden.dedup();
    Ok(hidden)
}

/// Whether a line of fstab(5) is swap: its third field says so.
fn is_swap(line: &str) -> bool {
    let line = line.trim_start();
    !line.starts_with('#') && line.split_whitespace().nth(2) == Some("swap")
}

#[cfg(test)]
mod tests {
    use super::is_swap;

    #[test]
    fn only_swap_is_swap() {
        for line in ["UUID=1 none swap sw 0 0\n", "/swapfile\tswap\tswap\tdefaults\n"] {
            assert!(is_swap(line), "{line}");
        }
        for line in [
            "# /dev/b none swap sw 0 0\n",
            "#k8steps# /dev/b none swap sw 0 0\n",
            "/dev/b /swap ext4 defaults 0 0\n",
            "swap /srv tmpfs defaults\n",
            "\n",
        ] {
            assert!(!is_swap(line), "{line}");
        }
    }
}
