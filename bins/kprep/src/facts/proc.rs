//! What the kernel says in `/proc` and `/sys`: texts in, numbers out.

/// `CAP_SYS_RESOURCE` (capabilities(7)).
const SYS_RESOURCE: u32 = 24;

/// Memory in MiB, from `/proc/meminfo`.
pub(crate) fn memory_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024)
}

/// Whether any program of the machine can have `CAP_SYS_RESOURCE`, from the `/proc/PID/status` of
/// init: its bounding set, since what is not in it is lost to every program that is started.
pub(crate) fn sys_resource(status: &str) -> Option<bool> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    let set = u64::from_str_radix(set.trim(), 16).ok()?;
    Some(set & (1 << SYS_RESOURCE) != 0)
}

/// The hard limit of open files, from `/proc/PID/limits`; none when there is none.
pub(crate) fn nofile(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Whether `name` is a known file system, from `/proc/filesystems`.
pub(crate) fn has_filesystem(filesystems: &str, name: &str) -> bool {
    filesystems.lines().any(|line| line.split_whitespace().last() == Some(name))
}

/// How many processors, from `/sys/devices/system/cpu/online`, a list such as `0-3,6`.
pub(crate) fn cpus(online: &str) -> Option<usize> {
    let count = |range: &str| -> Option<usize> {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    online.trim().split(',').try_fold(0_usize, |all, range| all.checked_add(count(range)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{cpus, has_filesystem, memory_mib, nofile, sys_resource};

    #[test]
    fn memory_is_rounded_down() {
        let text = "MemTotal:       16367764 kB\nMemFree:         1000000 kB\n";
        assert_eq!(memory_mib(text), Some(15984));
        assert_eq!(memory_mib("MemFree: 1 kB\n"), None);
        assert_eq!(memory_mib("MemTotal: lots\n"), None);
    }

    #[test]
    fn the_bounding_set_decides() {
        let status = |set: &str| format!("CapEff:\t000001ffffffffff\nCapBnd:\t{set}\n");
        assert_eq!(sys_resource(&status("000001ffffffffff")), Some(true));
        assert_eq!(sys_resource(&status("000001fffeffffff")), Some(false));
        assert_eq!(sys_resource("Name:\tinit\n"), None);
    }

    #[test]
    fn the_hard_limit_is_the_second_number() {
        let limits = |hard: &str| {
            format!(
                "Limit   Soft Limit   Hard Limit   Units\nMax open files  1024  {hard}  files\n"
            )
        };
        assert_eq!(nofile(&limits("20000")), Some(20000));
        assert_eq!(nofile(&limits("unlimited")), None);
    }

    #[test]
    fn file_systems_with_and_without_a_device() {
        let text = "nodev\tsysfs\nnodev\toverlay\n\text4\n";
        assert!(has_filesystem(text, "overlay") && has_filesystem(text, "ext4"));
        assert!(!has_filesystem(text, "over") && !has_filesystem(text, "nodev"));
    }

    #[test]
    fn lists_of_processors() {
        for (text, count) in [("0\n", 1), ("0-1\n", 2), ("0-3,6,8-9\n", 7)] {
            assert_eq!(cpus(text), Some(count), "{text}");
        }
        assert_eq!(cpus(""), None);
        assert_eq!(cpus("3-1"), None);
    }

    proptest! {
        #[test]
        fn no_text_of_the_kernel_makes_it_panic(noise in "\\PC*|[0-9,-]{0,48}", number in any::<u64>()) {
            for key in ["MemTotal:", "CapBnd:", "Max open files"] {
                let text = format!("{key} {noise}\n");
                memory_mib(&text);
                sys_resource(&text);
                nofile(&text);
                has_filesystem(&text, &noise);
            }
            prop_assert_eq!(memory_mib(&format!("MemTotal: {number} kB")), Some(number / 1024));
            cpus(&noise);
            cpus(&format!("{number}-{noise}"));
            prop_assert_eq!(cpus(&format!("0-{}", u64::MAX)), None);
        }

        #[test]
        fn processors_are_counted(ranges in prop::collection::vec((0_usize..99, 0_usize..9), 1..5)) {
            let list: Vec<_> = ranges.iter().map(|(first, more)| match more {
                0 => first.to_string(),
                more => format!("{first}-{}", first + more),
            }).collect();
            let count = ranges.iter().map(|(_, more)| more + 1).sum();
            prop_assert_eq!(cpus(&list.join(",")), Some(count));
        }
    }
}
