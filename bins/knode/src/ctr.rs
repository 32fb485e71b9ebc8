//! containerd, by its own client `ctr`, in the namespace that Kubernetes uses.

use std::{collections::BTreeMap, time::Duration};

use khost::{
    Cmd, Result,
    steps::wait::Wait,
    wait::{Awaited, Seen},
};
use kspec::{Sha256, paths::BIN_DIR};

/// `ctr --namespace k8s.io ARGS`, to be run.
pub(crate) fn ctr(args: &[&str]) -> Cmd {
    let namespace = ["--namespace", "k8s.io"];
    Cmd::new(format!("{BIN_DIR}/ctr")).args(namespace).args(args.iter().copied())
}

/// Images that containerd has, by reference, with the digest each points at.
pub(crate) fn images() -> Result<BTreeMap<String, Sha256>> {
    Ok(parse_images(&ctr(&["images", "list"]).run()?.stdout))
}

/// `ctr images list`: a heading, then REF TYPE DIGEST ... in columns.
fn parse_images(table: &str) -> BTreeMap<String, Sha256> {
    let row = |line: &str| {
        let mut columns = line.split_whitespace();
        let reference = columns.next()?.to_owned();
        let digest = columns.nth(1)?.parse().ok()?;
        Some((reference, digest))
    };
    table.lines().skip(1).filter_map(row).collect()
}

/// containerd answers, and the kubelet would be served: a mistake in the configuration keeps the
/// CRI plugin away while all else works.
pub(crate) fn answers() -> Wait {
    let awaited = Awaited {
        id: "containerd".into(),
        what: "containerd's CRI service".into(),
        limit: Duration::from_secs(30),
        look: "journalctl --unit=containerd --lines=50".into(),
    };
    Wait::new(awaited, |_| {
        Ok(match ctr(&["plugins", "list"]).limit(Duration::from_secs(10)).run() {
            Ok(output) => cri(&output.stdout),
            Err(error) => Seen::not_yet(error.chain().replace('\n', "; ")),
        })
    })
}

/// `ctr plugins list`: TYPE ID PLATFORMS STATUS in columns.
fn cri(table: &str) -> Seen {
    let plugins = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    for plugin in plugins {
        match plugin[..] {
            ["io.containerd.grpc.v1", "cri", .., "ok"] => return Seen::Ready,
            ["io.containerd.grpc.v1", "cri", .., status] => {
                return Seen::not_yet(format!("its CRI plugin is in state `{status}`"));
            }
            _ => {}
        }
    }
    Seen::not_yet("it has no CRI plugin")
}

#[cfg(test)]
mod tests {
    use khost::wait::Seen;

    #[test]
    fn images_are_read_from_the_table() {
        let table = "\
REF                        TYPE                                       DIGEST                                                                  SIZE      PLATFORMS   LABELS
registry.k8s.io/pause:3.10 application/vnd.oci.image.manifest.v1+json sha256:1481c38437c489082405abbd4aadb3083c671c17040f8c4943a6f72bd216beee 811.6 KiB linux/amd64 io.cri-containerd.image=managed
";
        let images = super::parse_images(table);
        let digest = images["registry.k8s.io/pause:3.10"];
        assert!(digest.hex().starts_with("1481c38437c4"), "{digest}");
        assert_eq!(images.len(), 1);
    }

    #[test]
    fn only_a_working_cri_plugin_will_do() {
        let table = |status: &str| {
            format!(
                "TYPE                  ID      PLATFORMS STATUS\n\
                 io.containerd.cri.v1  images  -         ok\n\
                 io.containerd.grpc.v1 cri     -         {status}\n"
            )
        };
        assert_eq!(super::cri(&table("ok")), Seen::Ready);
        let expected = Seen::not_yet("its CRI plugin is in state `error`");
        assert_eq!(super::cri(&table("error")), expected);
        assert_eq!(super::cri(""), Seen::not_yet("it has no CRI plugin"));
    }
}
