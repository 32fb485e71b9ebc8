//! `kcp join-command NODE`: what that node needs to join, for `kcp join` there.

use std::{path::PathBuf, time::Duration};

use khost::{
    Error, Result, StepList, Tool, engine, error::Exit, fs, handover::Outlet, named_node,
    steps::file::File,
};
use kspec::{JoinDocument, Role, SCHEMA};
use serde_json::json;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{encryption, inputs::Inputs, kubeadm, kubeadm_config, marker::Marker};

/// What encrypts the authorities' keys while they wait in the cluster for another control plane.
/// It is kept, so that one document is not made worthless by the next.
const KEY_PATH: &str = "/etc/kubernetes/kubeadm-certificate-key";

/// kubeadm's own default, and kubespray's.
const TOKEN_HOURS: i64 = 24;
/// kubeadm's life of what `upload-certs` puts into the cluster (`DefaultCertTokenDuration`).
const CERTIFICATES_HOURS: i64 = 2;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// Which [[node]] it is for
    #[arg(value_name = "NODE")]
    to: String,
    /// Write it to FILE, 0600, instead of to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Make a token, for a control plane also lay the authorities ready, and write out how to join.
///
/// # Errors
/// `export-to-terminal`, `not-a-control-plane`, `join-itself`, and kubeadm's.
pub(crate) fn run(tool: &Tool, request: &Request) -> Result<Exit> {
    tool.needs_root("join-command")?;
    let outlet = Outlet { file: request.output.as_deref(), taken_by: "kcp join -" };
    outlet.refuse_terminal()?;
    let cluster = tool.cluster()?;
    let (node, target) = (tool.node(&cluster)?, named_node(&cluster, &request.to)?);
    if node.name == target.name {
        return Err(Error::input("join-itself", format!("this is node `{}`", node.name))
            .hint("name the node that is to join"));
    }
    if !tool.host.is_live()
        || !node.is(Role::ControlPlane)
        || !Marker::read(&tool.host)?.is_initialised()
    {
        return Err(Error::input("not-a-control-plane", "no control plane runs here")
            .hint("run it on a control plane, after `kcp apply` there"));
    }
    let inputs = Inputs::read(tool)?;
    let certificate_key = target.is(Role::ControlPlane).then(|| laid_ready(tool, &inputs));
    let certificate_key = certificate_key.transpose()?;
    let encryption = match &certificate_key {
        Some(_) => fs::read_text(&tool.host.path(encryption::PATH))?,
        None => None,
    };
    let hours = if certificate_key.is_some() { CERTIFICATES_HOURS } else { TOKEN_HOURS };
    let expires = OffsetDateTime::now_utc() + time::Duration::hours(hours);
    let (token, ca_key_hash) = token(&target.name)?;
    let document = JoinDocument {
        schema: SCHEMA,
        node: target.name.clone(),
        cluster: cluster.kubernetes.cluster_name.clone(),
        version: cluster.kubernetes.version.to_string(),
        endpoint: inputs.endpoint,
        token,
        ca_key_hash,
        certificate_key,
        encryption,
        expires: expires
            .replace_nanosecond(0)
            .unwrap_or(expires)
            .format(&Rfc3339)
            .map_err(encoding)?,
    };
    outlet.give(&tool.report, &document.to_json().map_err(encoding)?)?;
    Ok(Exit::Done)
}

fn encoding(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::host("export-failed", "cannot encode the document").because(error)
}

/// A new token, and the digest of the authority's key. kubeadm makes the one at random and prints
/// both as one command, which is seen here and nowhere else.
fn token(node: &str) -> Result<(String, String)> {
    let ttl = format!("--ttl={TOKEN_HOURS}h0m0s");
    let description = format!("--description=kcp join-command {node}");
    let args = ["token", "create", "--print-join-command", &ttl, &description];
    taken_apart(&kubeadm::ask(&args, Duration::from_secs(60))?)
}

