//! What a renewal puts in the place of a certificate: made in memory, before anything is touched.

use std::path::{Path, PathBuf};

use khost::{
    Error, Host, Result,
    fs::{self, Attributes},
};
use kspec::{cluster::KeyAlgorithm, paths::ADMIN_CONF};
use rcgen::KeyPair;

use super::{
    CLUSTER_DAYS, World,
    record::{Content, Replaced},
};
use crate::{
    holder::{Held, Holder},
    inspect::Seen,
    inventory::{Issuer, Item, KUBELET_PKI},
    issue::{self, Profile, Term},
    keys,
    kubeconfig::{self, Client},
};

const KEY: Attributes = Attributes { mode: 0o600, owner: None };
const CERT: Attributes = Attributes { mode: 0o644, owner: None };

/// The files that renew `item`, of which `held` is there, in the order they are replaced.
///
/// # Errors
/// `certificate-damaged` when what it said cannot be read any more; `authority-key-missing` and
/// `authority-ended` when nothing can be issued.
pub(super) fn of(world: &World, host: &Host, item: &Item, held: &Held) -> Result<Vec<Replaced>> {
    match (item.issuer, item.name) {
        (Issuer::Etcd, name) => etcd(world, host, name),
        (_, "root-kubeconfig") => copy_of_admin(host, item),
        (Issuer::Itself, _) => {
            // The kubelet makes itself another at its start when there is none.
            let Holder::Pair(cert, key) = &item.holder else { return Ok(Vec::new()) };
            let absent = |path: &PathBuf| Replaced::new(host, path, Content::Absent, KEY);
            Ok(vec![absent(key)?, absent(cert)?])
        }
        (issuer, "kubelet-client") => {
            let node = &world.node.name;
            let profile = Profile::client("system:nodes", &format!("system:node:{node}"));
            let (cert, key) = issued(world, host, issuer, &profile, KeyAlgorithm::EcdsaP256)?;
            kubelet(world, host, item, &cert, &key)
        }
        (issuer, name) => {
            let seen = match &held.cert {
                Some(Ok(seen)) => seen,
                Some(Err(why)) => return Err(damaged(item, name, why)),
                None => return Err(damaged(item, name, "it does not exist")),
            };
            let profile = seen.profile().ok_or_else(|| damaged(item, name, "it is not read"))?;
            let algorithm = match &held.key {
                Some(Ok(key)) => issue::algorithm(key),
                _ => None,
            };
            let algorithm = algorithm.unwrap_or(KeyAlgorithm::Rsa2048);
            let (cert, key) = issued(world, host, issuer, &profile, algorithm)?;
            kubelet(world, host, item, &cert, &key)
        }
    }
}

fn damaged(item: &Item, name: &str, why: &str) -> Error {
    let path = item.holder.path().display();
    Error::host("certificate-damaged", format!("`{path}` cannot be renewed: {why}"))
        .because(format!("whom `{name}` is for, and under which names, stood in it"))
        .hint("run `kcp apply`, which lets kubeadm issue it anew")
}

fn etcd(world: &World, host: &Host, name: &str) -> Result<Vec<Replaced>> {
    let leaf = world.leaves.iter().find(|leaf| name == format!("etcd-{}", leaf.purpose.word()));
    let Some(leaf) = leaf else { return Ok(Vec::new()) };
    leaf.refuse_unissuable(host)?;
    let (key, cert) = leaf.make(host)?;
    let owner = host.ids(leaf.pair.owner())?;
    Ok(vec![
        Replaced::new(
            host,
            &leaf.pair.key,
            Content::Text(key.serialize_pem()),
            Attributes { owner, ..KEY },
        )?,
        Replaced::new(host, &leaf.pair.cert, Content::Text(cert), Attributes { owner, ..CERT })?,
    ])
}

/// Certificate and key, as PEM, signed by one of kubeadm's authorities.
fn issued(
    world: &World,
    host: &Host,
    issuer: Issuer,
    profile: &Profile,
    algorithm: KeyAlgorithm,
) -> Result<(String, String)> {
    let (authority, authority_key) = signer(world, host, issuer)?;
    let term = Term::new(world.rules.now, CLUSTER_DAYS)?;
    let term = Term { until: term.until.min(authority.term.until), ..term };
    let key = keys::key(algorithm)?;
    let cert = issue::for_cluster(profile, &key, (&authority.pem, authority_key), term)?;
    Ok((cert, key.serialize_pem()))
}

