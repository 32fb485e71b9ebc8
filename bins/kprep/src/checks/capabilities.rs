//! Capabilities that root may lack in a container (capabilities(7)).

use khost::fs;

use super::{Found, Outcome, Subject};

/// Without one of these a container does not start: what containerd gives every container
/// (`oci.WithDefaultUnixCaps`), and what making one takes.
const NEEDED: [(&str, u32); 16] = [
    ("CHOWN", 0),
    ("DAC_OVERRIDE", 1),
    ("FOWNER", 3),
    ("FSETID", 4),
    ("KILL", 5),
    ("SETGID", 6),
    ("SETUID", 7),
    ("SETPCAP", 8),
    ("NET_BIND_SERVICE", 10),
    ("NET_ADMIN", 12),
    ("NET_RAW", 13),
    ("SYS_CHROOT", 18),
    ("SYS_ADMIN", 21),
    ("MKNOD", 27),
    ("AUDIT_WRITE", 29),
    ("SETFCAP", 31),
];
const SYS_MODULE: u32 = 16;
const SYS_RESOURCE: u32 = 24;

pub(super) fn needed(subject: &Subject<'_>) -> Found {
    let Some(set) = bounding(subject)? else {
        return Outcome::skipped("what root may do here").seen("/proc does not say").only();
    };
    let missing = NEEDED.iter().filter(|(_, bit)| !has(set, *bit));
    let missing: Vec<_> = missing.map(|(name, _)| format!("CAP_{name}")).collect();
    if missing.is_empty() {
        return Outcome::passed("root may do here what containers need").only();
    }
    Outcome::problem(format!("root lacks here what containers need: {}", missing.join(" ")))
        .seen(format!("CapBnd of init is {set:016x}"))
        .remedy("start this container with these capabilities, or as a privileged one")
        .only()
}

/// What the tools get along without.
pub(super) fn adapted(subject: &Subject<'_>) -> Found {
    let Some(set) = bounding(subject)? else {
        return Outcome::skipped("what root may do here").seen("/proc does not say").only();
    };
    let mut found = Vec::new();
    if !has(set, SYS_RESOURCE) {
        found.push(
            Outcome::warning("root may not raise limits here: containers get what the machine has")
                .seen("CAP_SYS_RESOURCE is missing")
                .remedy("give the container that capability, if it runs more than a trial"),
        );
    }
    if !has(set, SYS_MODULE) && !subject.facts.container {
        found.push(
            Outcome::warning("root may not load kernel modules here")
                .seen("CAP_SYS_MODULE is missing")
                .remedy("load overlay and br_netfilter at boot, before it is taken away"),
        );
    }
    if found.is_empty() {
        found.push(Outcome::passed("nothing has to be done without"));
    }
    Ok(found)
}

/// The bounding set of init: what is not in it is lost to every program that is started.
fn bounding(subject: &Subject<'_>) -> khost::Result<Option<u64>> {
    for process in ["1", "self"] {
        let path = subject.host.path(format!("/proc/{process}/status"));
        if let Some(status) = fs::read_text(&path)? {
            let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
            return Ok(set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()));
        }
    }
    Ok(None)
}

fn has(set: u64, bit: u32) -> bool {
    set & (1 << bit) != 0
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;

    fn sample(set: &str) -> Sample {
        Sample::new(&[("/proc/1/status", &format!("Name:\tinit\nCapBnd:\t{set}\n"))])
    }

    #[test]
    fn what_containers_need_is_named() {
        assert!(sample("000001ffffffffff").says("capability-missing").starts_with("good"));
        insta::assert_snapshot!(sample("00000000a80425fb").says("capability-missing"), @"
        problem[capability-missing]: root lacks here what containers need: CAP_NET_ADMIN CAP_SYS_ADMIN
            seen: CapBnd of init is 00000000a80425fb
            hint: start this container with these capabilities, or as a privileged one
        ");
    }

    #[test]
    fn what_can_be_done_without_is_a_warning() {
        assert!(sample("000001ffffffffff").says("capability-adapted").starts_with("good"));
        let mut sample = sample("000001fffefeffff");
        insta::assert_snapshot!(sample.says("capability-adapted"), @"
        warning[capability-adapted]: root may not raise limits here: containers get what the machine has
            seen: CAP_SYS_RESOURCE is missing
            hint: give the container that capability, if it runs more than a trial
        warning[capability-adapted]: root may not load kernel modules here
            seen: CAP_SYS_MODULE is missing
            hint: load overlay and br_netfilter at boot, before it is taken away
        ");
        sample.container = true;
        assert!(!sample.says("capability-adapted").contains("modules"), "they are the machine's");
    }
}
