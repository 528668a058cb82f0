//! The reason of a request, in a body that may be empty. I/O.

use axum::body::{Body, to_bytes};
use serde::{Deserialize, Serialize};

use super::Failure;
use crate::decide::codes::ProblemCode;

/// An order is a few words.
pub(super) const MAX_ORDER: usize = 64 << 10;
/// The longest reason.
pub(super) const MAX_WHY: usize = 1000;

/// Body of the requests that end an override of a target or a break-glass rule. It may be left out.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReasonBody {
    /// Why; the history shows it.
    pub why: String,
}

/// The reason in a body that may be empty.
pub(super) async fn reason(body: Body) -> Result<String, Failure> {
    let unread = |detail: String| Failure::new(400, ProblemCode::BadRequest, "The JSON does not fit the path", detail);
    let bytes = to_bytes(body, MAX_ORDER).await.map_err(|error| unread(error.to_string()))?;
    if bytes.trim_ascii().is_empty() {
        return Ok(String::new());
    }
    let body: Option<ReasonBody> = serde_json::from_slice(&bytes).map_err(|error| unread(error.to_string()))?;
    short(body.unwrap_or_default().why)
}

/// The reason, if it is short enough.
pub(super) fn short(why: String) -> Result<String, Failure> {
    if why.chars().count() > MAX_WHY {
        let detail = format!("`why` may have at most {MAX_WHY} characters");
        return Err(Failure::bad_request(detail));
    }
    Ok(why)
}
