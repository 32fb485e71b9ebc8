//! What is changed in a kubeconfig, when that is planned, and what is shown of it.

use std::{cell::Cell, rc::Rc};

use khost::{
    Change, Context, Host, Result, Status, Step, StepList, Thing, engine,
    fs::{self, Attributes},
    report::{Loudness, Report},
};
use kspec::paths::{ADMIN_CONF, KUBELET_CONF};
use proptest::prelude::*;

use super::{
    ROOT_DIR, ROTATING, closed, for_root, own_server, rotating_certificate, servers,
    with_rotating_certificate, with_server,
};
use crate::{credentials, init, join};

const KUBELET: &str = "\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: Q0E=
    server: https://192.0.2.11:6443
  name: cluster.local
users:
- name: system:node:node1
  user:
    client-certificate-data: Q0VSVA==
    client-key-data: S0VZ
";

const OWN: &str = "https://127.0.0.1:6443";

/// Put `text` at `path` of a tree.
fn put(host: &Host, path: &str, text: &str, mode: u32) {
    let path = host.path(path);
    fs::make_dirs(path.parent().unwrap(), 0o755).unwrap();
    fs::write(&path, text.as_bytes(), Attributes { mode, owner: None }).unwrap();
}

/// A step of which only its name matters, and what it sees.
struct Other<F>(&'static str, F);

impl<F: Fn(&Context<'_>) -> Status> Step for Other<F> {
    fn id(&self) -> String {
        self.0.into()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        Ok((self.1)(context))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(Vec::new())
    }

    fn apply(&self, _: &Context<'_>) -> Result<()> {
        Ok(())
    }
}

/// Whether `step` is planned where `earlier` is.
fn is_planned(host: &Host, earlier: &'static str, step: impl Step + 'static) -> bool {
    let (id, planned) = (step.id(), Rc::new(Cell::new(false)));
    let seen = Rc::clone(&planned);
    let mut steps = StepList::new();
    steps.add(Other(earlier, |_: &Context<'_>| Status::Differs(Change::new("make it"))));
    steps.add(step);
    steps.add(Other("last", move |context: &Context<'_>| {
        seen.set(context.changes(&id));
        Status::Done
    }));
    let report = Report::new("test", false, Loudness::Quiet);
    engine::plan(&steps, &Context::new(host, &report, None)).unwrap();
    planned.get()
}

#[test]
fn what_is_about_to_be_made_is_then_pointed_at_the_node() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::new(root.path());
    let kubelet = |earlier| is_planned(&host, earlier, own_server("kubelet", OWN, init::ID));
    assert!(kubelet(init::ID) && !kubelet(join::ID));
    put(&host, KUBELET_CONF, &with_server(&KUBELET[..120], OWN), 0o600);
    assert!(kubelet(init::ID), "it is torn, and made anew");
    put(&host, KUBELET_CONF, &with_server(KUBELET, OWN), 0o600);
    assert!(!kubelet(init::ID), "it is whole, and stays");
}

#[test]
fn what_is_about_to_be_made_then_uses_the_certificate_that_is_renewed() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::new(root.path());
    let is_planned = |earlier| is_planned(&host, earlier, rotating_certificate());
    assert!(is_planned(init::ID), "the kubelet gets one while kubeadm is at it");
    assert!(!is_planned(credentials::ID), "there is none yet");
    put(&host, ROTATING, "", 0o600);
    assert!(is_planned(credentials::ID));
    assert!(!is_planned(join::ID), "kubeadm does it");
}

#[test]
fn roots_copy_is_of_what_admin_conf_will_be() {
    let root = tempfile::tempdir().unwrap();
    let host = Host::new(root.path());
    assert!(is_planned(&host, credentials::ID, for_root(OWN)));
    assert!(!is_planned(&host, init::ID, for_root(OWN)), "there is nothing to copy");
    put(&host, ADMIN_CONF, KUBELET, 0o600);
    assert!(is_planned(&host, init::ID, for_root(OWN)));
    put(&host, &format!("{ROOT_DIR}/config"), &with_server(KUBELET, OWN), 0o600);
    assert!(!is_planned(&host, init::ID, for_root(OWN)));
}

