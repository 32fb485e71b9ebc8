//! Asking one DNS server for the address of one name, as any program on the machine would
//! (RFC 1035), and waiting until a cluster's does answer.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, Question, RCODE, TYPE, rdata::RData};

use crate::{
    steps::wait::Wait,
    wait::{Awaited, Seen},
};

/// How many aliases are followed: a chain is not to be a way to keep anyone busy.
const MOST_ALIASES: usize = 8;

/// `server` knows the address of the API server's Service in the cluster `domain`.
pub fn answered(server: IpAddr, domain: &str) -> Wait {
    let name = service(domain);
    let awaited = Awaited {
        id: "coredns-answers".into(),
        what: format!("an answer from {server} for {name}"),
        limit: Duration::from_secs(60),
        look: "kubectl -n kube-system logs -l k8s-app=kube-dns".into(),
    };
    Wait::new(awaited, move |_| {
        Ok(match addresses(SocketAddr::new(server, 53), &name) {
            Ok(_) => Seen::Ready,
            Err(reason) => Seen::NotYet(reason),
        })
    })
}

/// A name that every cluster has.
pub fn service(domain: &str) -> String {
    format!("kubernetes.default.svc.{domain}")
}

/// The IPv4 addresses of `name` as `server` knows them, or if there are none, the IPv6 ones; never
/// an empty list. At most one second for each kind.
///
/// # Errors
/// What came instead of an address, for people.
pub fn addresses(server: SocketAddr, name: &str) -> Result<Vec<IpAddr>, String> {
    match asked(server, name, TYPE::A)? {
        found if found.is_empty() => match asked(server, name, TYPE::AAAA)? {
            found if found.is_empty() => Err("it answers without an address".into()),
            found => Ok(found),
        },
        found => Ok(found),
    }
}

/// Whether `server` can ask the rest of the world: it knows who serves the root of all names.
///
/// # Errors
/// What came instead, for people.
pub fn reaches_the_root(server: SocketAddr) -> Result<(), String> {
    asked(server, "", TYPE::NS).map(drop)
}

/// One question, and the addresses in the answer to it.
fn asked(server: SocketAddr, name: &str, kind: TYPE) -> Result<Vec<IpAddr>, String> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let question = question(name, kind).map_err(|error| format!("`{name}` is no name: {error}"))?;
    let mut answer = [0; 512];
    let length = (|| {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(server)?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        socket.send(&question)?;
        socket.recv(&mut answer)
    })()
    .map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => "no answer within 1 s".to_owned(),
        _ => error.to_string(),
    })?;
    judge(&question[..2], name, kind, &answer[..length])
}

/// A recursive question.
fn question(name: &str, kind: TYPE) -> simple_dns::Result<Vec<u8>> {
    let mut packet = Packet::new_query((std::process::id() & 0xffff) as u16);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    let question = Question::new(Name::new(name)?, QTYPE::TYPE(kind), CLASS::IN.into(), false);
    packet.questions.push(question);
    packet.build_bytes_vec()
}

/// The addresses of `name` in `answer`, if it is one to the question with this `id`.
fn judge(id: &[u8], name: &str, kind: TYPE, answer: &[u8]) -> Result<Vec<IpAddr>, String> {
    let other = || Err("it answers something else".to_owned());
    let Ok(packet) = Packet::parse(answer) else {
        return Err("it answers with what is no DNS packet".into());
    };
    if packet.id().to_be_bytes() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return other();
    }
    let asked = |question: &Question<'_>| {
        same(&question.qname, name) && question.qtype == QTYPE::TYPE(kind)
    };
    match packet.rcode() {
        RCODE::NoError if packet.questions.first().is_some_and(asked) => {}
        RCODE::NoError => return other(),
        RCODE::ServerFailure => return Err("it answers SERVFAIL".into()),
        RCODE::NameError => {
            return Err("it answers NXDOMAIN: it does not know the name, or not yet".into());
        }
        code => return Err(format!("it answers with code {code:?}")),
    }
    Ok(found(&packet, name, kind))
}

