//! Networks in CIDR notation (RFC 4632) that are networks: no host bit is set.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A network such as `10.233.0.0/18`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr(IpNet);

/// Why a text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotANetwork {
    /// Not an address, a slash and a prefix length.
    #[error("`{0}` is not a network such as `10.233.0.0/18`")]
    Syntax(String),
    /// An address within the network was given instead of the network.
    #[error("`{given}` has host bits set; the network is `{network}`")]
    HostBits {
        /// What was written.
        given: String,
        /// What was probably meant.
        network: String,
    },
}

impl Cidr {
    /// The `offset`-th address of the network, counting its first address as 0.
    ///
    /// None when the network is too small for it.
    pub fn address(&self, offset: u32) -> Option<IpAddr> {
        let address = match self.0.network() {
            IpAddr::V4(first) => IpAddr::V4(u32::from(first).checked_add(offset)?.into()),
            IpAddr::V6(first) => IpAddr::V6(u128::from(first).checked_add(offset.into())?.into()),
        };
        self.contains(address).then_some(address)
    }

    /// Whether `address` lies in this network.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Whether any address lies in both networks, whichever of them contains the other.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.contains(&other.0.network()) || other.0.contains(&self.0.network())
    }

    /// Whether this is an IPv4 network.
    pub fn is_v4(&self) -> bool {
        matches!(self.0, IpNet::V4(_))
    }

    /// The prefix length, in bits.
    pub fn prefix(&self) -> u8 {
        self.0.prefix_len()
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Cidr {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let net: IpNet = text.parse().map_err(|_| NotANetwork::Syntax(text.into()))?;
        if net.trunc() == net {
            return Ok(Self(net));
        }
        Err(NotANetwork::HostBits { given: text.into(), network: net.trunc().to_string() })
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for Cidr {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cidr".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$" })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::{Cidr, NotANetwork};

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[test]
    fn host_bits_are_refused_with_the_network_meant() {
        let error = "10.233.1.0/18".parse::<Cidr>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.233.1.0/18` has host bits set; the network is `10.233.0.0/18`"
        );
    }

    #[test]
    fn overlap_is_symmetric_and_sees_containment() {
        let (inner, outer) = (cidr("10.233.0.0/18"), cidr("10.233.0.0/16"));
        assert!(inner.overlaps(&outer) && outer.overlaps(&inner));
        assert!(!inner.overlaps(&cidr("10.233.64.0/18")));
    }

    #[test]
    fn addresses_count_from_the_network() {
        assert_eq!(cidr("10.233.0.0/18").address(3).unwrap().to_string(), "10.233.0.3");
        assert_eq!(cidr("10.0.0.0/31").address(3), None);
        assert_eq!(cidr("255.255.255.255/32").address(1), None);
        assert_eq!(cidr("fd85::1000/116").address(1).unwrap().to_string(), "fd85::1001");
    }

    proptest! {
        #[test]
        fn any_text_is_a_network_or_says_which_was_meant(
            text in prop_oneof![
                "\\PC*|[0-9a-f.:]{0,12}/[0-9]{0,3}",
                "[0-9]{1,2}(\\.[0-9]{1,2}){3}/[0-9]{1,2}",
                "[0-9a-f]{1,4}::[0-9a-f]{1,4}/[0-9]{1,3}",
            ],
        ) {
            match text.parse::<Cidr>() {
                Ok(cidr) => prop_assert_eq!(cidr.to_string().parse(), Ok(cidr)),
                Err(NotANetwork::HostBits { network, .. }) => {
                    prop_assert!(network.parse::<Cidr>().is_ok(), "{network}");
                }
                Err(NotANetwork::Syntax(given)) => prop_assert_eq!(given, text),
            }
        }

        #[test]
        fn addresses_count_up_within_the_network_and_no_further(
            address in any::<IpAddr>(), prefix in 0_u8..=128, offset in prop_oneof![0_u32..300, any::<u32>()],
        ) {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let cidr = Cidr(ipnet::IpNet::new(address, prefix.min(bits)).unwrap().trunc());
            prop_assert!(cidr.contains(address));
            let own = u32::from(bits - cidr.prefix());
            let fits = own >= 32 || u64::from(offset) < 1 << own;
            match cidr.address(offset) {
                Some(found) => {
                    prop_assert!(fits && cidr.contains(found));
                    let next = offset.checked_add(1).and_then(|next| cidr.address(next));
                    prop_assert!(next.is_none_or(|next| next > found));
                }
                None => prop_assert!(!fits),
            }
        }

        #[test]
        fn networks_overlap_when_one_holds_the_other(
            a in 0_u32..16, b in 0_u32..16, long in 28_u8..=32, short in 28_u8..=32,
        ) {
            let net = |address: u32, prefix| {
                Cidr(ipnet::Ipv4Net::new(address.into(), prefix).unwrap().trunc().into())
            };
            let (a, b) = (net(a, long), net(b, short));
            let shared = (0..16).any(|at: u32| {
                let address = IpAddr::V4(at.into());
                a.contains(address) && b.contains(address)
            });
            prop_assert_eq!((a.overlaps(&b), b.overlaps(&a)), (shared, shared));
        }
    }
}
