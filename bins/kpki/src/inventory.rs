//! Every certificate on this node: etcd's, kubeadm's, the kubelet's, and those in kubeconfigs.

use std::path::{Path, PathBuf};

use khost::{Host, Result, fs};
use kspec::{
    Cluster, Node, Role,
    paths::{ETCD_CERT_DIR, KUBE_CERT_DIR, KUBE_DIR, KUBELET_CONF},
};
use time::OffsetDateTime;

use crate::{
    holder::{Held, Holder},
    inspect::Seen,
    kubeconfig::{self, Client},
};

/// The kubelet's own directory for certificates (its `--cert-dir`).
pub(crate) const KUBELET_PKI: &str = "/var/lib/kubelet/pki";
/// root's copy of the administrator's kubeconfig.
pub(crate) const ROOT_CONFIG: &str = "/root/.kube/config";

/// Who signs a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issuer {
    /// etcd's authority.
    Etcd,
    /// The cluster's.
    Kubernetes,
    /// That of the aggregation layer.
    FrontProxy,
    /// It is its own, or the kubelet's, which nobody checks.
    Itself,
}

impl Issuer {
    /// Certificate and key of the authority.
    pub(crate) fn holder(self) -> Option<Holder> {
        match self {
            Self::Etcd => Some(pair(ETCD_CERT_DIR, "ca.pem", "ca-key.pem")),
            Self::Kubernetes => Some(pair(KUBE_CERT_DIR, "ca.crt", "ca.key")),
            Self::FrontProxy => {
                Some(pair(KUBE_CERT_DIR, "front-proxy-ca.crt", "front-proxy-ca.key"))
            }
            Self::Itself => None,
        }
    }
}

/// Who gives it a longer life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeper {
    /// `kpki renew`, and the timer that calls it.
    Kpki,
    /// The node that makes etcd's authority exports it, this one imports it.
    Import,
    /// The kubelet, long before its end; `kpki renew` when that failed.
    Kubelet,
    /// Nobody: what trusts it would have to be told.
    Nobody,
}

impl Keeper {
    /// For people and programs.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Kpki => "kpki",
            Self::Import => "import",
            Self::Kubelet => "kubelet",
            Self::Nobody => "nobody",
        }
    }
}

/// A certificate that this node has or should have.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    /// As `kpki renew` takes it; kubeadm's names for kubeadm's.
    pub(crate) name: &'static str,
    /// Where it is.
    pub(crate) holder: Holder,
    /// Who signs it.
    pub(crate) issuer: Issuer,
    /// Who renews it.
    pub(crate) keeper: Keeper,
}

/// How a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is wrong with it.
    Good,
    /// It ends soon; why, in words.
    Due(String),
    /// It has ended, or has not begun.
    Ended(String),
    /// It cannot be used, whatever the time.
    Damaged(String),
    /// It is not there.
    Missing,
}

impl State {
    /// For people and programs.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Due(_) => "due",
            Self::Ended(_) => "ended",
            Self::Damaged(_) => "damaged",
            Self::Missing => "missing",
        }
    }

    /// What is wrong, if something is.
    pub(crate) fn reason(&self) -> Option<&str> {
        match self {
            Self::Good => None,
            Self::Due(why) | Self::Ended(why) | Self::Damaged(why) => Some(why),
            Self::Missing => Some("it does not exist"),
        }
    }
}

/// Those of `node`: what its roles need, and whatever else is there. Before the node has joined a
/// cluster nothing of the cluster's is missed.
pub(crate) fn items(host: &Host, cluster: &Cluster, node: &Node) -> Result<Vec<Item>> {
    let there = |item: &Item| fs::exists(&host.path(item.holder.path()));
    let joined = fs::exists(&host.path(KUBELET_CONF));
    let plane = joined && node.is(Role::ControlPlane);

    let mut items = etcd(host, cluster, node);
    let kubernetes = kubernetes().into_iter().filter(|item| {
        let optional = item.name == "super-admin.conf";
        there(item) || (plane && !optional) || (joined && item.name == "ca")
    });
    items.extend(kubernetes);
    items.extend(kubelet(host, joined)?);
    if kubeconfig_with_certificate(host, Path::new(ROOT_CONFIG))? {
        let holder = Holder::Kubeconfig(ROOT_CONFIG.into());
        items.push(Item::new("root-kubeconfig", holder, Issuer::Kubernetes, Keeper::Kpki));
    }
    Ok(items)
}

impl Item {
    fn new(name: &'static str, holder: Holder, issuer: Issuer, keeper: Keeper) -> Self {
        Self { name, holder, issuer, keeper }
    }

    /// Whether it signs others.
    pub(crate) fn is_authority(&self) -> bool {
        self.issuer.holder().as_ref() == Some(&self.holder)
    }

    /// What is there of it.
    pub(crate) fn read(&self, host: &Host) -> Result<Held> {
        self.holder.read(host)
    }

