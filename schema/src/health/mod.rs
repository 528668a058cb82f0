//! Health of targets: the check that a rule carries, and the model that judges its results. A map of the parts. Pure.

mod check;

pub use check::{
    DEFAULT_FALL, DEFAULT_INTERVAL_SECS, DEFAULT_JITTER_PERCENT, DEFAULT_RISE, DEFAULT_TIMEOUT_MS, HealthCheck,
    HealthKind, StatusRanges,
};
