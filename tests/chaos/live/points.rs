//! The moments at which something is done to a life, drawn from a seed.

use std::{fmt, str::FromStr};

use pipeline_tests::xorshift;

/// What is done at the moment, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The tools and make die in `make up`; what they started, kubeadm say, goes on. Then `make up`.
    Kill,
    /// All that `make up` started dies. Then `make up`.
    KillAll,
    /// The power is cut in `make up`, and comes back. Then `make up`.
    Cut,
    /// As `Kill`, but then `make down`.
    Reset,
    /// As `Cut`, but then `make down`.
    CutReset,
    /// The tools and make die in `make down` of a cluster that works. Then `make down`.
    DownKill,
    /// The power is cut in `make down`, and comes back. Then `make down`.
    DownCut,
}

impl Kind {
    /// How often each is drawn: of 54 points, forty that end with a cluster.
    const SHARES: [(Self, usize); 7] = [
        (Self::Reset, 4),
        (Self::Cut, 10),
        (Self::Kill, 15),
        (Self::DownKill, 4),
        (Self::KillAll, 15),
        (Self::CutReset, 3),
        (Self::DownCut, 3),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::KillAll => "kill-all",
            Self::Cut => "cut",
            Self::Reset => "reset-after",
            Self::CutReset => "cut-reset",
            Self::DownKill => "down-kill",
            Self::DownCut => "down-cut",
        }
    }

    /// Is it `make down` that is disturbed?
    pub(crate) fn of_down(self) -> bool {
        matches!(self, Self::DownKill | Self::DownCut)
    }

    pub(crate) fn cuts(self) -> bool {
        matches!(self, Self::Cut | Self::CutReset | Self::DownCut)
    }

    /// Does a cluster come of it, before the node is taken apart?
    pub(crate) fn ends_up(self) -> bool {
        matches!(self, Self::Kill | Self::KillAll | Self::Cut)
    }
}

/// One life with one disturbance.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) kind: Kind,
    /// Seconds since `make up` or `make down` was started.
    pub(crate) at: f64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:.1}", self.kind.name(), self.at)
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, at) = text.split_once(':').ok_or("KIND:SECONDS is wanted")?;
        let mut kinds = Kind::SHARES.iter().map(|(kind, _)| *kind);
        let kind = kinds.find(|kind| kind.name() == name).ok_or("no such kind")?;
        let at: f64 = at.parse().map_err(|_| "no such number of seconds")?;
        Ok(Self { kind, at })
    }
}

/// How long `make up` and `make down` take when nobody disturbs them, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spans {
    pub(crate) up: f64,
    pub(crate) down: f64,
}

/// `count` points. Those of a kind are spread over all of the span, one somewhere in each equal part
/// of it; the kinds come in turns, so that the first few points are of all kinds.
pub(crate) fn drawn(seed: u64, count: usize, spans: Spans) -> Vec<Point> {
    let all: usize = Kind::SHARES.iter().map(|(_, share)| share).sum();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut points = Vec::new();
    for (kind, share) in Kind::SHARES {
        let parts = (share * count).div_ceil(all);
        let span = if kind.of_down() { spans.down } else { spans.up };
        let mut own: Vec<_> = (0..parts)
            .map(|part| (real(part) + random(&mut state)) / real(parts) * span)
            .map(|at| Point { kind, at })
            .collect();
        // Not from the first part to the last: a run that is stopped early has seen some of each.
        own.sort_by_cached_key(|_| xorshift(&mut state));
        let turn = |(nth, point)| ((real(nth) + 0.5) / real(parts), point);
        points.extend(own.into_iter().enumerate().map(turn));
    }
    points.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    points.into_iter().map(|(_, point)| point).take(count).collect()
}

/// From 0 up to 1.
fn random(state: &mut u64) -> f64 {
    f64::from(u32::try_from(xorshift(state) >> 32).unwrap()) / (f64::from(u32::MAX) + 1.0)
}

fn real(number: usize) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

#[test]
fn points_are_spread_and_the_same_for_the_same_seed() {
    let spans = Spans { up: 60.0, down: 20.0 };
    let points = drawn(7, 54, spans);
    let said = |points: &[Point]| points.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(said(&points), said(&drawn(7, 54, spans)));
    assert_ne!(said(&points), said(&drawn(8, 54, spans)));
    let cuts: Vec<_> = points.iter().filter(|point| point.kind == Kind::Cut).collect();
    assert_eq!(cuts.len(), 10);
    assert!(cuts.iter().any(|cut| cut.at < 6.0) && cuts.iter().any(|cut| cut.at > 54.0));
    assert!(points.iter().all(|point| !point.kind.of_down() || point.at < 20.0));
    assert_eq!("cut:17.3".parse::<Point>().unwrap().to_string(), "cut:17.3");
}
