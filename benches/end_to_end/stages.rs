//! Where the time of a delivery goes, from walhook's own histograms.

use std::collections::BTreeMap;

use serde::Serialize;

/// Milliseconds of one stage, as exact as the histogram's buckets.
#[derive(Serialize)]
pub(crate) struct Stage {
    pub(crate) p50_up_to: f64,
    pub(crate) p99_up_to: f64,
    pub(crate) count: u64,
}

/// Cumulated counts by upper bound, for each stage.
pub(crate) struct Histograms(BTreeMap<String, Vec<(f64, u64)>>);

impl Histograms {
    /// Reads `walhook_latency_seconds` from the text of `/metrics`.
    pub(crate) fn parse(metrics: &str) -> Self {
        let mut stages: BTreeMap<String, Vec<(f64, u64)>> = BTreeMap::new();
        for line in metrics.lines() {
            let Some(rest) = line.strip_prefix("walhook_latency_seconds_bucket{") else {
                continue;
            };
            let label = |name: &str| {
                let (_, value) = rest.split_once(&format!("{name}=\""))?;
                Some(value.split_once('"')?.0)
            };
            let count = rest.rsplit(' ').next().and_then(|count| count.parse().ok());
            if let (Some(stage), Some(bound), Some(count)) = (label("stage"), label("le"), count) {
                let bound = bound.parse().unwrap_or(f64::INFINITY);
                stages
                    .entry(stage.to_owned())
                    .or_default()
                    .push((bound, count));
            }
        }
        Histograms(stages)
    }

    /// What was observed since `earlier`.
    pub(crate) fn since(&self, earlier: &Histograms) -> BTreeMap<String, Stage> {
        let stage = |(name, buckets): (&String, &Vec<(f64, u64)>)| {
            let before = earlier.0.get(name);
            let counted = |index: usize| {
                let before = before.and_then(|buckets| buckets.get(index));
                buckets[index].1 - before.map_or(0, |(_, count)| *count)
            };
            let count = counted(buckets.len() - 1);
            let quantile = |share: f64| {
                let rank = (count as f64 * share).ceil() as u64;
                let bucket = (0..buckets.len()).find(|index| counted(*index) >= rank);
                bucket.map_or(0.0, |index| buckets[index].0 * 1e3)
            };
            let stage = Stage {
                p50_up_to: quantile(0.5),
                p99_up_to: quantile(0.99),
                count,
            };
            (count > 0).then(|| (name.clone(), stage))
        };
        self.0.iter().filter_map(stage).collect()
    }
}
