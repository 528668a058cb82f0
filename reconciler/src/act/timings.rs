//! How long applies and plans take, for the metrics port. Values of the server.
//!
//! Keeps: a histogram lives as long as the server; it is never made anew for a scrape.

use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, Registry};

/// The durations of a server.
#[derive(Debug, Clone)]
pub struct Timings {
    registry: Registry,
    /// From the start of an apply to its last answer.
    pub apply: Histogram,
    /// Making a plan.
    pub plan: Histogram,
}

impl Timings {
    /// Empty histograms.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        // From 1 ms to 65 s, doubling: edges answer in milliseconds, a slow one in seconds, none after the timeout.
        let buckets = prometheus::exponential_buckets(0.001, 2.0, 17)?;
        let histogram = |name: &str, help: &str| -> prometheus::Result<Histogram> {
            let options = HistogramOpts::new(name, help).buckets(buckets.clone());
            let histogram = Histogram::with_opts(options)?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let apply = histogram("portunus_apply_duration_seconds", "From an apply's start to its last answer.")?;
        let plan = histogram("portunus_plan_duration_seconds", "Making a plan.")?;
        Ok(Self { registry, apply, plan })
    }

    /// The series, for a scrape.
    pub(super) fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
