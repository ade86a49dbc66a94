//! The JSON object that every bench prints, with the same keys first.

use serde_json::{Map, Value, json};

use super::latency::Latencies;
use super::work::Work;

/// What the common keys say; what has no meaning for a bench stays `null`.
#[derive(Debug, Default)]
pub(super) struct Report<'a> {
    pub(super) bench: &'static str,
    pub(super) threads: Option<usize>,
    pub(super) durability: Option<&'static str>,
    pub(super) in_flight: Option<u32>,
    pub(super) events_per_second: Option<f64>,
    pub(super) bytes_per_second: Option<f64>,
    pub(super) limit_events_per_second: Option<f64>,
    pub(super) ratio_to_limit: Option<f64>,
    pub(super) latencies: Option<&'a Latencies>,
}

impl Report<'_> {
    /// The common keys, then those of the bench.
    pub(super) fn json(&self, work: &Work, own: &[(&str, Value)]) -> Value {
        let [p50, p99, p999, max] = self.latencies.map(Latencies::json).unwrap_or_default();
        let common = [
            ("v", json!(1)),
            ("bench", json!(self.bench)),
            ("events", json!(work.events)),
            ("size", json!(work.size)),
            ("batch", json!(work.batch)),
            ("threads", json!(self.threads)),
            ("durability", json!(self.durability)),
            ("in_flight", json!(self.in_flight)),
            ("events_per_second", json!(self.events_per_second)),
            ("bytes_per_second", json!(self.bytes_per_second)),
            ("limit_events_per_second", json!(self.limit_events_per_second)),
            ("ratio_to_limit", json!(self.ratio_to_limit)),
            ("p50_ns", p50),
            ("p99_ns", p99),
            ("p999_ns", p999),
            ("max_ns", max),
        ];
        let keys = common.iter().chain(own).map(|(key, value)| ((*key).to_owned(), value.clone()));
        Value::Object(keys.collect::<Map<String, Value>>())
    }
}
