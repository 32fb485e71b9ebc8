//! How long the disk keeps etcd waiting, by etcd's own count (`/metrics`).

/// The time until its log is on the disk: the wait in each change of etcd's.
const HISTOGRAM: &str = "etcd_disk_wal_fsync_duration_seconds_bucket";

/// The seconds within which 99 of 100 writes to etcd's log were on the disk: the upper bound of a
/// bucket of `metrics`, infinite when it is beyond the last. None when there were none.
pub(super) fn slowest(metrics: &str) -> Option<f64> {
    let bucket = |line: &str| {
        let (label, count) = line.strip_prefix(HISTOGRAM)?.rsplit_once(' ')?;
        let bound = label.strip_prefix("{le=\"")?.strip_suffix("\"}")?;
        Some((bound.replace("+Inf", "inf").parse::<f64>().ok()?, count.parse::<f64>().ok()?))
    };
    let buckets: Vec<_> = metrics.lines().filter_map(bucket).collect();
    let all = buckets.iter().map(|(_, count)| *count).fold(0.0, f64::max);
    if all == 0.0 {
        return None;
    }
    buckets.into_iter().find(|(_, count)| *count >= all * 0.99).map(|(bound, _)| bound)
}

/// A time in seconds, for people.
pub(super) fn shown(seconds: f64) -> String {
    if seconds.is_infinite() { "more than 8 s".into() } else { format!("up to {seconds} s") }
}

#[cfg(test)]
mod tests {
    use super::{HISTOGRAM, shown, slowest};

    /// The metrics of an etcd whose writes took these times, as etcd 3.5.34 prints them.
    fn metrics(counts: [u32; 4]) -> String {
        let mut text = String::from(
            "# TYPE etcd_disk_wal_fsync_duration_seconds histogram\n\
             etcd_disk_wal_write_bytes_total 5120\n",
        );
        for (bound, count) in ["0.001", "0.512", "8.192", "+Inf"].iter().zip(counts) {
            text += &[HISTOGRAM, "{le=\"", bound, "\"} ", &count.to_string(), "\n"].concat();
        }
        text + "etcd_disk_wal_fsync_duration_seconds_count 100\n"
    }

    #[test]
    fn ninety_nine_of_a_hundred_writes_are_looked_at() {
        assert_eq!(slowest(&metrics([100; 4])), Some(0.001));
        assert_eq!(slowest(&metrics([99, 99, 100, 100])), Some(0.001));
        assert_eq!(slowest(&metrics([98, 99, 100, 100])), Some(0.512));
        assert_eq!(slowest(&metrics([0, 0, 0, 3])), Some(f64::INFINITY));
        assert_eq!(slowest(&metrics([0; 4])), None);
        assert_eq!(slowest(""), None);
        assert_eq!([shown(0.512), shown(f64::INFINITY)], ["up to 0.512 s", "more than 8 s"]);
    }
}
