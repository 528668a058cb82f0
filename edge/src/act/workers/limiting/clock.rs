//! The clock of buckets: one for all workers, which nobody can set.

use std::sync::LazyLock;
use std::time::Instant;

use crate::decide::rates::{EPOCH, Moment};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now.
pub(crate) fn now() -> Moment {
    EPOCH + u64::try_from(START.elapsed().as_nanos()).unwrap_or(EPOCH)
}