/// The addresses that the records of `packet` give `name`, by itself or by its aliases.
fn found(packet: &Packet<'_>, name: &str, kind: TYPE) -> Vec<IpAddr> {
    let mut name = name.to_owned();
    for _ in 0..=MOST_ALIASES {
        let of = packet.answers.iter().filter(|record| same(&record.name, &name));
        let addresses: Vec<_> =
            of.clone().filter_map(|record| address(&record.rdata, kind)).collect();
        let mut alias = of.filter_map(|record| match &record.rdata {
            RData::CNAME(alias) => Some(alias.0.to_string()),
            _ => None,
        });
        match (addresses.is_empty(), alias.next()) {
            (true, Some(alias)) => name = alias,
            _ => return addresses,
        }
    }
    Vec::new()
}

fn address(data: &RData<'_>, kind: TYPE) -> Option<IpAddr> {
    match data {
        RData::A(record) if kind == TYPE::A => Some(Ipv4Addr::from(record.address).into()),
        RData::AAAA(record) if kind == TYPE::AAAA => Some(Ipv6Addr::from(record.address).into()),
        _ => None,
    }
}

/// Names are the same whatever the case of their letters (RFC 4343).
fn same(found: &Name<'_>, wanted: &str) -> bool {
    found.to_string().eq_ignore_ascii_case(wanted)
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
        thread,
    };

    use proptest::prelude::*;
    use simple_dns::{
        CLASS, Name, Packet, RCODE, ResourceRecord, TYPE,
        rdata::{A, AAAA, CNAME, RData},
    };

    use super::{addresses, judge, question};

    /// A record of `name`.
    fn record<'a>(name: &'a str, data: RData<'a>) -> ResourceRecord<'a> {
        ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 5, data)
    }

    fn alias<'a>(name: &'a str, target: &'a str) -> ResourceRecord<'a> {
        record(name, RData::CNAME(CNAME(Name::new_unchecked(target))))
    }

    fn a(name: &str, last: u8) -> ResourceRecord<'_> {
        record(name, RData::A(A { address: Ipv4Addr::new(192, 0, 2, last).into() }))
    }

    /// The answer to `question` with `records`, with names compressed as servers do.
    fn answer(question: &[u8], code: RCODE, records: Vec<ResourceRecord<'_>>) -> Vec<u8> {
        let mut packet = Packet::parse(question).unwrap().into_reply();
        *packet.rcode_mut() = code;
        packet.answers = records;
        packet.build_bytes_vec_compressed().unwrap()
    }

    fn judged(code: RCODE, records: Vec<ResourceRecord<'_>>) -> Result<String, String> {
        let question = question("a.example", TYPE::A).unwrap();
        let answer = answer(&question, code, records);
        let found = judge(&question[..2], "a.example", TYPE::A, &answer)?;
        Ok(found.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn only_addresses_of_the_name_count() {
        for (records, expected) in [
            (vec![a("A.Example", 1), a("a.example", 2)], "192.0.2.1 192.0.2.2"),
            (vec![a("b.example", 1)], ""),
            (vec![], ""),
            (vec![record("a.example", RData::AAAA(AAAA { address: 1 }))], ""),
            (vec![alias("a.example", "b.example"), a("b.example", 3)], "192.0.2.3"),
            (
                vec![
                    a("c.example", 4),
                    alias("b.example", "c.example"),
                    alias("a.example", "b.example"),
                ],
                "192.0.2.4",
            ),
            (vec![alias("a.example", "b.example"), alias("b.example", "a.example")], ""),
        ] {
            let said = format!("{records:?}");
            assert_eq!(judged(RCODE::NoError, records).as_deref(), Ok(expected), "{said}");
        }
    }

    #[test]
    fn what_is_no_address_says_what_it_is() {
        assert!(judged(RCODE::NameError, vec![]).unwrap_err().contains("NXDOMAIN"));
        assert!(judged(RCODE::ServerFailure, vec![]).unwrap_err().contains("SERVFAIL"));
        assert!(judged(RCODE::Refused, vec![]).unwrap_err().contains("Refused"));
        let asked = question("a.example", TYPE::A).unwrap();
        let judge = |bytes: &[u8]| judge(&asked[..2], "a.example", TYPE::A, bytes).unwrap_err();
        assert_eq!(judge(&asked), "it answers something else", "a question is no answer");
        let other = question("b.example", TYPE::A).unwrap();
        let records = vec![a("a.example", 1)];
        assert_eq!(judge(&answer(&other, RCODE::NoError, records)), "it answers something else");
        assert_eq!(judge(&asked[..11]), "it answers with what is no DNS packet");
    }

    /// A server that answers with this one record, or without for the other kind of address.
    fn served(data: RData<'static>) -> Result<Vec<IpAddr>, String> {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let (wanted, questions) = match data {
            RData::A(_) => (TYPE::A, 1),
            _ => (TYPE::AAAA, 2),
        };
        let served = thread::spawn(move || {
            for _ in 0..questions {
                let mut packet = [0; 512];
                let (length, from) = server.recv_from(&mut packet).unwrap();
                let asked = &packet[..length];
                let kind = if asked == question("a.example", TYPE::A).unwrap() {
                    TYPE::A
                } else {
                    TYPE::AAAA
                };
                let records = (kind == wanted).then(|| record("a.example", data.clone()));
                let answer = answer(asked, RCODE::NoError, records.into_iter().collect());
                server.send_to(&answer, from).unwrap();
            }
        });
        let found = addresses(address, "a.example");
        served.join().unwrap();
        found
    }

    #[test]
    fn both_kinds_of_addresses_are_asked_for() {
        let four = Ipv4Addr::new(192, 0, 2, 1);
        assert_eq!(served(RData::A(A { address: four.into() })), Ok(vec![four.into()]));
        let six: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(served(RData::AAAA(AAAA { address: six.into() })), Ok(vec![six.into()]));
    }

    #[test]
    fn a_server_that_is_not_there_is_said_so() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(addresses(closed, "a.example").unwrap_err().contains("refused"));
        let nowhere: SocketAddr = "127.0.0.1:9".parse().unwrap();
        assert!(addresses(nowhere, &"a".repeat(64)).unwrap_err().contains("is no name"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_or_answer_for_another(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let asked = question("a.example", TYPE::A).unwrap();
            prop_assert!(judge(&asked[..2], "a.example", TYPE::A, &bytes).is_err());
        }

        #[test]
        fn a_broken_answer_is_none_or_the_same_kind(
            at in 0_usize..60, byte in any::<u8>(), length in 0_usize..100,
        ) {
            let asked = question("a.example", TYPE::A).unwrap();
            let records = vec![alias("a.example", "b.example"), a("b.example", 1)];
            let mut bytes = answer(&asked, RCODE::NoError, records);
            let at = at.min(bytes.len() - 1);
            bytes[at] = byte;
            bytes.truncate(length);
            if let Ok(found) = judge(&asked[..2], "a.example", TYPE::A, &bytes) {
                prop_assert!(found.len() <= 1 && found.iter().all(IpAddr::is_ipv4));
            }
        }
    }

    #[test]
    fn the_question_is_as_the_rfc_has_it() {
        let packet = question("kubernetes.default", TYPE::A).unwrap();
        assert_eq!(packet[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&packet[12..], b"\x0akubernetes\x07default\x00\x00\x01\x00\x01");
    }

    #[test]
    fn fuzz_dns() {
        let asked = question("a.example", TYPE::A).unwrap();
        let records = vec![alias("a.example", "b.example"), a("b.example", 1)];
        let seed = answer(&asked, RCODE::NoError, records);
        fuzz::target([seed], move |bytes| {
            let _ = judge(&asked[..2], "a.example", TYPE::A, bytes);
        });
    }
}