    /// How it is at `now`, when what ends within `days` is due.
    pub(crate) fn state(
        &self,
        host: &Host,
        held: &Held,
        now: OffsetDateTime,
        days: u32,
    ) -> Result<State> {
        let seen = match &held.cert {
            None => return Ok(State::Missing),
            Some(Err(why)) => return Ok(State::Damaged(why.clone())),
            Some(Ok(seen)) => seen,
        };
        // The key of an authority may be kept elsewhere.
        if let Some(why) = held.key_fault()
            && !(self.is_authority() && held.key.is_none())
        {
            return Ok(State::Damaged(why));
        }
        if let Some(why) = self.issuer_fault(host, seen)? {
            return Ok(State::Damaged(why));
        }
        Ok(match (seen.out_of_term(now, 0), seen.out_of_term(now, days)) {
            (Some(why), _) => State::Ended(why),
            (None, Some(why)) => State::Due(why),
            (None, None) => State::Good,
        })
    }

    fn issuer_fault(&self, host: &Host, seen: &Seen) -> Result<Option<String>> {
        if self.is_authority() {
            let why = format!("it is a certificate of {}, no authority", seen.subject);
            return Ok((!seen.is_authority).then_some(why));
        }
        let Some(issuer) = self.issuer.holder() else { return Ok(None) };
        Ok(match issuer.read(host)?.cert {
            Some(Ok(issuer)) if !seen.signed_by(&issuer.key_info) => {
                Some("another authority issued it".into())
            }
            _ => None, // what is wrong with the authority is told of the authority
        })
    }
}

fn etcd(host: &Host, cluster: &Cluster, node: &Node) -> Vec<Item> {
    let maker = cluster.with_role(Role::Etcd).next();
    let makes = maker.is_some_and(|maker| maker.name == node.name);
    let signs = fs::exists(&host.path(ETCD_CERT_DIR).join("ca-key.pem"));
    let keeper = if signs || makes { Keeper::Kpki } else { Keeper::Import };
    let leaf = |name, word: &str| {
        let (cert, key) =
            (format!("{word}-{}.pem", node.name), format!("{word}-{}-key.pem", node.name));
        Item::new(name, pair(ETCD_CERT_DIR, &cert, &key), Issuer::Etcd, keeper)
    };
    let mut items = Vec::new();
    if node.is(Role::Etcd) || node.is(Role::ControlPlane) {
        items.push(Item::new(
            "etcd-ca",
            pair(ETCD_CERT_DIR, "ca.pem", "ca-key.pem"),
            Issuer::Etcd,
            keeper,
        ));
    }
    if node.is(Role::Etcd) {
        items.extend([leaf("etcd-member", "member"), leaf("etcd-admin", "admin")]);
    }
    if node.is(Role::ControlPlane) {
        items.push(leaf("etcd-node", "node"));
    }
    items
}

/// What kubeadm issues on a control plane.
fn kubernetes() -> Vec<Item> {
    let own = |name| {
        let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
        pair(KUBE_CERT_DIR, &cert, &key)
    };
    let issued = |name, issuer| Item::new(name, own(name), issuer, Keeper::Kpki);
    let config = |name| {
        let holder = Holder::Kubeconfig(Path::new(KUBE_DIR).join(name));
        Item::new(name, holder, Issuer::Kubernetes, Keeper::Kpki)
    };
    vec![
        Item::new("ca", own("ca"), Issuer::Kubernetes, Keeper::Nobody),
        issued("apiserver", Issuer::Kubernetes),
        issued("apiserver-kubelet-client", Issuer::Kubernetes),
        Item::new("front-proxy-ca", own("front-proxy-ca"), Issuer::FrontProxy, Keeper::Nobody),
        issued("front-proxy-client", Issuer::FrontProxy),
        config("admin.conf"),
        config("super-admin.conf"),
        config("controller-manager.conf"),
        config("scheduler.conf"),
    ]
}

/// The kubelet's client certificate, wherever its kubeconfig has it, and its serving certificate.
fn kubelet(host: &Host, joined: bool) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    if joined {
        let text = fs::read_text(&host.path(KUBELET_CONF))?.unwrap_or_default();
        let holder = match kubeconfig::client(&text) {
            Ok(Client::File(path)) => Holder::Both(path),
            _ => Holder::Kubeconfig(KUBELET_CONF.into()),
        };
        items.push(Item::new("kubelet-client", holder, Issuer::Kubernetes, Keeper::Kubelet));
    }
    let rotating = Path::new(KUBELET_PKI).join("kubelet-server-current.pem");
    let own = pair(KUBELET_PKI, "kubelet.crt", "kubelet.key");
    if fs::exists(&host.path(&rotating)) {
        let holder = Holder::Both(rotating);
        items.push(Item::new("kubelet-server", holder, Issuer::Kubernetes, Keeper::Kubelet));
    } else if fs::exists(&host.path(own.path())) {
        items.push(Item::new("kubelet-server", own, Issuer::Itself, Keeper::Kpki));
    }
    Ok(items)
}

fn kubeconfig_with_certificate(host: &Host, path: &Path) -> Result<bool> {
    let text = fs::read_text(&host.path(path))?;
    let client = text.map(|text| kubeconfig::client(&text));
    Ok(matches!(client, Some(Ok(Client::Embedded(..)))))
}

fn pair(dir: &str, cert: &str, key: &str) -> Holder {
    let dir = PathBuf::from(dir);
    Holder::Pair(dir.join(cert), dir.join(key))
}
