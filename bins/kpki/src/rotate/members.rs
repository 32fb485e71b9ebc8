//! Whether the members of etcd have followed a rotation so far: one that has not would be cut off
//! by the next stage.

use khost::{
    Error, Host, Result, fs,
    http::{self, Trust},
};
use kspec::{Cluster, Node, Role};
use rcgen::KeyPair;

use super::bundle::{NEXT, NEXT_KEY, path, trusted};
use crate::{authority::Rules, issue, keys, names::Names};

/// Every member takes what the new authority issues.
///
/// # Errors
/// `rotation-not-everywhere`, with the first that does not, and why.
pub(super) fn trust_the_new(host: &Host, cluster: &Cluster, rules: Rules) -> Result<()> {
    let text = |name| Ok::<_, Error>(fs::read_text(&host.path(path(name)))?.unwrap_or_default());
    let (next, next_key) = (text(NEXT)?, text(NEXT_KEY)?);
    let Ok(next_key) = KeyPair::from_pem(&next_key) else { return Ok(()) }; // the step will say so
    let key = keys::key(rules.algorithm)?;
    let probe = issue::leaf(
        ("etcd-rotation-probe", &key),
        &Names::new(),
        (&next, next_key),
        rules.term()?,
    )?;
    let trust = Trust {
        ca: fs::read(&host.path(path("ca.pem")))?,
        identity: Some((probe + &key.serialize_pem()).into_bytes()),
    };
    for member in cluster.with_role(Role::Etcd) {
        http::get(&http::client(&trust)?, &url(member))
            .map_err(|why| behind(member, "does not trust the new authority", why))?;
    }
    Ok(())
}

/// Every member serves what the new authority issued.
///
/// # Errors
/// Likewise.
pub(super) fn serve_the_new(host: &Host, cluster: &Cluster) -> Result<()> {
    let Some(issuer) = trusted(host)?.into_iter().next() else { return Ok(()) };
    // Whoever is not trusted any more may not be asked for a certificate of ours.
    let trust = Trust { ca: Some(issuer.pem.into_bytes()), identity: None };
    for member in cluster.with_role(Role::Etcd) {
        let what = "does not serve a certificate of the new authority";
        match http::get(&http::client(&trust)?, &url(member)) {
            Err(why) if why.contains("invalid peer certificate") => {
                return Err(behind(member, what, why));
            }
            _ => {} // it asks for our certificate, which is another matter
        }
    }
    Ok(())
}

fn url(member: &Node) -> String {
    format!("https://{}/health", std::net::SocketAddr::new(member.access(), 2379))
}

fn behind(member: &Node, what: &str, why: String) -> Error {
    let name = &member.name;
    Error::host("rotation-not-everywhere", format!("etcd on node `{name}` {what}"))
        .because(why)
        .hint(format!(
            "run `kpki export {name}` here, there `kpki import` with what it says, then \
             `kpki apply` and `ketcd apply`; then `kpki rotate-ca` here again"
        ))
}

#[cfg(test)]
mod tests {
    use khost::{
        Context, Host, Step as _,
        report::{Loudness, Report},
    };
    use kspec::{Cluster, cluster::KeyAlgorithm};
    use time::OffsetDateTime;

    use super::trust_the_new;
    use crate::{
        authority::{Authority, Rules},
        rotate::bundle::Next,
    };

    #[test]
    fn a_member_that_does_not_answer_stops_it() {
        let root = tempfile::tempdir().unwrap();
        let (host, report) = (Host::new(root.path()), Report::new("test", false, Loudness::Quiet));
        let context = Context::new(&host, &report, None);
        // Nobody listens there.
        let mut cluster = Cluster::example("n1", "127.0.0.99".parse().unwrap());
        cluster.pki.key_algorithm = KeyAlgorithm::EcdsaP256;
        let rules = Rules::new(&cluster, OffsetDateTime::now_utc()).unwrap();
        trust_the_new(&host, &cluster, rules).unwrap(); // no rotation, nobody to ask
        Authority::new(&cluster, &cluster.nodes[0], rules).apply(&context).unwrap();
        Next::new(rules, true).apply(&context).unwrap();
        let error = trust_the_new(&host, &cluster, rules).unwrap_err();
        assert_eq!(error.code(), "rotation-not-everywhere");
        let said = error.chain();
        assert!(said.starts_with("etcd on node `n1` does not trust the new authority"), "{said}");
        assert!(said.contains("refused"), "{said}");
        assert!(
            error.next().unwrap_or_default().starts_with("run `kpki export n1` here"),
            "{said}"
        );
    }
}