#[test]
fn only_the_server_changes() {
    insta::assert_snapshot!(with_server(KUBELET, "https://127.0.0.1:6443"), @r#"
        apiVersion: v1
        clusters:
        - cluster:
            certificate-authority-data: Q0E=
            server: https://127.0.0.1:6443
          name: cluster.local
        users:
        - name: system:node:node1
          user:
            client-certificate-data: Q0VSVA==
            client-key-data: S0VZ
        "#);
}

#[test]
fn the_kubelets_certificate_becomes_a_path() {
    let text = with_rotating_certificate(KUBELET);
    insta::assert_snapshot!(text, @r#"
        apiVersion: v1
        clusters:
        - cluster:
            certificate-authority-data: Q0E=
            server: https://192.0.2.11:6443
          name: cluster.local
        users:
        - name: system:node:node1
          user:
            client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem
            client-key: /var/lib/kubelet/pki/kubelet-client-current.pem
        "#);
    assert_eq!(with_rotating_certificate(&text), text);
}

#[test]
fn a_kubeconfig_that_nothing_is_changed_in_is_closed() {
    let root = tempfile::tempdir().unwrap();
    let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
    let context = Context::new(&host, &report, None);
    let step = closed("super-admin");
    assert_eq!(step.check(&context).unwrap(), Status::Done, "there is none");
    let path = "/etc/kubernetes/super-admin.conf";
    put(&host, path, KUBELET, 0o644);
    let Status::Differs(change) = step.check(&context).unwrap() else { panic!("it is open") };
    assert_eq!(change.what, "set the mode of /etc/kubernetes/super-admin.conf");
    step.apply(&context).unwrap();
    assert_eq!(step.check(&context).unwrap(), Status::Done);
    assert_eq!(fs::read(&host.path(path)).unwrap().unwrap(), KUBELET.as_bytes());
}

#[test]
fn nothing_secret_is_shown() {
    assert_eq!(servers(KUBELET), "server: https://192.0.2.11:6443");
}

type Edit = fn(&str) -> String;

proptest! {
    #[test]
    fn twice_is_once_and_other_lines_stay(
        lines in prop::collection::vec(
            "\\PC{0,8}|[ \\t-]{0,3}(server|servers|tls-server|client-key-data|client-key|client-certificate-data|name): ?[a-z:/]{0,6}\\r?",
            0..8,
        ),
    ) {
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        let edits: [(Edit, &[&str]); 2] = [
            (with_rotating_certificate, &["client-certificate-data:", "client-key-data:"]),
            (|text| with_server(text, OWN), &["server:"]),
        ];
        for (edit, keys) in edits {
            let once = edit(&text);
            prop_assert_eq!(&edit(&once), &once);
            prop_assert_eq!(once.split('\n').count(), text.split('\n').count());
            for (before, after) in text.split('\n').zip(once.split('\n')) {
                let ours = keys.iter().any(|key| before.trim_start().starts_with(key));
                prop_assert_eq!(ours, before != after, "{:?} {:?}", before, after);
            }
        }
        prop_assert!(servers(&text).lines().all(|line| line.starts_with("server:")));
    }
}

#[test]
fn fuzz_kubeconfig_edit() {
    let seed = "clusters:\n- cluster:\n    server: https://a:1\nusers:\n- user:\n    client-key-data: S0VZ\n";
    fuzz::text_target([seed], |text| {
        let once = with_rotating_certificate(&with_server(text, "https://a:1"));
        assert_eq!(with_rotating_certificate(&with_server(&once, "https://a:1")), once);
        servers(text);
    });
}