/// Token and digest in `kubeadm join ENDPOINT --token T --discovery-token-ca-cert-hash H`.
///
/// # Errors
/// `token-failed`, which does not repeat what was printed.
fn taken_apart(printed: &str) -> Result<(String, String)> {
    let mut words = printed.split_whitespace();
    let mut after = |flag: &str| {
        words.by_ref().find(|word| *word == flag)?;
        words.next().map(str::to_owned)
    };
    let both = (after("--token"), after("--discovery-token-ca-cert-hash"));
    let (Some(token), Some(hash)) = both else {
        return Err(Error::host("token-failed", "kubeadm printed no token")
            .because("it ended well, but its words are not a command that joins")
            .hint("see that `kubeadm` is the one of artifacts.lock: `knode apply`"));
    };
    Ok((token, hash))
}

/// The authorities with their keys, encrypted, in the cluster; the key to them is returned.
///
/// Without this node's own certificate for etcd, which kubeadm would have all control planes
/// share: each has one by kpki.
fn laid_ready(tool: &Tool, inputs: &Inputs) -> Result<String> {
    let path = tool.host.path(KEY_PATH);
    let kept = fs::read_text(&path)?.map(|text| text.trim().to_owned());
    let key = match kept.filter(|key| is_key(key)) {
        Some(key) => key,
        None => new_key(tool)?,
    };
    let init = json!({
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "certificateKey": key,
        "nodeRegistration": { "criSocket": inputs.runtime.cri_socket },
    });
    let mut cluster = kubeadm_config::cluster(inputs);
    cluster["etcd"]["external"] = json!({ "endpoints": inputs.etcd.endpoints });
    let documents: Result<Vec<_>, _> = [init, cluster].iter().map(kspec::to_yaml).collect();
    let config = documents.map_err(encoding)?.join("---\n");
    let args = ["init", "phase", "upload-certs", "--upload-certs", "--skip-certificate-key-print"];
    kubeadm::run_with(&tool.context(), &args, &config, 60)?;
    Ok(key)
}

fn new_key(tool: &Tool) -> Result<String> {
    let key = whole_key(&kubeadm::ask(&["certs", "certificate-key"], Duration::from_secs(30))?)?;
    let mut steps = StepList::new();
    steps.add(File::new(KEY_PATH).mode(0o600).secret(format!("{key}\n")));
    engine::apply("kcp", &steps, &tool.context())?;
    Ok(key)
}

/// The key that kubeadm printed.
///
/// # Errors
/// `certificate-key-failed`, which does not repeat what was printed.
fn whole_key(printed: &str) -> Result<String> {
    let key = printed.trim();
    if !is_key(key) {
        return Err(Error::host("certificate-key-failed", "kubeadm printed no key")
            .because("64 hexadecimal digits are one")
            .hint("see that `kubeadm` is the one of artifacts.lock: `knode apply`"));
    }
    Ok(key.to_owned())
}

/// 32 bytes as hexadecimal digits (kubeadm's `CertificateKeySize`).
fn is_key(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::{taken_apart, whole_key};

    #[test]
    fn kubeadms_command_is_taken_apart() {
        let printed = "kubeadm join 192.0.2.11:6443 --token abcdef.0123456789abcdef \
                       --discovery-token-ca-cert-hash sha256:00ff \n";
        let pair = ("abcdef.0123456789abcdef".to_owned(), "sha256:00ff".to_owned());
        assert_eq!(taken_apart(printed).unwrap(), pair);
        for other in ["kubeadm join 192.0.2.11:6443\n", "--token abcdef.0123456789abcdef", ""] {
            let error = taken_apart(other).unwrap_err();
            assert_eq!(error.code(), "token-failed");
            assert!(!error.chain().contains("abcdef"), "{}", error.chain());
        }
    }

    #[test]
    fn a_key_is_whole_or_none() {
        let key = "0f".repeat(32);
        assert_eq!(whole_key(&format!("{key}\n")).unwrap(), key);
        for other in ["0f".repeat(31), "zz".repeat(32), String::new()] {
            let error = whole_key(&other).unwrap_err();
            assert_eq!(error.code(), "certificate-key-failed");
            assert!(other.is_empty() || !error.chain().contains(&other));
        }
    }
}
