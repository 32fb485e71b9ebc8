//! Reading certificates: what one says, and whether its issuer signed it.

use std::net::IpAddr;

use kspec::Sha256;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use x509_parser::{
    extensions::{GeneralName, ParsedExtension},
    pem::{Pem, parse_x509_pem},
    prelude::{FromDer as _, X509Certificate},
    x509::SubjectPublicKeyInfo,
};

use crate::{
    issue::{Profile, Term},
    names::{Name, Names},
};

/// A certificate, read.
#[derive(Debug)]
pub(crate) struct Seen {
    der: Vec<u8>,
    /// The text of the file.
    pub(crate) pem: String,
    /// Digest of the file.
    pub(crate) sha256: Sha256,
    /// Subject, as RFC 4514 text.
    pub(crate) subject: String,
    /// Issuer, as RFC 4514 text.
    pub(crate) issuer: String,
    /// Subject alternative names. Kinds that etcd does not look at are left out.
    pub(crate) names: Names,
    /// Extended key usage has both serverAuth and clientAuth.
    pub(crate) server_and_client: bool,
    /// It may sign others.
    pub(crate) is_authority: bool,
    /// Validity.
    pub(crate) term: Term,
    /// Subject key identifier.
    pub(crate) key_id: Option<Vec<u8>>,
    /// Key identifier of the issuer.
    pub(crate) issuer_key_id: Option<Vec<u8>>,
    /// The bits of the public key.
    pub(crate) public_key: Vec<u8>,
    /// The public key with its algorithm: DER of a `SubjectPublicKeyInfo`.
    pub(crate) key_info: Vec<u8>,
}

impl Seen {
    /// Read the first certificate in the bytes of a PEM file.
    ///
    /// # Errors
    /// Why it is no certificate, in words.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let (_, pem) = parse_x509_pem(bytes).map_err(|_| "it is not PEM".to_owned())?;
        Self::of(&pem, bytes)
    }

    fn of(pem: &Pem, bytes: &[u8]) -> Result<Self, String> {
        let (_, found) = X509Certificate::from_der(&pem.contents)
            .map_err(|_| "it holds no X.509 certificate".to_owned())?;
        let usage = found.extended_key_usage().ok().flatten();
        let mut seen = Self {
            der: pem.contents.clone(),
            pem: String::from_utf8_lossy(bytes).into_owned(),
            sha256: Sha256::of(bytes),
            subject: found.subject().to_string(),
            issuer: found.issuer().to_string(),
            names: Names::new(),
            server_and_client: usage.is_some_and(|u| u.value.server_auth && u.value.client_auth),
            is_authority: found.is_ca(),
            term: Term {
                from: found.validity().not_before.to_datetime(),
                until: found.validity().not_after.to_datetime(),
            },
            key_id: None,
            issuer_key_id: None,
            public_key: found.public_key().subject_public_key.data.to_vec(),
            key_info: found.public_key().raw.to_vec(),
        };
        for extension in found.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => seen.key_id = Some(id.0.to_vec()),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    seen.issuer_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
                }
                ParsedExtension::SubjectAlternativeName(all) => {
                    seen.names = all.general_names.iter().filter_map(name).collect();
                }
                _ => {}
            }
        }
        Ok(seen)
    }

    /// Read every certificate in the bytes of a PEM file, of which there is at least one.
    ///
    /// # Errors
    /// Why it is no list of certificates, in words.
    pub(crate) fn parse_all(bytes: &[u8]) -> Result<Vec<Self>, String> {
        let mut all = Vec::new();
        for pem in Pem::iter_from_buffer(bytes) {
            let pem = pem.map_err(|_| "it is not PEM".to_owned())?;
            all.push(Self::of(&pem, bytes)?);
        }
        if all.is_empty() { Err("it is not PEM".into()) } else { Ok(all) }
    }

    /// Whether it is the certificate with this DER.
    pub(crate) fn is(&self, der: &[u8]) -> bool {
        self.der == der
    }

    /// What it says of whom it is for, to say it again; none when that cannot be read.
    pub(crate) fn profile(&self) -> Option<Profile> {
        let (_, found) = X509Certificate::from_der(&self.der).ok()?;
        let mut subject = Vec::new();
        for attribute in found.subject().iter_attributes() {
            let kind = attribute.attr_type().iter()?.collect();
            subject.push((kind, attribute.as_str().ok()?.to_owned()));
        }
        let usage = found.extended_key_usage().ok()?;
        Some(Profile {
            subject,
            names: self.names.clone(),
            server: usage.as_ref().is_some_and(|usage| usage.value.server_auth),
            client: usage.as_ref().is_some_and(|usage| usage.value.client_auth),
        })
    }

    /// Whether the key behind `key_info` (DER of a `SubjectPublicKeyInfo`) signed it.
    pub(crate) fn signed_by(&self, key_info: &[u8]) -> bool {
        let Ok((_, key)) = SubjectPublicKeyInfo::from_der(key_info) else { return false };
        let Ok((_, own)) = X509Certificate::from_der(&self.der) else { return false };
        own.verify_signature(Some(&key)).is_ok()
    }

    /// Why it is, or within `days` of `now` will be, out of its term; none when it is within.
    pub(crate) fn out_of_term(&self, now: OffsetDateTime, days: u32) -> Option<String> {
        let left = self.days_left(now);
        if self.term.from > now {
            Some(format!("it is not valid before {}", rfc3339(self.term.from)))
        } else if self.term.until < now {
            Some(format!("it ended on {}", rfc3339(self.term.until)))
        } else if left < i64::from(days) {
            Some(format!("it ends on {}, in {left} days", rfc3339(self.term.until)))
        } else {
            None
        }
    }

    /// Whole days until it ends.
    pub(crate) fn days_left(&self, now: OffsetDateTime) -> i64 {
        (self.term.until - now).whole_days()
    }
}