fn signer(world: &World, host: &Host, issuer: Issuer) -> Result<(Seen, KeyPair)> {
    let Some(holder) = issuer.holder() else {
        return Err(Error::host("renewal-failed", "nobody signs it"));
    };
    let path = holder.path().display().to_string();
    let held = holder.read(host)?;
    if let Some(why) = held.key_fault() {
        return Err(Error::host(
            "authority-key-missing",
            format!("nothing can be signed in the name of `{path}`"),
        )
        .because(why)
        .hint(
            "bring its key here for as long as this takes, or renew where it is kept; on a \
                 worker: give the kubelet a bootstrap kubeconfig with a new token",
        ));
    }
    match (held.cert, held.key) {
        (Some(Ok(seen)), Some(Ok(key))) => match seen.out_of_term(world.rules.now, 0) {
            None => Ok((seen, key)),
            Some(why) => {
                Err(Error::host("authority-ended", format!("`{path}` is of no use: {why}"))
                    .because("nobody would trust what it issues")
                    .hint("the cluster needs a new authority: see docs/kpki.md, Authorities"))
            }
        },
        (Some(Err(why)), _) => {
            Err(Error::host("authority-damaged", format!("`{path}` cannot be read"))
                .because(why)
                .hint("restore it from a backup or another control plane"))
        }
        _ => Err(Error::host("authority-missing", format!("`{path}` does not exist"))
            .hint("restore it from a backup or another control plane")),
    }
}

/// The files of `holder` with this certificate and key.
fn replaced(host: &Host, holder: &Holder, cert: String, key: String) -> Result<Vec<Replaced>> {
    Ok(match holder {
        Holder::Pair(cert_path, key_path) => vec![
            Replaced::new(host, key_path, Content::Text(key), KEY)?,
            Replaced::new(host, cert_path, Content::Text(cert), CERT)?,
        ],
        Holder::Both(path) => vec![Replaced::new(host, path, Content::Text(cert + &key), KEY)?],
        Holder::Kubeconfig(path) => {
            let text = fs::read_text(&host.path(path))?.unwrap_or_default();
            let text = kubeconfig::with_client(&text, &cert, &key);
            vec![Replaced::new(host, path, Content::Text(text), KEY)?]
        }
    })
}

/// The files of `item`; the kubelet's own as it does it itself (client-go `certificate_store.go`): a
/// file for each certificate, and a link to the newest.
fn kubelet(
    world: &World,
    host: &Host,
    item: &Item,
    cert: &str,
    key: &str,
) -> Result<Vec<Replaced>> {
    let Holder::Both(current) = &item.holder else {
        return replaced(host, &item.holder, cert.into(), key.into());
    };
    let now = world.rules.now;
    let stamp = format!(
        "{}-{:02}-{:02}-{:02}-{:02}-{:02}",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second()
    );
    let current_name = current.file_name().unwrap_or_default().to_string_lossy();
    let name = current_name.replace("current", &stamp);
    let file = Path::new(KUBELET_PKI).join(&name);
    Ok(vec![
        Replaced::new(host, &file, Content::Text(format!("{cert}{key}")), KEY)?,
        Replaced::new(host, current, Content::Link(name.into()), KEY)?,
    ])
}

/// root's kubeconfig is a copy of the administrator's.
fn copy_of_admin(host: &Host, item: &Item) -> Result<Vec<Replaced>> {
    let admin = fs::read_text(&host.path(ADMIN_CONF))?.unwrap_or_default();
    match kubeconfig::client(&admin) {
        Ok(Client::Embedded(cert, key)) => {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            replaced(host, &item.holder, text(cert), text(key))
        }
        Ok(_) => Err(damaged(item, item.name, "admin.conf holds no certificate")),
        Err(why) => Err(damaged(item, item.name, &format!("admin.conf: {why}"))),
    }
}
