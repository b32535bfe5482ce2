//! How long attempts take: a histogram that can be added up, and quantiles of it.

use std::time::Duration;

/// The columns `took_…` of `delivery_stats`, in this order.
pub const BUCKETS: usize = 16;

/// Upper bounds in milliseconds, of all but the last. Each is at most two and a half times the one
/// before: a quantile is read between two of them.
const BOUNDS: [u64; BUCKETS - 1] = [
    2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 30_000, 60_000,
];

/// Where an attempt that took so long is counted.
pub(super) fn bucket(took: Duration) -> usize {
    let milliseconds = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    BOUNDS.partition_point(|bound| *bound < milliseconds)
}

/// The duration in milliseconds that `share` of the attempts did not exceed, as far as the
/// histogram tells: within a bucket they are taken for evenly spread. None without attempts.
pub fn quantile(histogram: &[i64], share: f64) -> Option<f64> {
    let total: i64 = histogram.iter().sum();
    if total <= 0 {
        return None;
    }
    let wanted = share.clamp(0.0, 1.0) * total as f64;
    let mut below = 0.0;
    for (place, count) in histogram.iter().enumerate() {
        let count = *count as f64;
        if count > 0.0 && below + count >= wanted {
            let lower = place.checked_sub(1).and_then(|before| BOUNDS.get(before));
            let lower = lower.map_or(0.0, |bound| *bound as f64);
            // Nothing is known of how long the longest take.
            let upper = BOUNDS.get(place).map_or(lower, |bound| *bound as f64);
            return Some(lower + (upper - lower) * (wanted - below) / count);
        }
        below += count;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_is_the_first_whose_bound_is_not_exceeded() {
        for (milliseconds, expected) in [(0, 0), (2, 0), (3, 1), (60_000, 14), (60_001, 15)] {
            let found = bucket(Duration::from_millis(milliseconds));
            assert_eq!(found, expected, "{milliseconds} ms");
        }
    }

    #[test]
    fn quantile_lies_within_its_bucket() {
        let mut histogram = [0_i64; BUCKETS];
        assert_eq!(quantile(&histogram, 0.5), None);
        histogram[4] = 100;
        assert_eq!(quantile(&histogram, 0.5), Some(35.0));
        assert_eq!(quantile(&histogram, 1.0), Some(50.0));
        histogram[15] = 100;
        assert_eq!(quantile(&histogram, 0.95), Some(60_000.0));
        assert_eq!(quantile(&histogram, 0.25), Some(35.0));
    }
}
