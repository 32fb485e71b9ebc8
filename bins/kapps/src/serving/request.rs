//! One request for a certificate, and whether it may be granted.

use std::net::IpAddr;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kspec::{Cluster, Node};
use serde_json::Value;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::parse_x509_pem,
    prelude::FromDer as _,
};

/// Who is asked (Kubernetes, "Certificate Signing Requests", "Kubernetes signers").
pub(super) const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// What that signer lets a certificate be used for.
const USAGES: [&str; 3] = ["digital signature", "key encipherment", "server auth"];

/// A `CertificateSigningRequest`.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) name: String,
    spec: Value,
}

/// Those of `requests` that nobody has answered.
pub(super) fn pending(requests: &[Value]) -> Vec<Request> {
    requests
        .iter()
        .filter(|item| item["spec"]["signerName"] == SIGNER)
        .filter(|item| item["status"]["conditions"].as_array().is_none_or(Vec::is_empty))
        .map(|item| Request {
            name: item["metadata"]["name"].as_str().unwrap_or_default().into(),
            spec: item["spec"].clone(),
        })
        .collect()
}

impl Request {
    /// The node it is for, when `cluster` has that node and nothing more is asked for than it may
    /// have: its name and its addresses as `cluster.toml` has them. What a node says of itself in
    /// its status does not count.
    ///
    /// # Errors
    /// Why not, in words.
    pub(super) fn allowed(&self, cluster: &Cluster) -> Result<String, String> {
        let user = self.spec["username"].as_str().unwrap_or_default();
        let node = user.strip_prefix("system:node:").and_then(|name| cluster.node(name));
        let node = node.ok_or(format!("`{user}` is no node of cluster.toml"))?;
        if !texts(&self.spec["groups"]).any(|group| group == "system:nodes") {
            return Err(format!("`{user}` is not of the group system:nodes"));
        }
        if let Some(usage) = texts(&self.spec["usages"]).find(|usage| !USAGES.contains(usage)) {
            return Err(format!("`{usage}` is no use of a kubelet's serving certificate"));
        }
        let der = self.der().ok_or("it holds no PKCS #10 request")?;
        let (_, request) = X509CertificationRequest::from_der(&der)
            .map_err(|error| format!("its PKCS #10 request cannot be read: {error}"))?;
        let subject = request.certification_request_info.subject.to_string();
        if subject != format!("O=system:nodes, CN={user}") {
            return Err(format!("its subject is `{subject}`, not that of `{user}`"));
        }
        let mut named = 0;
        for extension in request.requested_extensions().into_iter().flatten() {
            let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
            for name in &names.general_names {
                of_node(name, node)?;
                named += 1;
            }
        }
        if named == 0 { Err("it names no address".into()) } else { Ok(node.name.clone()) }
    }

    /// The request itself: PEM, in base64.
    fn der(&self) -> Option<Vec<u8>> {
        let pem = STANDARD.decode(self.spec["request"].as_str()?).ok()?;
        Some(parse_x509_pem(&pem).ok()?.1.contents)
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Whether a name is one of the node's.
fn of_node(name: &GeneralName<'_>, node: &Node) -> Result<(), String> {
    match name {
        GeneralName::DNSName(dns) if *dns == node.name || *dns == node.short_name() => Ok(()),
        GeneralName::IPAddress(bytes) => {
            let address = match bytes.len() {
                4 => <[u8; 4]>::try_from(*bytes).map(IpAddr::from).ok(),
                16 => <[u8; 16]>::try_from(*bytes).map(IpAddr::from).ok(),
                _ => None,
            };
            match address {
                Some(address) if address == node.address || address == node.access() => Ok(()),
                Some(address) => Err(format!("{address} is no address of node `{}`", node.name)),
                None => Err("one of its addresses cannot be read".into()),
            }
        }
        other => Err(format!("`{other}` is no name of node `{}`", node.name)),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use kspec::Cluster;
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};
    use serde_json::{Value, json};

    use super::{SIGNER, pending};

    /// As kubelet asks, but for `change`.
    fn request(user: &str, names: &[&str], change: impl FnOnce(&mut Value)) -> Value {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name = DistinguishedName::new();
        let text = |text: &str| DnValue::Utf8String(text.into());
        params.distinguished_name.push(DnType::OrganizationName, text("system:nodes"));
        params.distinguished_name.push(DnType::CommonName, text(user));
        let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
        let mut object = json!({
            "metadata": { "name": "csr-1" },
            "spec": {
                "signerName": SIGNER, "username": user, "request": STANDARD.encode(pem),
                "groups": ["system:nodes", "system:authenticated"],
                "usages": ["digital signature", "server auth"],
            },
            "status": {},
        });
        change(&mut object);
        object
    }

    /// What is said to it in a cluster of `node1` at 192.0.2.11.
    fn answer(object: &Value) -> Result<String, String> {
        let cluster = Cluster::example("node1", [192, 0, 2, 11].into());
        let pending = pending(std::slice::from_ref(object));
        pending.first().expect("it is pending").allowed(&cluster)
    }

    const NODE: &str = "system:node:node1";

    #[test]
    fn a_node_gets_its_own_name_and_address() {
        let asked = request(NODE, &["node1", "192.0.2.11"], |_| {});
        assert_eq!(answer(&asked), Ok("node1".into()));
    }

    #[track_caller]
    fn refused(object: &Value, why: &str) {
        let said = answer(object).unwrap_err();
        assert!(said.contains(why), "{said}");
    }

    #[test]
    fn nobody_gets_more_than_that() {
        refused(&request("system:node:node2", &["node2"], |_| {}), "no node of cluster.toml");
        refused(&request("alice", &["node1"], |_| {}), "`alice` is no node");
        refused(&request(NODE, &["node1", "192.0.2.1"], |_| {}), "192.0.2.1 is no address");
        refused(&request(NODE, &["kubernetes.default"], |_| {}), "no name of node `node1`");
        refused(&request(NODE, &[], |_| {}), "it names no address");
        let other_subject = request("system:node:node2", &["node1"], |at| {
            at["spec"]["username"] = NODE.into();
        });
        refused(&other_subject, "its subject is");
        let client = request(NODE, &["node1"], |at| {
            at["spec"]["usages"] = json!(["client auth"]);
        });
        refused(&client, "`client auth` is no use");
        let group = request(NODE, &["node1"], |at| at["spec"]["groups"] = json!([]));
        refused(&group, "system:nodes");
        refused(&request(NODE, &["node1"], |at| at["spec"]["request"] = "x".into()), "PKCS #10");
    }

    #[test]
    fn what_is_answered_or_for_another_signer_is_not_pending() {
        for change in [
            (|at| at["status"]["conditions"] = json!([{ "type": "Denied" }])) as fn(&mut Value),
            |at| at["spec"]["signerName"] = "kubernetes.io/kube-apiserver-client-kubelet".into(),
        ] {
            let object = request(NODE, &["node1"], change);
            assert!(pending(&[object]).is_empty());
        }
    }

    /// Nobody gets a certificate for another machine, whatever the bytes of the request.
    #[test]
    fn fuzz_request() {
        let seed = request(NODE, &["node1", "192.0.2.11"], |_| {});
        let der = super::Request { name: String::new(), spec: seed["spec"].clone() }.der().unwrap();
        fuzz::target([der], move |der| {
            let mut asked = seed.clone();
            let text = STANDARD.encode(der);
            let pem = format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{text}\n-----END CERTIFICATE REQUEST-----\n"
            );
            asked["spec"]["request"] = STANDARD.encode(pem).into();
            let _ = answer(&asked);
        });
    }
}
