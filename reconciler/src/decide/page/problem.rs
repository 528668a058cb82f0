//! A refusal as a page: what is wrong, and what to do about it. Pure.

use schema::codes::RuleCode;

/// What a problem document says, as far as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProblemView {
    /// The HTTP status.
    pub status: u16,
    /// For programs, and for `explain`.
    pub code: String,
    /// A few words.
    pub title: String,
    /// One sentence about this case.
    pub detail: String,
    /// What it is about in detail: changes, rails, findings.
    pub lines: Vec<String>,
    /// What to do.
    pub advice: &'static str,
}

/// True for an edge that was asked and did not answer.
fn is_of_edge(code: &str) -> bool {
    [RuleCode::ClientNotConnected, RuleCode::AckTimeout].iter().any(|known| known.as_str() == code)
}

/// What to do about a problem with that code.
pub fn advice(status: u16, code: &str) -> &'static str {
    match code {
        "unauthorized" => "Sign in again.",
        "too_many_failed_logins" => "Wait for as long as the message says. A valid token is always accepted elsewhere.",
        "forbidden" => "Ask an admin for a role that allows it, or have somebody do it who has that role.",
        "outside_grant" => "Ask an admin for wider limits, or have somebody do it whose limits include these changes.",
        "foreign_host" => "Open the page by a name of the server. `serve --operator-host NAME` adds one.",
        "foreign_origin" => "Open the page anew and repeat it there.",
        "not_found" => "It may have been removed or renamed. Look for it in the lists.",
        "frozen" => "Unfreeze the fleet on its page once the reason for the freeze is gone.",
        "locked" => "Wait until the apply that runs has ended.",
        "stale" => "Something has changed in the meantime. Look at the plan again before you repeat it.",
        "rails" => "Look at the plan. A rail is lifted at a terminal, by the flag that the rail names.",
        _ if is_of_edge(code) => "Look at the edge: it may be offline or busy. Then try again.",
        "bad_request" => "Correct the input and try again.",
        "state_not_writable" => {
            "Look at the server's disk: its state cannot be written, and nothing is changed until it can."
        }
        _ if status >= 500 => "Try again. If it stays, look at the server's log.",
        _ => "`portunus explain CODE` says more about the code.",
    }
}
