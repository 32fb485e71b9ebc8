//! kube-proxy of a cluster that runs follows kubeadm's configuration.
//!
//! kubeadm's phase would write everything anew, and tell nobody to start again. Its output is
//! compared with what the cluster has instead: `ConfigMap` and pods are touched only when
//! something differs, so that a second run sends no write.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use khost::{
    Change, Context, Detail, Error, Result, Status, Step, Thing,
    api::Api,
    fs::{self, Attributes},
    kubectl::Kubectl,
    pods::Pods,
    static_pod::{Component, StaticPod},
    steps::file::diff,
    wait::{Awaited, Seen, until},
};
use kspec::paths::STATE_DIR;
use serde_json::{Value, json};

use crate::{inputs::Inputs, kubeadm, kubelet, marker::Marker};

const NAMESPACE: &str = "--namespace=kube-system";
/// The version of the `ConfigMap` that the pods were started with; another one makes the
/// `DaemonSet` replace them.
const ANNOTATION: &str = "k8steps/configuration-version";
/// Where kubeadm's `DaemonSet` selects Linux; kubespray sees to it (`kube_proxy_nodeselector`), so
/// that Windows nodes get none of these pods.
const OS: &str = "kubernetes.io/os";
/// The files in the `ConfigMap` (kubeadm `KubeProxyConfigMap19`).
const FILES: [&str; 2] = ["config.conf", "kubeconfig.conf"];

/// Its `ConfigMap`, where its pods run, and that they have read it.
#[derive(Debug)]
pub(crate) struct Follows {
    node: String,
    config: String,
    wanted: Marker,
    api_server: StaticPod,
}

/// What differs.
#[derive(Debug, Default)]
struct Differences {
    /// The files of the `ConfigMap` as they are and as they are to be.
    files: Option<(Value, Value)>,
    /// The pods have read others.
    unread: bool,
    /// The pods would also run on other systems than Linux.
    anywhere: bool,
    /// There is no kube-proxy at all.
    gone: bool,
}

impl Follows {
    pub(crate) fn new(inputs: &Inputs, config: &str) -> Self {
        let wanted = Marker::wanted(inputs, config);
        let api_server = StaticPod::new(Component::ApiServer, &inputs.cluster);
        Self { node: inputs.node.name.clone(), config: config.into(), wanted, api_server }
    }

    fn differences(&self, context: &Context<'_>) -> Result<Differences> {
        let host = context.host;
        let marker = Marker::read(host)?;
        let starting = kubelet::starts(context);
        if !marker.is_initialised() || (starting && !self.api_server.is_healthy(host)?) {
            return Ok(Differences::default()); // in a plan: the API server is yet to be started
        }
        let live = live()?;
        let (Some(map), Some(set)) = (of(&live, "ConfigMap"), of(&live, "DaemonSet")) else {
            return Ok(Differences { gone: true, ..Differences::default() });
        };
        let present = files(map);
        let read = fs::read_text(&host.path(read_at()))?;
        let read = read.and_then(|text| serde_json::from_str::<Value>(&text).ok());
        let settled = marker.config == self.wanted.config && read.as_ref() == Some(&present);
        let wanted = if settled { present.clone() } else { self.rendered()? };
        let template = &set["spec"]["template"];
        Ok(Differences {
            unread: read.as_ref().is_none_or(|read| !same(read, &wanted)),
            files: (!same(&present, &wanted)).then_some((present, wanted)),
            anywhere: template["spec"]["nodeSelector"][OS] != "linux",
            gone: false,
        })
    }

    /// The files that kubeadm would put into the `ConfigMap`.
    fn rendered(&self) -> Result<Value> {
        let failed = |error: std::io::Error| {
            Error::host("render-failed", "cannot make a directory for kubeadm").because(error)
        };
        let dir = tempfile::Builder::new().prefix("kcp-").tempdir().map_err(failed)?; // 0700
        let config = dir.path().join("config.yaml");
        fs::write(&config, self.config.as_bytes(), Attributes { mode: 0o600, owner: None })?;
        let args = ["init", "phase", "addon", "kube-proxy", "--print-manifest"];
        let printed = kubeadm::render(&args, &config, dir.path())?;
        let unreadable = |why: String| {
            Error::host("render-failed", "cannot read what kubeadm prints of kube-proxy")
                .because(why)
        };
        let printed = printed.split_once("---").map_or("", |(_, rest)| rest);
        let objects =
            kspec::from_yaml_documents(printed).map_err(|error| unreadable(error.to_string()))?;
        let map = of(&objects, "ConfigMap").ok_or_else(|| unreadable("no ConfigMap".into()))?;
        Ok(files(map))
    }

    /// Wait until this node's pod has read the `ConfigMap` as it was in `version`.
    fn replaced(&self, context: &Context<'_>, version: &str) -> Result<()> {
        let pods = Pods {
            namespace: "kube-system".into(),
            selector: "k8s-app=kube-proxy".into(),
            node: Some(self.node.clone()),
        };
        let awaited = Awaited {
            id: "kube-proxy-replaced".into(),
            what: format!("kube-proxy on {} with its new configuration", self.node),
            limit: Duration::from_secs(120),
            look: "kubectl -n kube-system describe pods -l k8s-app=kube-proxy".into(),
        };
        let is_new = |pod: &Value| pod["metadata"]["annotations"][ANNOTATION] == version;
        // kube-proxy does not heed the signal to end: it would take its 30 s of grace.
        let found = pods.get()?;
        let old = found.iter().filter(|pod| !is_new(pod));
        let old: Vec<_> = old.filter_map(|pod| pod["metadata"]["name"].as_str()).collect();
        if !old.is_empty() {
            let args = ["delete", "pods", NAMESPACE, "--grace-period=1", "--wait=false"];
            let delete = Kubectl::admin().cmd(&args).arg("--ignore-not-found");
            delete.args(old).run()?;
        }
        until(context, &awaited, || {
            let ready = |pod: &Value| pod["status"]["containerStatuses"][0]["ready"] == true;
            Ok(match pods.get() {
                Ok(found) if found.iter().any(|pod| is_new(pod) && ready(pod)) => Seen::Ready,
                Ok(_) => Seen::NotYet(pods.reason(context.host)),
                Err(error) => Seen::NotYet(error.chain()),
            })
        })
    }
}

