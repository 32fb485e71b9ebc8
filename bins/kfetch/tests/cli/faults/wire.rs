//! What a fault is, and what it has to work with.

use std::{
    fmt,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::server::nap;

type Act = dyn Fn(&mut Wire<'_>) -> io::Result<()> + Send + Sync;

/// A way to answer wrongly.
#[derive(Clone)]
pub(crate) struct Fault {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    act: Arc<Act>,
}

/// What one who has nobody else to ask makes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It must fail.
    Lasting,
    /// It must fail, once it has waited long enough.
    Slow,
    /// It must succeed at last, for the fault goes by.
    Passing,
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.name, self.kind)
    }
}

impl Fault {
    /// A fault that stays.
    pub(crate) fn new(
        name: impl Into<String>,
        act: impl Fn(&mut Wire<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), kind: Kind::Lasting, act: Arc::new(act) }
    }

    /// The same for one who is told by nothing but time.
    pub(crate) fn slow(self) -> Self {
        Self { kind: Kind::Slow, ..self }
    }

    /// The same for one who is patient enough.
    pub(crate) fn passing(self) -> Self {
        Self { kind: Kind::Passing, ..self }
    }

    /// The same at the first request alone.
    pub(crate) fn once(self) -> Self {
        let Self { name, act, .. } = self;
        let act =
            move |wire: &mut Wire<'_>| if wire.earlier == 0 { act(wire) } else { wire.good() };
        Self { name: format!("{name}-once"), kind: Kind::Passing, act: Arc::new(act) }
    }

    pub(crate) fn act(&self, wire: &mut Wire<'_>) -> io::Result<()> {
        (self.act)(wire)
    }
}

/// One request, and the connection to answer it on, which is closed afterwards.
pub(crate) struct Wire<'a> {
    pub(crate) to: &'a mut dyn Write,
    /// What a good server would serve.
    pub(crate) body: &'a [u8],
    /// Where the range that is asked for begins.
    pub(crate) from: Option<usize>,
    /// Requests for the same before.
    pub(crate) earlier: usize,
    /// The server's own port, and the path that is asked for.
    pub(crate) port: u16,
    /// Bytes of the body that the server has sent to anyone.
    pub(crate) sent: &'a AtomicUsize,
    pub(crate) path: &'a str,
}

impl Wire<'_> {
    /// These bytes as they are.
    pub(crate) fn raw(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.to.write_all(bytes.as_ref())?;
        self.to.flush()
    }

    /// A status line and headers, given as `200 OK\r\nkey: value`, and then `body`.
    pub(crate) fn answer(&mut self, head: &str, body: &[u8]) -> io::Result<()> {
        write!(self.to, "HTTP/1.1 {head}\r\nconnection: close\r\n\r\n")?;
        self.raw(body)
    }

    /// `body` as if it were right.
    pub(crate) fn whole(&mut self, body: &[u8]) -> io::Result<()> {
        self.answer(&format!("200 OK\r\ncontent-length: {}", body.len()), body)
    }

    /// What is asked for.
    pub(crate) fn good(&mut self) -> io::Result<()> {
        self.cut(self.body.len())
    }

    /// What is asked for, but nothing from `at` on.
    pub(crate) fn cut(&mut self, at: usize) -> io::Result<()> {
        let (from, length) = (self.from.unwrap_or(0), self.body.len());
        if from >= length && length > 0 {
            return self.answer("416 No\r\ncontent-length: 0", b"");
        }
        let mut head = format!("200 OK\r\ncontent-length: {}", length - from);
        if self.from.is_some() {
            let last = length - 1;
            let range = format!("\r\ncontent-range: bytes {from}-{last}/{length}");
            head = head.replace("200", "206") + &range;
        }
        let part = self.body.get(from..at).unwrap_or_default();
        self.sent.fetch_add(part.len(), Ordering::SeqCst);
        self.answer(&head, part)
    }
}

/// Nothing more, for as long as the test lasts.
pub(crate) fn hang() -> io::Result<()> {
    nap(60_000);
    Err(io::ErrorKind::TimedOut.into())
}
