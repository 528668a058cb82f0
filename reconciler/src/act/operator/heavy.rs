//! Work of a request that takes longer than the runtime's threads may be held for. I/O.

use super::Failure;
use crate::decide::codes::ProblemCode;

/// Runs work that would hold up other requests.
pub(super) async fn heavy<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Failure::new(500, ProblemCode::Internal, "Internal error", error.to_string()))
}
