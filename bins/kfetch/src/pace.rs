//! Whether bytes come fast enough to be worth waiting for.

use std::time::Duration;

/// Bytes a second, on average over a window, below which a transfer has stalled: one that sends a
/// byte now and then would otherwise never end.
pub(crate) const FLOOR: u64 = 1024;

/// The bytes of the present window.
#[derive(Debug)]
pub(crate) struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Of a transfer that has just begun.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0 }
    }

    /// After `waited`, `bytes` came. Whether a window has passed in which too few did; the time
    /// in between, in which nobody waited for them, does not count.
    pub(crate) fn is_too_slow(&mut self, bytes: usize, waited: Duration) -> bool {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < self.window {
            return false;
        }
        let least = FLOOR * self.waited.as_secs();
        let slow = self.bytes < least;
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        slow
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Pace;

    #[test]
    fn a_trickle_is_told_from_a_slow_line() {
        let (window, second) = (Duration::from_secs(3), Duration::from_secs(1));
        let told = |bytes: &[usize]| -> Vec<bool> {
            let mut pace = Pace::new(window);
            bytes.iter().map(|bytes| pace.is_too_slow(*bytes, second)).collect()
        };
        assert_eq!(told(&[1, 1, 1]), [false, false, true]);
        assert_eq!(told(&[0, 0, 3072]), [false, false, false]);
        assert_eq!(told(&[9000, 0, 0, 1, 1, 1]), [false, false, false, false, false, true]);
    }
}
