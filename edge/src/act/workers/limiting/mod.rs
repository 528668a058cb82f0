//! What rules, owners and sources may use: rates, bandwidth and quotas. SharedRate memory, no I/O.
//!
//! Keeps: a limit that changes keeps what is in its bucket, and connections notice it with their next turn; everything
//! that grows with what others send is bounded.

pub(crate) mod bucket;
pub(crate) mod clock;
pub(crate) mod limits;
pub(crate) mod quota;
pub(crate) mod sources;
pub(crate) mod throttle;
