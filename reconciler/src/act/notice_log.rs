//! Notices as lines of the log: what moved, with a fixed phrase and its facts as fields. I/O.

use tracing::{debug, error, info, warn};

use schema::canonical::Digest;
use schema::health::{RuleHealth, TargetState};
use schema::name::EdgeName;
use schema::state::RuleState;

use crate::decide::fleet::{Fleet, Notice, Outcome, Verdict};
use crate::decide::held::held;

/// The target of lines that say of each edge and rule that it is as it should be.
const ROUTINE: &str = "reconciler::routine";

/// Writes the line of a notice; `fleet` is as it was left by what the notice is about.
#[expect(clippy::too_many_lines, reason = "a line for each notice, in one match that is exhaustive")]
pub(super) fn write(notice: &Notice, fleet: &Fleet) {
    match notice {
        Notice::Edge { edge, connected, generation, desired_generation } => {
            let Counts { rules, failed, targets_down } = Counts::of(edge, fleet);
            if *connected && failed == 0 {
                info!(target: ROUTINE, edge = %edge, connected, generation, desired_generation, rules, failed, targets_down, "edge changed");
            } else {
                info!(edge = %edge, connected, generation, desired_generation, rules, failed, targets_down, "edge changed");
            }
        }
        Notice::Unsettled { edge, code, message } => error!(edge = %edge, code, message, "edge does not settle"),
        Notice::Certificate { edge, stage, expires_at } => {
            let (of, stage) = (edge.as_ref().map_or("the authority", EdgeName::as_str), stage.as_str());
            warn!(of, stage, %expires_at, "certificate changed");
        }
        Notice::Rule { edge, rule, state, code, message } => {
            let state = state.map_or("gone", schema::state::RuleState::as_str);
            if code.is_empty() {
                info!(target: ROUTINE, edge = %edge, rule = %rule, state, "rule changed");
            } else {
                warn!(edge = %edge, rule = %rule, state, code, message, "rule changed");
            }
        }
        Notice::Health { edge, rule, from, to } => {
            let health = to.map_or("none", RuleHealth::as_str);
            if [*from, *to].contains(&Some(RuleHealth::Down)) {
                info!(edge = %edge, rule = %rule, health, "health changed");
            } else {
                // Rules come and go with their health, and get a first verdict.
                debug!(edge = %edge, rule = %rule, health, "health changed");
            }
        }
        Notice::Balance { edge, rule, from, to, sticky } => {
            info!(edge = %edge, rule = %rule, from, to, sticky, "balance changed");
        }
        Notice::Target { edge, rule, target, from, to, code, detail, .. } => {
            let state = to.as_str();
            let is_first = from.is_none_or(|from| from == TargetState::Unknown);
            if is_first && matches!(to, TargetState::Unknown | TargetState::Up) {
                debug!(edge = %edge, rule = %rule, target, state, code, detail, "target changed");
            } else {
                info!(edge = %edge, rule = %rule, target, state, code, detail, "target changed");
            }
        }
        Notice::Weights { edge, rule, eligible, .. } => {
            debug!(edge = %edge, rule = %rule, ?eligible, "weights changed");
        }
        Notice::TargetOverride { edge, turn, by, deviation } => {
            let (rule, words) = (&deviation.rule, deviation.in_words());
            warn!(edge = %edge, rule = %rule, by, turn = turn.as_str(), words, "override of a target");
        }
        Notice::Quota { edge, rule, owner, state, used, limit, .. } => {
            let (rule, state) = (rule.as_ref().map_or("-", |rule| rule.as_str()), state.as_str());
            warn!(edge = %edge, rule, owner, state, used, limit, "quota changed");
        }
        Notice::Freeze { frozen: Some(freeze), .. } => warn!(by = freeze.by, why = freeze.why, "applying is frozen"),
        Notice::Freeze { frozen: None, by, why } => info!(by, why, "applying is no longer frozen"),
        Notice::Hold { hold, by } => info!(by, held = hold.is_some(), "hold changed"),
        Notice::Tree { digest, commit, verdict } => tree(digest, commit.as_deref(), verdict, fleet),
        Notice::Remote { url, reference, error: Some(error), .. } => {
            warn!(url, reference, error, "the git remote cannot be reached");
        }
        Notice::Remote { url, reference, commit, error: None } => {
            info!(url, reference, commit = commit.as_deref().unwrap_or("-"), "the git remote answers again");
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

/// What came of a tree, in words where it is not applied.
fn tree(digest: &Digest, commit: Option<&str>, verdict: &Verdict, fleet: &Fleet) {
    let (commit, outcome) = (commit.unwrap_or("-"), verdict.as_str());
    let (is_held, reason) = held(fleet);
    if is_held && !reason.is_empty() {
        warn!(digest = %digest, commit, outcome, reason, "tree not applied");
    } else {
        info!(digest = %digest, commit, outcome, "tree read");
    }
}

/// How the rules of an edge are.
struct Counts {
    rules: usize,
    failed: usize,
    targets_down: usize,
}

impl Counts {
    fn of(edge: &EdgeName, fleet: &Fleet) -> Self {
        let report = fleet.edges().get(edge).and_then(|view| view.report.as_ref());
        let rules = || report.iter().flat_map(|report| report.rules.values());
        Self {
            rules: rules().count(),
            failed: rules().filter(|rule| rule.state == RuleState::Failed).count(),
            targets_down: rules().flat_map(|rule| &rule.targets).filter(|one| one.state == TargetState::Down).count(),
        }
    }
}
