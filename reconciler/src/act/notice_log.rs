//! Notices as lines of the log: what moved, with a fixed phrase and its facts as fields. I/O.

use tracing::{debug, error, info, warn};

use crate::decide::fleet::{Notice, Outcome};

/// Writes the line of a notice.
pub(super) fn write(notice: &Notice) {
    match notice {
        Notice::Edge { edge, connected, generation, desired_generation } => {
            info!(edge = %edge, connected, generation, desired_generation, "edge changed");
        }
        Notice::Unsettled { edge, code, message } => error!(edge = %edge, code, message, "edge does not settle"),
        Notice::Rule { edge, rule, state, code, message } => {
            let state = state.map_or("gone", schema::state::RuleState::as_str);
            if code.is_empty() {
                info!(edge = %edge, rule = %rule, state, "rule changed");
            } else {
                warn!(edge = %edge, rule = %rule, state, code, message, "rule changed");
            }
        }
        Notice::Health { edge, rule, to, .. } => {
            info!(edge = %edge, rule = %rule, health = to.map_or("none", schema::health::RuleHealth::as_str), "health changed");
        }
        Notice::Target { edge, rule, target, to, code, detail, .. } => {
            info!(edge = %edge, rule = %rule, target, state = to.as_str(), code, detail, "target changed");
        }
        Notice::Weights { edge, rule, eligible, .. } => {
            debug!(edge = %edge, rule = %rule, ?eligible, "weights changed");
        }
        Notice::TargetOverride { edge, turn, by, deviation } => {
            let (rule, words) = (&deviation.rule, deviation.in_words());
            warn!(edge = %edge, rule = %rule, by, turn = turn.as_str(), words, "override of a target");
        }
        Notice::Freeze { frozen: Some(freeze) } => warn!(by = freeze.by, why = freeze.why, "applying is frozen"),
        Notice::Freeze { frozen: None } => info!("applying is no longer frozen"),
        Notice::Hold { hold } => info!(held = hold.is_some(), "hold changed"),
        Notice::Tree { digest, commit, verdict } => {
            info!(digest = %digest, commit = commit.as_deref().unwrap_or("-"), ?verdict, "tree read");
        }
        Notice::Remote { url, reference, error: Some(error), .. } => {
            warn!(url, reference, error, "the git remote could not be asked");
        }
        Notice::Remote { url, reference, commit, error: None } => {
            info!(url, reference, commit = commit.as_deref().unwrap_or("-"), "the git remote answers");
        }
        Notice::Override { edge, rule, step, actor, why, until } => {
            warn!(edge = %edge, rule = %rule, ?step, actor, why, until = %until, "override changed");
        }
        Notice::Apply { result } if result.outcome == Outcome::Running => {
            debug!(apply = %result.id, "apply advances");
        }
        Notice::Apply { result } if result.outcome == Outcome::Partial => {
            error!(apply = %result.id, actor = %result.actor, outcome = result.outcome.as_str(), "apply ended");
        }
        Notice::Apply { result } => {
            info!(apply = %result.id, actor = %result.actor, outcome = result.outcome.as_str(), "apply ended");
        }
    }
}
