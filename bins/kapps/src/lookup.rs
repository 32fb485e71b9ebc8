//! Whether the cluster's DNS answers, asked as any program on the node would (RFC 1035).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::Duration,
};

use khost::{
    steps::wait::Wait,
    wait::{Awaited, Seen},
};

/// `server` knows the address of the API server's Service.
pub(crate) fn answered(server: IpAddr, domain: &str) -> Wait {
    let name = format!("kubernetes.default.svc.{domain}");
    let awaited = Awaited {
        id: "coredns-answers".into(),
        what: format!("an answer from {server} for {name}"),
        limit: Duration::from_secs(60),
        look: "kubectl -n kube-system logs -l k8s-app=kube-dns".into(),
    };
    Wait::new(awaited, move |_| {
        Ok(match ask(SocketAddr::new(server, 53), &name) {
            Ok(()) => Seen::Ready,
            Err(reason) => Seen::NotYet(reason),
        })
    })
}

/// One question for an address, and whether there was one; the error says what came instead.
fn ask(server: SocketAddr, name: &str) -> Result<(), String> {
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let question = question(name);
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
    judge(&question, &answer[..length])
}

/// A recursive question for an A record.
fn question(name: &str) -> Vec<u8> {
    let id = (std::process::id() & 0xffff) as u16;
    let mut packet = id.to_be_bytes().to_vec();
    packet.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]); // recursion desired, one question
    for label in name.split('.') {
        let length = u8::try_from(label.len()).unwrap_or_default(); // a DNS name was given
        packet.push(length);
        packet.extend(label.bytes().take(length.into()));
    }
    packet.extend([0, 0, 1, 0, 1]); // end of name, type A, class IN
    packet
}

fn judge(question: &[u8], answer: &[u8]) -> Result<(), String> {
    let Some(header) = answer.get(..12) else {
        return Err("it answers with less than a header".into());
    };
    if header[..2] != question[..2] || header[2] & 0x80 == 0 {
        return Err("it answers something else".into());
    }
    match (header[3] & 0x0f, u16::from_be_bytes([header[6], header[7]])) {
        (0, 0) => Err("it answers without an address".into()),
        (0, _) => Ok(()),
        (2, _) => Err("it answers SERVFAIL".into()),
        (3, _) => Err("it answers NXDOMAIN: it does not know the cluster's Services yet".into()),
        (code, _) => Err(format!("it answers with code {code}")),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, thread};

    use super::{ask, question};

    /// A server that answers one question with these flags and this number of records.
    fn served(code: u8, answers: u8) -> Result<(), String> {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let served = thread::spawn(move || {
            let mut packet = [0; 512];
            let (length, from) = server.recv_from(&mut packet).unwrap();
            assert_eq!(packet[..length], question("a.example"));
            packet[2] |= 0x80;
            packet[3] = code;
            packet[7] = answers;
            server.send_to(&packet[..length], from).unwrap();
        });
        let answer = ask(address, "a.example");
        served.join().unwrap();
        answer
    }

    #[test]
    fn an_address_is_an_answer_and_nothing_else_is() {
        assert_eq!(served(0, 1), Ok(()));
        assert_eq!(served(0, 0).unwrap_err(), "it answers without an address");
        assert!(served(3, 0).unwrap_err().contains("NXDOMAIN"));
        assert!(served(2, 0).unwrap_err().contains("SERVFAIL"));
    }

    #[test]
    fn the_question_is_as_the_rfc_has_it() {
        let packet = question("kubernetes.default");
        assert_eq!(packet[2..12], [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(&packet[12..], b"\x0akubernetes\x07default\x00\x00\x01\x00\x01");
    }
}
