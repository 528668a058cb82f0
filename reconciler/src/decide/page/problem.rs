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
        "too_many_failed_logins" => {
            "Wait as long as the message says. From other addresses, a valid token is accepted at any time."
        }
        "too_many_streams" => "Close pages or programs that you do not need.",
        "forbidden" => "Ask an admin for a role that allows it, or ask an operator who has that role.",
        "outside_grant" => "Ask an admin for wider limits, or ask an operator whose limits include these changes.",
        "foreign_host" => "Open the page by a name of the server. `serve --operator-host NAME` adds one.",
        "foreign_origin" => "Reload the page and try again.",
        "not_found" => "It may have been removed or renamed. The lists show what there is.",
        "frozen" => "Unfreeze the fleet on its page once the reason for the freeze is gone.",
        "locked" => "Wait until the running apply has ended.",
        "stale" => "The fleet has changed in the meantime. Check the new plan before you try again.",
        "rails" => "The plan shows the rails and the flags that allow it on the command line.",
        _ if is_of_edge(code) => "The edge may be offline or busy. Check it, then try again.",
        "bad_request" => "Correct the input and try again.",
        "state_not_writable" => "Check the disk of the server: nothing can be changed until its state can be written.",
        _ if status >= 500 => "Try again. If the problem persists, the log of the server has details.",
        _ => "`portunus explain CODE` says more about the code.",
    }
}
