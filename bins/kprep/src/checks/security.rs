//! `SELinux`: how it is, and what apply makes of it.

use khost::fs;
use kspec::cluster::Selinux;

use super::{Found, Outcome, Subject};

pub(super) fn selinux(subject: &Subject<'_>) -> Found {
    let path = subject.host.path("/sys/fs/selinux/enforce");
    let enforce = fs::read_text(&path)?.unwrap_or_default();
    judge(enforce.trim(), subject.cluster.host.selinux).only()
}

fn judge(enforce: &str, wanted: Selinux) -> Outcome {
    let now = match enforce {
        "" => return Outcome::passed("SELinux is off, and stays so"),
        "0" => "it is permissive",
        _ => "it is enforcing",
    };
    match (wanted, enforce) {
        (Selinux::Permissive, _) => {
            Outcome::passed("SELinux will log, and forbid nothing").seen(now)
        }
        (Selinux::Enforcing, _) => Outcome::passed("SELinux will enforce").seen(now),
        (Selinux::AsIs, "0") => Outcome::passed("SELinux stays as it is").seen(now),
        (Selinux::AsIs, _) => {
            Outcome::warning("SELinux stays enforcing, and nobody gives it the contexts it wants")
                .seen(now)
                .remedy("set selinux = \"enforcing\" or \"permissive\" in [host]")
                .at("host.selinux")
        }
    }
}

#[cfg(test)]
mod tests {
    use kspec::cluster::Selinux;

    use super::super::sample::Sample;

    #[test]
    fn what_it_is_and_will_be() {
        assert!(Sample::new(&[]).says("selinux-mode").contains("SELinux is off"));
        let mut sample = Sample::new(&[("/sys/fs/selinux/enforce", "1")]);
        insta::assert_snapshot!(sample.says("selinux-mode"), @"
        good[selinux-mode]: SELinux will log, and forbid nothing
            seen: it is enforcing
        ");
        sample.cluster.host.selinux = Selinux::Enforcing;
        assert!(sample.says("selinux-mode").contains("SELinux will enforce"));
        sample.cluster.host.selinux = Selinux::AsIs;
        insta::assert_snapshot!(sample.says("selinux-mode"), @r#"
        warning[selinux-mode]: host.selinux: SELinux stays enforcing, and nobody gives it the contexts it wants
            seen: it is enforcing
            hint: set selinux = "enforcing" or "permissive" in [host]
        "#);
    }
}
