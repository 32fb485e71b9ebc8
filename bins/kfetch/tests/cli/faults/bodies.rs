//! Faults of the bytes themselves, and of what is said about them.

use std::io::Write as _;

use super::wire::{Fault, Wire, hang};
use crate::server::nap;

/// The first, a middle and the last byte of a body.
type Place = (&'static str, fn(usize) -> usize);
const PLACES: [Place; 3] =
    [("first", |_| 0), ("middle", |length| length / 2), ("last", |length| length - 1)];

/// Faults that one who compares digests cannot take for the right bytes. `middle` of a document
/// is as wrong as that of a file.
pub(super) fn all() -> Vec<Fault> {
    [positions(), replaced(), lengths(), chunks(), encodings(), slow()].concat()
}

fn positions() -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, at) in PLACES {
        let cut = move |wire: &mut Wire<'_>| wire.cut(at(wire.body.len()));
        faults.push(Fault::new(format!("cut-{name}"), cut));
        faults.push(Fault::new(format!("cut-{name}"), cut).once());
        faults.push(changed(&format!("flipped-{name}"), move |body| {
            let at = at(body.len());
            body[at] ^= 1;
        }));
        faults.push(changed(&format!("lacking-{name}"), move |body| {
            body.remove(at(body.len()));
        }));
        faults.push(changed(&format!("doubled-{name}"), move |body| {
            let at = at(body.len());
            body.insert(at, body[at]);
        }));
        faults.push(
            Fault::new(format!("stalled-{name}"), move |wire: &mut Wire<'_>| {
                wire.cut(at(wire.body.len()))?;
                hang()
            })
            .slow(),
        );
    }
    faults
}

/// Another body, served as if it were the right one.
fn changed(name: &str, change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static) -> Fault {
    Fault::new(name, move |wire: &mut Wire<'_>| {
        let mut body = wire.body.to_vec();
        change(&mut body);
        wire.whole(&body)
    })
}

const LOGIN: &str = "<!DOCTYPE html><title>Hotel</title><form>Your room number: <input></form>";

fn replaced() -> Vec<Fault> {
    vec![
        changed("empty", Vec::clear),
        changed("login-page", |body| *body = LOGIN.into()),
        changed("login-page-of-that-length", |body| {
            *body = LOGIN.bytes().cycle().take(body.len()).collect();
        }),
        changed("error-as-json", |body| *body = br#"{"error":"over quota"}"#.to_vec()),
        changed("zeros", |body| body.fill(0)),
        changed("half-zeros", |body| {
            let half = body.len() / 2;
            body[half..].fill(0);
        }),
        changed("noise", |body| {
            let mut state = 1_u32;
            body.fill_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            });
        }),
        changed("reversed", |body| body.reverse()),
        changed("twice", |body| body.extend_from_within(..)),
        changed("first-half-twice", |body| {
            let half = body.len() / 2;
            body.copy_within(..half, half);
        }),
        changed("byte-order-mark", |body| drop(body.splice(..0, *b"\xef\xbb\xbf"))),
        changed("line-ends", |body| body.extend(b"\r\n")),
        changed("another-version", |body| {
            let tail = body.len() - 3;
            body[tail..].copy_from_slice(b"1.2");
        }),
    ]
}

fn lengths() -> Vec<Fault> {
    let mut faults = Vec::new();
    for (name, length) in [
        ("negative", "-1"),
        ("word", "many"),
        ("empty", ""),
        ("hexadecimal", "0xff"),
        ("fraction", "10.5"),
        ("endless", "99999999999999999999999"),
        ("largest", "18446744073709551615"),
        ("two-in-one", "5, 6"),
        ("two", "5\r\ncontent-length: 6"),
    ] {
        faults.push(Fault::new(format!("length-{name}"), move |wire: &mut Wire<'_>| {
            let body = wire.body;
            wire.answer(&format!("200 OK\r\ncontent-length: {length}"), body)
        }));
    }
    for (name, more) in [("of-one-more", 1), ("of-many-more", 1 << 20), ("of-a-terabyte", 1 << 40)]
    {
        faults.push(Fault::new(format!("length-{name}"), move |wire: &mut Wire<'_>| {
            let (body, length) = (wire.body, wire.body.len() + more);
            wire.answer(&format!("200 OK\r\ncontent-length: {length}"), body)
        }));
    }
    faults.push(Fault::new("length-of-one-less", |wire: &mut Wire<'_>| {
        let (body, length) = (wire.body, wire.body.len() - 1);
        wire.answer(&format!("200 OK\r\ncontent-length: {length}"), body)
    }));
    faults.push(Fault::new("length-unsaid-and-cut", |wire: &mut Wire<'_>| {
        wire.raw(b"HTTP/1.0 200 OK\r\n\r\n")?;
        wire.raw(&wire.body[..wire.body.len() / 2])
    }));
    faults
}