impl Step for Follows {
    fn id(&self) -> String {
        "kube-proxy".into()
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let found = self.differences(context)?;
        if found.gone {
            return Ok(Status::Differs(Change::new("let kubeadm install kube-proxy")));
        }
        if let Some((before, after)) = &found.files {
            let text =
                |files: &Value| FILES.map(|name| files[name].as_str().unwrap_or("")).concat();
            let detail = Some(Detail::Diff(diff(&text(before), &text(after))));
            let what = "change kube-proxy's ConfigMap and start its pods anew".into();
            return Ok(Status::Differs(Change { what, detail }));
        }
        let what = match (found.unread, found.anywhere) {
            (true, _) => "start kube-proxy's pods anew: its ConfigMap changed",
            (false, true) => "keep kube-proxy's pods on Linux nodes",
            (false, false) => return Ok(Status::Done),
        };
        Ok(Status::Differs(Change::new(what)))
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::File(read_at())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let found = self.differences(context)?;
        if found.gone {
            kubeadm::run(context, &["init", "phase", "addon", "kube-proxy"], 60)?;
            return note(context);
        }
        if let Some((_, wanted)) = &found.files {
            // Some pod may have been started with what it was meanwhile. Killed from here on, the
            // next run starts them all anew.
            fs::remove(&context.host.path(read_at()))?;
            patch("configmap/kube-proxy", &json!({ "data": wanted }))?;
        }
        let mut template = json!({});
        let mut version = None;
        if found.unread || found.files.is_some() {
            let live = live()?;
            let map = of(&live, "ConfigMap").unwrap_or(&Value::Null);
            let read = map["metadata"]["resourceVersion"].as_str().unwrap_or_default().to_owned();
            template["metadata"]["annotations"][ANNOTATION] = read.clone().into();
            version = Some(read);
        }
        if found.anywhere {
            template["spec"]["nodeSelector"][OS] = "linux".into();
        }
        patch("daemonset/kube-proxy", &json!({ "spec": { "template": template } }))?;
        if let Some(version) = version {
            self.replaced(context, &version)?;
            note(context)?;
        }
        Ok(())
    }
}

/// The pods run with the `ConfigMap` as it is now: remember it.
pub(crate) fn note(context: &Context<'_>) -> Result<()> {
    let live = live()?;
    let Some(map) = of(&live, "ConfigMap") else { return Ok(()) };
    let path = context.host.path(read_at());
    if let Some(dir) = path.parent() {
        fs::make_dirs(dir, 0o700)?;
    }
    let attributes = Attributes { mode: 0o600, owner: None };
    fs::write(&path, files(map).to_string().as_bytes(), attributes)
}

/// The configuration that the pods were last started with.
pub(crate) fn read_at() -> PathBuf {
    Path::new(STATE_DIR).join("manifests/kube-proxy.json")
}

fn live() -> Result<Vec<Value>> {
    let of = |path: &str| Api::admin().at(&format!("{path}/kube-proxy")).transpose();
    let both = [
        "/api/v1/namespaces/kube-system/configmaps",
        "/apis/apps/v1/namespaces/kube-system/daemonsets",
    ];
    both.into_iter().filter_map(of).collect()
}

fn patch(object: &str, patch: &Value) -> Result<()> {
    let args = ["patch", object, NAMESPACE, "--type=merge", "--patch-file=/dev/stdin"];
    Kubectl::admin().cmd(&args).input(patch.to_string()).run().map(drop)
}

fn of<'a>(objects: &'a [Value], kind: &str) -> Option<&'a Value> {
    objects.iter().find(|object| object["kind"] == kind)
}

/// What is in a `ConfigMap`, only those files that kubeadm knows.
fn files(map: &Value) -> Value {
    FILES.iter().map(|name| ((*name).to_owned(), map["data"][*name].clone())).collect()
}

/// Whether two contents say the same: kubeadm leaves out what it has no value for, and the order
/// and layout of a file are no difference.
fn same(one: &Value, other: &Value) -> bool {
    FILES.iter().all(|name| {
        let parsed = |files: &Value| {
            let text = files[*name].as_str().unwrap_or_default();
            kspec::from_yaml_documents(text).ok()
        };
        one[*name] == other[*name] || (parsed(one).is_some() && parsed(one) == parsed(other))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{files, same};

    #[test]
    fn layout_is_no_difference_and_a_server_is() {
        let map = |server: &str| {
            files(&json!({ "data": {
                "config.conf": "mode: iptables\n",
                "kubeconfig.conf": format!("clusters:\n- cluster:\n    server: {server}\n"),
                "other": "not kubeadm's",
            } }))
        };
        let mut laid_out = map("https://a:6443");
        laid_out["config.conf"] = "# by hand\nmode:   iptables".into();
        assert!(same(&map("https://a:6443"), &laid_out));
        assert!(!same(&map("https://a:6443"), &map("https://b:6443")));
        assert_eq!(map("x").get("other"), None);
    }
}
