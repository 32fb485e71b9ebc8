//! Signing certificates. Nothing here touches a disk.

use khost::{Error, Result};
use kspec::cluster::KeyAlgorithm;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth},
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256,
    SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::names::{Name, Names};

/// Subject of the authority (kubespray `make-ssl-etcd.sh`).
pub(crate) const AUTHORITY: &str = "etcd-ca";

/// How long a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Term {
    /// First moment.
    pub(crate) from: OffsetDateTime,
    /// Last moment.
    pub(crate) until: OffsetDateTime,
}

impl Term {
    /// From five minutes before `now`, for clocks that lag, to `days` after it.
    pub(crate) fn new(now: OffsetDateTime, days: u32) -> Result<Self> {
        let until = now.checked_add(Duration::days(days.into())).ok_or_else(|| {
            Error::input(
                "validity-too-long",
                format!("pki.validity-days: {days} is past year 9999"),
            )
            .hint("36500 days are a hundred years")
        })?;
        Ok(Self { from: now - Duration::minutes(5), until })
    }
}

/// The algorithm of `key`; none for a kind these tools do not make.
pub(crate) fn algorithm(key: &KeyPair) -> Option<KeyAlgorithm> {
    if key.is_compatible(&PKCS_RSA_SHA256) {
        Some(KeyAlgorithm::Rsa2048)
    } else if key.is_compatible(&PKCS_ECDSA_P256_SHA256) {
        Some(KeyAlgorithm::EcdsaP256)
    } else {
        None
    }
}

/// The authority's own certificate, as PEM. `key_id` keeps the identifier that certificates
/// signed earlier with this key refer to.
pub(crate) fn authority(key: &KeyPair, key_id: Option<Vec<u8>>, term: Term) -> Result<String> {
    let mut params = params(AUTHORITY, term);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    // A renewal has the same key, from which rcgen would derive the same number.
    let seconds = term.from.unix_timestamp().unsigned_abs();
    params.serial_number = Some(SerialNumber::from(seconds));
    if let Some(key_id) = key_id {
        params.key_identifier_method = KeyIdMethod::PreSpecified(key_id);
    }
    Ok(params.self_signed(key).map_err(failed)?.pem())
}

/// A certificate for `subject`, good as server and as client under `names`, signed by the
/// authority with the certificate `authority` and the key `authority_key`, as PEM.
pub(crate) fn leaf(
    (subject, key): (&str, &KeyPair),
    names: &Names,
    (authority, authority_key): (&str, KeyPair),
    term: Term,
) -> Result<String> {
    let issuer = Issuer::from_ca_cert_pem(authority, authority_key).map_err(failed)?;
    let mut params = params(subject, term);
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ClientAuth, ServerAuth];
    params.subject_alt_names = san_types(names)?;
    Ok(params.signed_by(key, &issuer).map_err(failed)?.pem())
}

/// Whom a certificate of the cluster is for.
#[derive(Debug)]
pub(crate) struct Profile {
    /// Object identifier and value of each attribute of its subject, in order.
    pub(crate) subject: Vec<(Vec<u64>, String)>,
    /// Subject alternative names.
    pub(crate) names: Names,
    /// It is for a server.
    pub(crate) server: bool,
    /// It is for a client.
    pub(crate) client: bool,
}

impl Profile {
    /// A client's, of `organisation`.
    pub(crate) fn client(organisation: &str, name: &str) -> Self {
        // RFC 5280, appendix A.1: id-at-organizationName, id-at-commonName
        let subject = [(vec![2, 5, 4, 10], organisation.into()), (vec![2, 5, 4, 3], name.into())];
        Self { subject: subject.into(), names: Names::new(), server: false, client: true }
    }
}

/// A certificate as kubeadm and the cluster's own signer issue it, for `profile`, signed by the
/// authority with the certificate `authority` and the key `authority_key`, as PEM.
pub(crate) fn for_cluster(
    profile: &Profile,
    key: &KeyPair,
    (authority, authority_key): (&str, KeyPair),
    term: Term,
) -> Result<String> {
    let issuer = Issuer::from_ca_cert_pem(authority, authority_key).map_err(failed)?;
    let mut params = params("", term);
    params.distinguished_name = DistinguishedName::new();
    for (kind, value) in &profile.subject {
        params.distinguished_name.push(DnType::from_oid(kind), value.as_str());
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages.extend(profile.server.then_some(ServerAuth));
    params.extended_key_usages.extend(profile.client.then_some(ClientAuth));
    params.subject_alt_names = san_types(&profile.names)?;
    Ok(params.signed_by(key, &issuer).map_err(failed)?.pem())
}

fn san_types(names: &Names) -> Result<Vec<SanType>> {
    let san = |name: &Name| {
        Ok(match name {
            Name::Dns(name) => SanType::DnsName(name.as_str().try_into().map_err(failed)?),
            Name::Ip(address) => SanType::IpAddress(*address),
        })
    };
    names.iter().map(san).collect()
}

fn params(subject: &str, term: Term) -> CertificateParams {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, subject);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = term.from;
    params.not_after = term.until;
    params.use_authority_key_identifier_extension = true;
    params
}

/// What rcgen cannot do.
pub(crate) fn failed(error: rcgen::Error) -> Error {
    Error::host("certificate-failed", "cannot make a certificate").because(error)
}

#[cfg(test)]
mod tests {
    use kspec::cluster::KeyAlgorithm;
    use time::OffsetDateTime;

    use super::{Term, leaf};
    use crate::{
        keys::key,
        names::{Name, Names},
    };

    #[test]
    fn what_cannot_be_signed_is_refused() {
        let new = || key(KeyAlgorithm::EcdsaP256).unwrap();
        let term = Term::new(OffsetDateTime::now_utc(), 1).unwrap();
        let own = new();
        let authority = super::authority(&own, None, term).unwrap();
        leaf(("x", &new()), &Names::new(), (&authority, new()), term).unwrap();
        let umlaut = Names::from([Name::Dns("k\u{fc}he".into())]);
        for (names, authority) in [(umlaut, authority.as_str()), (Names::new(), "no PEM")] {
            let error = leaf(("x", &new()), &names, (authority, new()), term).unwrap_err();
            assert_eq!(error.code(), "certificate-failed", "{}", error.chain());
            assert!(error.chain().starts_with("cannot make a certificate"), "{}", error.chain());
        }
    }
}