fn chunks() -> Vec<Fault> {
    let chunked = |name: &str, send: fn(&mut Wire<'_>) -> std::io::Result<()>| {
        Fault::new(format!("chunks-{name}"), move |wire: &mut Wire<'_>| {
            wire.answer("200 OK\r\ntransfer-encoding: chunked", b"")?;
            send(wire)
        })
    };
    let one = |wire: &mut Wire<'_>, length: usize| {
        write!(wire.to, "{length:x}\r\n")?;
        wire.raw(wire.body)
    };
    vec![
        chunked("without-size", |wire| wire.raw(wire.body)),
        chunked("of-size-word", |wire| wire.raw(b"some\r\nabc\r\n0\r\n\r\n")),
        chunked("of-size-negative", |wire| wire.raw(b"-3\r\nabc\r\n0\r\n\r\n")),
        chunked("of-size-huge", |wire| wire.raw(b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n")),
        chunked("none", |wire| wire.raw(b"0\r\n\r\n")),
        chunked("cut-before-any", |_| Ok(())),
        Fault::new("chunks-without-end", move |wire: &mut Wire<'_>| {
            wire.answer("200 OK\r\ntransfer-encoding: chunked", b"")?;
            one(wire, wire.body.len())
        }),
        Fault::new("chunks-too-long", move |wire: &mut Wire<'_>| {
            wire.answer("200 OK\r\ntransfer-encoding: chunked", b"")?;
            one(wire, wire.body.len() + 5)
        }),
        Fault::new("chunks-too-short", move |wire: &mut Wire<'_>| {
            wire.answer("200 OK\r\ntransfer-encoding: chunked", b"")?;
            one(wire, wire.body.len() - 5)?;
            wire.raw(b"\r\n0\r\n\r\n")
        }),
        Fault::new("chunks-with-length", |wire: &mut Wire<'_>| {
            let (body, length) = (wire.body, wire.body.len());
            let head = format!("200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: {length}");
            wire.answer(&head, body)
        }),
        Fault::new("chunks-with-endless-extension", |wire: &mut Wire<'_>| {
            wire.answer("200 OK\r\ntransfer-encoding: chunked", b"3;x=")?;
            (0..1 << 10).try_for_each(|_| wire.raw([b'x'; 1 << 10]))
        }),
        Fault::new("transfer-encoding-unknown", |wire: &mut Wire<'_>| {
            let body = &wire.body[1..];
            wire.answer("200 OK\r\ntransfer-encoding: rot13", body)
        }),
    ]
}

fn encodings() -> Vec<Fault> {
    let gzip = |body: &[u8]| {
        let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut packer = packer;
        packer.write_all(body).and_then(|()| packer.finish())
    };
    let mut faults = vec![
        Fault::new("encoded-gzip", move |wire: &mut Wire<'_>| {
            let packed = gzip(wire.body)?;
            let head =
                format!("200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}", packed.len());
            wire.answer(&head, &packed)
        }),
        Fault::new("encoded-gzip-unsaid", move |wire: &mut Wire<'_>| {
            let packed = gzip(wire.body)?;
            wire.whole(&packed)
        }),
    ];
    for encoding in ["br", "deflate", "x-unheard-of"] {
        faults.push(Fault::new(format!("encoded-{encoding}"), move |wire: &mut Wire<'_>| {
            let body: Vec<_> = wire.body.iter().map(|byte| byte ^ 0x55).collect();
            let length = body.len();
            let head =
                format!("200 OK\r\ncontent-encoding: {encoding}\r\ncontent-length: {length}");
            wire.answer(&head, &body)
        }));
    }
    faults
}

fn slow() -> Vec<Fault> {
    let trickle = |wire: &mut Wire<'_>, bytes: &[u8]| {
        bytes.iter().cycle().take(600).try_for_each(|byte| {
            nap(100);
            wire.raw([*byte])
        })
    };
    let late = Fault::new("late", |wire: &mut Wire<'_>| {
        nap(400);
        wire.good()
    });
    vec![
        Fault::new("trickling", move |wire: &mut Wire<'_>| {
            wire.cut(0)?;
            trickle(wire, wire.body)
        })
        .slow(),
        Fault::new("trickling-head", move |wire: &mut Wire<'_>| {
            trickle(wire, b"HTTP/1.1 200 OK\r\nx: y\r\nx: y\r\nx: y\r\nx: y\r\n")
        })
        .slow(),
        late.passing(),
    ]
}