/// `time` as RFC 3339 in UTC.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string()) // fails only past year 9999
}

fn name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(name) => Some(Name::Dns((*name).to_owned())),
        GeneralName::IPAddress(octets) => {
            let v4 = <[u8; 4]>::try_from(*octets).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*octets).map(IpAddr::from)).ok().map(Name::Ip)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use kspec::cluster::KeyAlgorithm;
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::Seen;
    use crate::{
        issue::{Term, authority},
        keys::key,
    };

    static PEM: LazyLock<String> = LazyLock::new(|| {
        let term = Term::new(OffsetDateTime::UNIX_EPOCH, 1).unwrap();
        authority(&key(KeyAlgorithm::EcdsaP256).unwrap(), None, term).unwrap()
    });

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// A file that was torn, mixed up or made by somebody who means harm.
        #[test]
        fn any_bytes_are_read_or_refused_in_words(
            at in any::<prop::sample::Index>(),
            letter in "[A-Za-z0-9+/=\\n -]",
            bytes in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let mut mixed = PEM.clone().into_bytes();
            let at = at.index(mixed.len());
            mixed[at] = letter.as_bytes()[0];
            let torn = &PEM.as_bytes()[..at];
            let joined = [PEM.as_bytes(), &bytes, torn].concat();
            for bytes in [mixed.as_slice(), torn, &joined, &bytes] {
                let Ok(all) = Seen::parse_all(bytes) else { continue };
                for seen in all {
                    seen.profile();
                    seen.signed_by(&seen.key_info);
                    seen.out_of_term(OffsetDateTime::UNIX_EPOCH, u32::MAX);
                }
            }
            let whole = Seen::parse(PEM.as_bytes()).unwrap();
            let first = Seen::parse(&joined).unwrap();
            prop_assert!(first.is(&whole.der) && first.signed_by(&whole.key_info));
            let why = Seen::parse(&bytes).unwrap_err();
            prop_assert!(why.starts_with("it "), "{}", why);
        }
    }

    fn look(bytes: &[u8]) {
        for seen in Seen::parse_all(bytes).unwrap_or_default() {
            seen.profile();
            seen.signed_by(&seen.key_info);
            seen.out_of_term(OffsetDateTime::UNIX_EPOCH, u32::MAX);
            seen.days_left(OffsetDateTime::UNIX_EPOCH);
        }
    }

    #[test]
    fn fuzz_pem() {
        fuzz::target([PEM.as_bytes()], look);
    }

    #[test]
    fn fuzz_certificate() {
        fuzz::target([Seen::parse(PEM.as_bytes()).unwrap().der], |der| {
            let text = BASE64_STANDARD.encode(der);
            look(
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
                    .as_bytes(),
            );
        });
    }
}
