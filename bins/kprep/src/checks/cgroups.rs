//! Control groups: that they are mounted, which version, and with which controllers.

use khost::{Host, fs};
use kspec::state::CgroupVersion;

use super::{Found, Outcome, Subject};

const MOUNT: &str = "/sys/fs/cgroup";
/// What kubeadm asks for (`k8s.io/system-validators`), without devices and freezer, which version 2
/// has no controllers for.
const V2: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
const V1: [&str; 7] = ["cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids"];

pub(super) fn mounted(host: &Host) -> Found {
    let found = fs::names(&host.path(MOUNT))?;
    if found.is_empty() {
        return Outcome::problem("no control groups are mounted")
            .seen(format!("{MOUNT} is empty"))
            .remedy("mount them: systemd does so on every machine it boots")
            .only();
    }
    Outcome::passed("control groups are mounted").only()
}

pub(super) fn version(subject: &Subject<'_>) -> Found {
    if subject.facts.kernel.cgroup == CgroupVersion::V2 {
        return Outcome::passed("control groups have version 2").only();
    }
    Outcome::warning("control groups have version 1, which Kubernetes is giving up")
        .seen(format!("`{MOUNT}/cgroup.controllers` does not exist"))
        .remedy(
            "boot with systemd.unified_cgroup_hierarchy=1; until then kubelet is told to bear it",
        )
        .only()
}

pub(super) fn controllers(subject: &Subject<'_>) -> Found {
    let text = |path: &str| fs::read_text(&subject.host.path(path)).map(Option::unwrap_or_default);
    if subject.facts.kernel.cgroup == CgroupVersion::V2 {
        let listed = text("/sys/fs/cgroup/cgroup.controllers")?;
        return complete(&V2, &listed.split_whitespace().collect::<Vec<_>>()).only();
    }
    complete(&V1, &enabled(&text("/proc/cgroups")?)).only()
}

/// Names in `/proc/cgroups`: name, hierarchy, how many, enabled (cgroups(7)).
fn enabled(table: &str) -> Vec<&str> {
    table
        .lines()
        .filter(|line| !line.starts_with('#') && line.split_whitespace().nth(3) == Some("1"))
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

fn complete(needed: &[&str], there: &[&str]) -> Outcome {
    let missing: Vec<_> = needed.iter().copied().filter(|name| !there.contains(name)).collect();
    if missing.is_empty() {
        return Outcome::passed("control groups have the controllers").seen(needed.join(" "));
    }
    Outcome::problem(format!("control groups lack a controller: {}", missing.join(" ")))
        .seen(format!("there are: {}", there.join(" ")))
        .remedy("boot with cgroup_enable=NAME; in a container, have the machine below delegate it")
}

#[cfg(test)]
mod tests {
    use super::super::sample::Sample;

    #[test]
    fn version_two() {
        let file = "/sys/fs/cgroup/cgroup.controllers";
        let sample = Sample::new(&[(file, "cpuset cpu io memory hugetlb pids rdma misc\n")]);
        assert!(sample.says("cgroup-missing").starts_with("good"));
        assert!(sample.says("cgroup-v1").starts_with("good[cgroup-v1]"));
        assert!(sample.says("cgroup-controller-missing").contains("cpu cpuset memory pids"));
        sample.write(file, "cpu pids\n");
        insta::assert_snapshot!(sample.says("cgroup-controller-missing"), @"
        problem[cgroup-controller-missing]: control groups lack a controller: cpuset memory
            seen: there are: cpu pids
            hint: boot with cgroup_enable=NAME; in a container, have the machine below delegate it
        ");
    }

    #[test]
    fn version_one() {
        let sample = Sample::new(&[
            ("/sys/fs/cgroup/memory/tasks", ""),
            (
                "/proc/cgroups",
                "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpuset\t3\t1\t1\ncpu\t1\t1\t1\n\
                 cpuacct\t2\t1\t1\nmemory\t4\t39\t0\ndevices\t5\t1\t1\nfreezer\t6\t1\t1\npids\t8\t1\t1\n",
            ),
        ]);
        insta::assert_snapshot!(sample.says("cgroup-v1"), @"
        warning[cgroup-v1]: control groups have version 1, which Kubernetes is giving up
            seen: `/sys/fs/cgroup/cgroup.controllers` does not exist
            hint: boot with systemd.unified_cgroup_hierarchy=1; until then kubelet is told to bear it
        ");
        let said = sample.says("cgroup-controller-missing");
        assert!(
            said.contains(
                "problem[cgroup-controller-missing]: control groups lack a controller: memory\n"
            ),
            "{said}"
        );
    }

    #[test]
    fn none_at_all() {
        let said = Sample::new(&[]).says("cgroup-missing");
        assert!(
            said.starts_with("problem[cgroup-missing]: no control groups are mounted"),
            "{said}"
        );
    }
}
