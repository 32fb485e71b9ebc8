//! What passes through to a component's own configuration: it goes through JSON, which has neither
//! TOML's dates nor its `nan` and `inf`; nor do the configurations of these components.

use serde_json::Value;

use super::{super::Cluster, Found};

/// How the `toml` crate hands a date to other formats (`toml_datetime`, `__unstable::FIELD`).
const DATE: &str = "$__toml_private_datetime";

pub(super) fn check(cluster: &Cluster, found: &mut Found) {
    for (section, extra) in [
        ("containerd.extra", &cluster.containerd.extra),
        ("kubelet.extra", &cluster.kubelet.extra),
        ("kube-proxy.extra", &cluster.kube_proxy.extra),
        ("control-plane.scheduler-extra", &cluster.control_plane.scheduler_extra),
    ] {
        for (key, value) in extra {
            check_value(&format!("{section}.{key}"), value, found);
        }
    }
}

fn check_value(key: &str, value: &Value, found: &mut Found) {
    match value {
        Value::Object(table) => match table.get(DATE) {
            Some(date) => {
                let date = date.as_str().unwrap_or_default();
                found.add(
                    "extra-invalid",
                    key,
                    format!("{date} is a date, which this configuration has no kind of value for"),
                    format!("write it as text: \"{date}\""),
                );
            }
            None => table.iter().for_each(|(name, value)| {
                check_value(&format!("{key}.{name}"), value, found);
            }),
        },
        Value::Array(list) => list.iter().for_each(|value| check_value(key, value, found)),
        Value::Null => found.add(
            "extra-invalid",
            key,
            "`nan` and `inf` are no numbers that this configuration can hold",
            "write a number",
        ),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::Cluster;

    const NODE: &str = "[[node]]\nname = \"node1\"\naddress = \"192.0.2.11\"\n\
                        roles = [\"control-plane\", \"etcd\", \"worker\"]\n";

    /// The keys of `extra-invalid` in a file with `section`, and what is said of the first.
    #[track_caller]
    fn refused(section: &str) -> (Vec<String>, String) {
        let text = format!("schema = 1\n{section}\n{NODE}");
        let problems = Cluster::parse(&text).unwrap().problems();
        assert!(problems.iter().all(|problem| problem.code == "extra-invalid"), "{problems:?}");
        let said =
            problems.first().map(|problem| format!("{}; {}", problem.message, problem.remedy));
        (problems.into_iter().map(|problem| problem.key).collect(), said.unwrap_or_default())
    }

    #[test]
    fn a_date_is_refused_at_any_depth_of_every_extra() {
        for section in ["containerd.extra", "kubelet.extra", "kube-proxy.extra"] {
            let (keys, said) = refused(&format!("[{section}.a]\nb = [{{ c = 2026-01-31 }}]"));
            assert_eq!(keys, [format!("{section}.a.b.c")]);
            assert!(said.ends_with("write it as text: \"2026-01-31\""), "{said}");
        }
        let times = "[control-plane.scheduler-extra]\nx = 07:32:00\ny = 1979-05-27T07:32:00Z";
        let keys = ["x", "y"].map(|key| format!("control-plane.scheduler-extra.{key}"));
        assert_eq!(refused(times).0, keys);
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        assert_eq!(
            refused("[kubelet.extra]\na = nan\nb = 1.5\nc = [-inf]").0,
            ["kubelet.extra.a", "kubelet.extra.c",]
        );
    }

    #[test]
    fn everything_else_passes() {
        assert!(
            refused("[kubelet.extra]\na = \"2026-01-31\"\nb = { c = [1, true, 0.5] }").0.is_empty()
        );
    }
}
