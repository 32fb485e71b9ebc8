//! Swap off, now and at every boot: kubelet does not start on a node that swaps.
//!
//! kubespray (`preinstall/tasks/0010-swapoff.yml`) deletes the entries of fstab; here they become
//! comments, so that reset can bring them back.

use khost::{
    Host, StepList, fs,
    steps::{file::File, lines::Lines, link::Link, swap::SwapOff},
};

const FSTAB: &str = "/etc/fstab";
/// A unit that is a link to nowhere is masked (systemctl(1)).
const TARGET: &str = "/etc/systemd/system/swap.target";

/// Compressed memory as swap, as Fedora and its kin have it: an empty file hides the
/// distribution's of the same name (zram-generator's own manual).
const ZRAM: &str = "/etc/systemd/zram-generator.conf";
const ZRAM_OF_DISTRIBUTION: &str = "/usr/lib/systemd/zram-generator.conf";

pub(crate) fn off(steps: &mut StepList, host: &Host) {
    if [ZRAM, ZRAM_OF_DISTRIBUTION].iter().any(|path| fs::exists(&host.path(path))) {
        steps.add(File::new(ZRAM));
    }
    steps.add(Lines::switched_off(FSTAB, is_swap));
    steps.add(Link::new(TARGET, "/dev/null"));
    steps.add(SwapOff);
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
