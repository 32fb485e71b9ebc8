//! `/etc/kubernetes/kubelet.env`: the kubelet's flags (kubespray: `kubelet.env.v1beta1.j2`).

use kspec::paths::KUBELET_CONF;

use crate::{inputs::Inputs, kubelet_config, kubelet_unit::BOOTSTRAP_CONF};

pub(crate) const PATH: &str = "/etc/kubernetes/kubelet.env";

/// Flags only; what can stand in a file stands in [`kubelet_config`].
pub(crate) fn render(inputs: &Inputs) -> String {
    let mut args = vec![
        format!("--bootstrap-kubeconfig={BOOTSTRAP_CONF}"),
        format!("--config={}", kubelet_config::PATH),
        format!("--kubeconfig={KUBELET_CONF}"),
        "--runtime-cgroups=/system.slice/containerd.service".to_owned(),
    ];
    args.extend(inputs.cluster.kubelet.extra_args.iter().cloned());
    // systemd.exec(5), EnvironmentFile=: a backslash at the end of a line continues it, and one
    // before a quote or a backslash keeps that.
    let args = args.iter().map(|arg| arg.replace('\\', "\\\\").replace('"', "\\\""));
    let args = args.collect::<Vec<_>>().join(" \\\n");
    format!(
        "\
KUBE_LOG_LEVEL=\"--v=2\"
KUBELET_ADDRESS=\"--node-ip={address}\"
KUBELET_HOSTNAME=\"--hostname-override={node}\"
KUBELET_ARGS=\"{args}\"
KUBELET_CLOUDPROVIDER=\"\"
PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
",
        address = inputs.facts.address,
        node = inputs.node.name,
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::inputs::tests::{inputs, machine};

    #[test]
    fn it_is_kubesprays() {
        insta::assert_snapshot!(super::render(&inputs(machine())), @r#"
        KUBE_LOG_LEVEL="--v=2"
        KUBELET_ADDRESS="--node-ip=192.0.2.11"
        KUBELET_HOSTNAME="--hostname-override=node1"
        KUBELET_ARGS="--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
        --config=/etc/kubernetes/kubelet-config.yaml \
        --kubeconfig=/etc/kubernetes/kubelet.conf \
        --runtime-cgroups=/system.slice/containerd.service"
        KUBELET_CLOUDPROVIDER=""
        PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
        "#);
    }

    #[test]
    fn further_flags_come_last_and_win() {
        let mut inputs = inputs(machine());
        inputs.cluster.kubelet.extra_args = vec!["--v=4".into(), "--x=\"a\"".into()];
        let text = super::render(&inputs);
        assert!(text.contains("service \\\n--v=4 \\\n--x=\\\"a\\\"\"\n"), "{text}");
    }

    /// The value of `key` as systemd.exec(5) reads one in double quotes.
    fn value(text: &str, key: &str) -> String {
        let quoted = text.split_once(&format!("{key}=\"")).unwrap().1;
        let mut letters = quoted.chars();
        let mut value = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => return value,
                '\\' => match letters.next().unwrap() {
                    '\n' => {}
                    escaped if "\"\\$`".contains(escaped) => value.push(escaped),
                    other => value.extend(['\\', other]),
                },
                plain => value.push(plain),
            }
        }
        panic!("it never ends");
    }

    proptest! {
        #[test]
        fn systemd_reads_every_flag_as_it_was_meant(
            flags in prop::collection::vec("--[a-z]=[ -~é]{0,8}", 0..4),
        ) {
            let mut inputs = inputs(machine());
            inputs.cluster.kubelet.extra_args = flags.clone();
            let text = super::render(&inputs);
            let read = value(&text, "KUBELET_ARGS");
            let wanted: String = flags.iter().flat_map(|flag| [" ", flag]).collect();
            prop_assert!(read.ends_with(&format!("containerd.service{wanted}")), "{}", text);
        }
    }
}
