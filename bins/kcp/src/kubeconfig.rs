//! Which API server this node's kubeconfigs name, and root's own copy.

use khost::{
    Change, Context, Host, Result, Status, Step, Thing, fs,
    steps::{deferred::Deferred, file::File},
};
use kspec::paths::{ADMIN_CONF, KUBE_DIR};

use crate::{credentials, init};

/// root's kubectl directory.
pub(crate) const ROOT_DIR: &str = "/root/.kube";

/// The kubelet's certificate, which it renews itself: a link to the newest.
const ROTATING: &str = "/var/lib/kubelet/pki/kubelet-client-current.pem";

/// The file as it should be, from the file as it is.
type Edit = Box<dyn Fn(&Host, &str) -> String>;
type Comes = Box<dyn Fn(&Context<'_>) -> bool>;

/// A kubeconfig with some lines as they should be; the others, with their keys, are kept and
/// never shown.
pub(crate) struct Kubeconfig {
    id: String,
    path: String,
    /// Whether it is made in this run, by an earlier step, and then edited.
    comes: Comes,
    /// What the change is, for people.
    what: String,
    edit: Edit,
}

/// `/etc/kubernetes/NAME.conf` names this node's own API server, so that the node does not depend
/// on a load balancer to talk to itself. The step `after` makes the file.
pub(crate) fn own_server(name: &str, local: &str, after: &'static str) -> Kubeconfig {
    let path = format!("{KUBE_DIR}/{name}.conf");
    let wanted = local.to_owned();
    Kubeconfig {
        id: format!("kubeconfig:{path}"),
        what: format!("point {path} at {local}"),
        path,
        comes: Box::new(move |context| context.changes(after)),
        edit: Box::new(move |_, text| with_server(text, &wanted)),
    }
}

/// `/etc/kubernetes/NAME.conf` is as kubeadm made it, and nobody else's to read.
pub(crate) fn closed(name: &str) -> Kubeconfig {
    let path = format!("{KUBE_DIR}/{name}.conf");
    Kubeconfig {
        id: format!("kubeconfig:{path}"),
        what: format!("close {path}"),
        path,
        comes: Box::new(|_| false),
        edit: Box::new(|_, text| text.to_owned()),
    }
}

/// kubelet.conf names the file that the kubelet renews, not a certificate that ends. At
/// `kubeadm init` nobody else does it; `kubeadm join` does, if the file is there by then. A
/// kubelet.conf that is issued anew, on a node whose kubelet has its certificate, needs it as well.
pub(crate) fn rotating_certificate() -> Kubeconfig {
    let path = format!("{KUBE_DIR}/kubelet.conf");
    Kubeconfig {
        id: format!("kubeconfig-certificate:{path}"),
        what: format!("let {path} use the certificate that the kubelet renews"),
        path,
        comes: Box::new(|context| {
            let rotates = fs::exists(&context.host.path(ROTATING));
            context.changes(init::ID) || (rotates && context.changes(credentials::ID))
        }),
        edit: Box::new(|host, text| {
            if fs::exists(&host.path(ROTATING)) {
                with_rotating_certificate(text)
            } else {
                text.to_owned()
            }
        }),
    }
}

/// root's kubectl works without flags: a copy of admin.conf.
pub(crate) fn for_root(local: &str) -> Deferred {
    let (path, local) = (format!("{ROOT_DIR}/config"), local.to_owned());
    let copy = path.clone();
    let deferred = Deferred::new(path, move |context| {
        let admin = fs::read_text(&context.host.path(ADMIN_CONF))?;
        Ok(admin.map(|text| File::new(&copy).mode(0o600).secret(with_server(&text, &local))))
    });
    deferred.after(credentials::ID)
}

impl std::fmt::Debug for Kubeconfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Kubeconfig").field(&self.id).finish()
    }
}

impl Kubeconfig {
    /// The file as it should be and as it is; none while it does not exist.
    fn wanted(&self, host: &Host) -> Result<Option<(String, String)>> {
        let present = fs::read_text(&host.path(&self.path))?;
        Ok(present.map(|text| ((self.edit)(host, &text), text)))
    }
}

impl Step for Kubeconfig {
    fn id(&self) -> String {
        self.id.clone()
    }

    fn needs_machine(&self) -> bool {
        false
    }

    fn check(&self, context: &Context<'_>) -> Result<Status> {
        let found = self.wanted(context.host)?;
        let whole = found.as_ref().is_some_and(|(_, present)| credentials::is_kubeconfig(present));
        Ok(match found {
            // About to be made, with another server and a certificate in it.
            _ if !whole && (self.comes)(context) => Status::Differs(Change::new(&self.what)),
            Some((wanted, present)) if wanted != present => {
                let (before, after) = (servers(&present), servers(&wanted));
                Status::Differs(if before == after {
                    Change::new(&self.what)
                } else {
                    Change::values(&self.what, before, after)
                })
            }
            // Whoever may read it is an administrator. One step of a file sees to that.
            Some((wanted, _)) if self.id.starts_with("kubeconfig:") => {
                File::new(&self.path).mode(0o600).secret(wanted).check(context)?
            }
            _ => Status::Done,
        })
    }

    fn touches(&self, _: &Context<'_>) -> Result<Vec<Thing>> {
        Ok(vec![Thing::File((&self.path).into())])
    }

    fn apply(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let Some((wanted, _)) = self.wanted(host)? else { return Ok(()) };
        File::new(&self.path).mode(0o600).secret(wanted).apply(context)
    }
}

/// Each `server:` of `text`, with its address replaced.
fn with_server(text: &str, server: &str) -> String {
    edited(text, |key, _| (key == "server").then(|| format!("server: {server}")))
}

/// Embedded certificate and key replaced by the path of the file that has both.
fn with_rotating_certificate(text: &str) -> String {
    edited(text, |key, _| match key {
        "client-certificate-data" => Some(format!("client-certificate: {ROTATING}")),
        "client-key-data" => Some(format!("client-key: {ROTATING}")),
        _ => None,
    })
}

/// `text` with the lines `key: value` that `edit` has something else for; indentation is kept.
fn edited(text: &str, edit: impl Fn(&str, &str) -> Option<String>) -> String {
    let line = |line: &str| {
        let bare = line.trim_start();
        let replaced = bare.split_once(':').and_then(|(key, value)| edit(key, value));
        let indent = &line[..line.len() - bare.len()];
        replaced.map_or_else(|| line.to_owned(), |replaced| format!("{indent}{replaced}\n"))
    };
    text.split_inclusive('\n').map(line).collect()
}

/// The only lines of a kubeconfig that may be shown.
fn servers(text: &str) -> String {
    let bare = text.lines().map(str::trim_start);
    bare.filter(|line| line.starts_with("server:")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests;
