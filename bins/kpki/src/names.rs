//! The names and addresses that etcd's certificates are good for.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use khost::{Error, Result};
use kspec::{Cluster, Role};

/// One subject alternative name (RFC 5280, 4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A DNS name.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

/// A set: the order of names in a certificate means nothing.
pub(crate) type Names = BTreeSet<Name>;

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "DNS:{name}"),
            Self::Ip(address) => write!(f, "IP:{address}"),
        }
    }
}

/// `names` on one line.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    names.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What every etcd certificate of `cluster` names: all members, so that any of them may be asked
/// under any of its names (kubespray `roles/etcd/templates/openssl.conf.j2`).
///
/// # Errors
/// `san-invalid` when one of `[pki] extra-sans` is neither an address nor a DNS name.
pub(crate) fn of(cluster: &Cluster) -> Result<Names> {
    let domain = &cluster.kubernetes.dns_domain;
    let fixed = [
        "localhost".to_owned(),
        "lb-apiserver.kubernetes.local".into(),
        format!("etcd.kube-system.svc.{domain}"),
        "etcd.kube-system.svc".into(),
        "etcd.kube-system".into(),
        "etcd".into(),
    ];
    let mut names: Names = fixed.into_iter().map(Name::Dns).collect();
    names
        .extend([IpAddr::from([127, 0, 0, 1]), std::net::Ipv6Addr::LOCALHOST.into()].map(Name::Ip));
    for member in cluster.with_role(Role::Etcd) {
        names.insert(Name::Dns(member.name.clone()));
        names.extend([member.access(), member.address].map(Name::Ip));
    }
    for extra in &cluster.pki.extra_sans {
        names.insert(parse(extra)?);
    }
    Ok(names)
}

fn parse(text: &str) -> Result<Name> {
    if let Ok(address) = text.parse() {
        return Ok(Name::Ip(address));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let name = text.strip_prefix("*.").unwrap_or(text);
    if text.len() <= 253 && name.split('.').all(label) {
        return Ok(Name::Dns(text.into()));
    }
    Err(Error::input("san-invalid", format!("pki.extra-sans: `{text}` is no name and no address"))
        .hint("write DNS names such as `etcd.example.com` and addresses such as `192.0.2.1`"))
}

#[cfg(test)]
mod tests {
    use kspec::Cluster;

    #[test]
    fn all_members_in_every_certificate() {
        let mut cluster = Cluster::example("n1.example.com", "192.0.2.11".parse().unwrap());
        cluster.pki.extra_sans = vec!["etcd.example.com".into(), "2001:db8::1".into()];
        insta::assert_snapshot!(super::list(&super::of(&cluster).unwrap()), @"DNS:etcd, DNS:etcd.example.com, DNS:etcd.kube-system, DNS:etcd.kube-system.svc, DNS:etcd.kube-system.svc.cluster.local, DNS:lb-apiserver.kubernetes.local, DNS:localhost, DNS:n1.example.com, IP:127.0.0.1, IP:192.0.2.11, IP:::1, IP:2001:db8::1");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", "a b", "a..b", "ü", "*", "*.*.a", "https://a"] {
            let error = super::parse(bad).unwrap_err();
            assert_eq!(error.code(), "san-invalid", "{bad}");
        }
        for good in ["a", "A.b_c.d-e", "*.example.com", "::1", "10.0.0.1"] {
            super::parse(good).unwrap();
        }
    }
}
