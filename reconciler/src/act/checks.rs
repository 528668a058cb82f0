//! What a round of probes that an operator asked for comes to. Pure.

use schema::proto;

use super::questions::NoAnswer;
use crate::decide::target::TargetView;

/// Why there are no results.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// The edge gave no answer.
    #[error(transparent)]
    Unanswered(#[from] NoAnswer),
    /// It has nothing to check.
    #[error("{message}")]
    Refused {
        /// `unknown_rule`, `unknown_target` or `no_check`.
        code: String,
        /// In words.
        message: String,
    },
}

/// The targets as they are after the round.
pub type CheckAnswer = Result<Vec<TargetView>, CheckError>;

/// Reads the answer of an edge.
pub(super) fn read(answer: proto::TargetsChecked) -> CheckAnswer {
    match answer.refused {
        Some(refusal) => Err(CheckError::Refused { code: refusal.code, message: refusal.message }),
        None => Ok(answer.targets.into_iter().map(Into::into).collect()),
    }
}
