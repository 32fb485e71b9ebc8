//! Faults of a server that breaks off, and is asked to go on where it stopped.

use super::wire::{Fault, Wire, hang};

/// What is said when the second half is asked for; the first time, and whenever all of it is asked
/// for, it breaks off in the middle.
fn then(
    name: &str,
    go_on: impl Fn(&mut Wire<'_>, usize) -> std::io::Result<()> + Send + Sync + 'static,
) -> Fault {
    Fault::new(format!("range-{name}"), move |wire: &mut Wire<'_>| match wire.from {
        Some(from) => go_on(wire, from),
        None => wire.cut(wire.body.len() / 2),
    })
}

/// A part that is said to be `range`, and brings `bytes`.
fn part(wire: &mut Wire<'_>, range: &str, bytes: &[u8]) -> std::io::Result<()> {
    let length = bytes.len();
    wire.answer(
        &format!("206 Partial\r\ncontent-range: {range}\r\ncontent-length: {length}"),
        bytes,
    )
}

pub(super) fn all() -> Vec<Fault> {
    let mut faults = labels();
    faults.extend([
        then("of-another-version", |wire, from| {
            let (length, other) = (wire.body.len(), vec![b'x'; wire.body.len() - from]);
            part(wire, &format!("bytes {from}-{}/{length}", length - 1), &other)
        }),
        then("from-the-beginning", |wire, from| {
            let (length, body) = (wire.body.len(), &wire.body[..wire.body.len() - from]);
            part(wire, &format!("bytes {from}-{}/{length}", length - 1), body)
        }),
        then("with-all-of-it", |wire, from| {
            let (length, body) = (wire.body.len(), wire.body);
            part(wire, &format!("bytes {from}-{}/{length}", length - 1), body)
        }),
        then("empty", |wire, from| {
            let length = wire.body.len();
            part(wire, &format!("bytes {from}-{}/{length}", length - 1), b"")
        }),
        then("ignored-and-changed", |wire, _| {
            let other = vec![b'x'; wire.body.len()];
            wire.whole(&other)
        }),
        then("ignored-and-cut", |wire, _| {
            wire.from = None;
            wire.cut(wire.body.len() / 3)
        }),
        then("flipped-last", |wire, from| {
            let mut rest = wire.body[from..].to_vec();
            *rest.last_mut().unwrap() ^= 1;
            let length = wire.body.len();
            part(wire, &format!("bytes {from}-{}/{length}", length - 1), &rest)
        }),
        then("without-label", |wire, from| {
            let rest = &wire.body[from..];
            wire.answer(&format!("206 Partial\r\ncontent-length: {}", rest.len()), rest)
        }),
        then("in-parts", |wire, _| {
            let kind = "content-type: multipart/byteranges; boundary=x";
            wire.answer(&format!("206 Partial\r\n{kind}\r\ncontent-length: 9"), b"--x\r\n\r\n--")
        }),
        then("silent", |_, _| hang()).slow(),
        // What is no fault of one who is asked again.
        then("ignored", |wire, _| {
            wire.from = None;
            wire.good()
        })
        .passing(),
        then("a-byte-at-a-time", |wire, from| {
            let length = wire.body.len();
            let end = (from + length / 4).min(length);
            let range = format!("bytes {from}-{}/{length}", end - 1);
            part(wire, &range, &wire.body[from..end])
        })
        .passing(),
    ]);
    for status in [204, 302, 403, 404, 412, 416, 500, 503] {
        let head = format!("{status} No\r\ncontent-length: 0");
        faults.push(then(&format!("status-{status}"), move |wire, _| wire.answer(&head, b"")));
    }
    faults
}

/// The right bytes with a label that says that they are others.
fn labels() -> Vec<Fault> {
    let label = |name: &str, text: fn(usize, usize) -> String| {
        then(&format!("labelled-{name}"), move |wire, from| {
            let rest = &wire.body[from..];
            part(wire, &text(from, wire.body.len()), rest)
        })
    };
    vec![
        label("one-late", |from, length| format!("bytes {}-{}/{length}", from + 1, length - 1)),
        label("one-early", |from, length| format!("bytes {}-{}/{length}", from - 1, length - 1)),
        label("backwards", |from, length| format!("bytes {}-{from}/{length}", length - 1)),
        label("longer-than-all", |from, length| format!("bytes {from}-{length}/{length}")),
        label("of-a-longer-whole", |from, length| {
            format!("bytes {from}-{}/{}", length - 1, length + 7)
        }),
        label("in-lines", |from, length| format!("lines {from}-{}/{length}", length - 1)),
        label("unsatisfied", |_, length| format!("bytes */{length}")),
        label("word", |_, _| "all of it".into()),
        label("negative", |_, length| format!("bytes -1-{}/{length}", length - 1)),
    ]
}
