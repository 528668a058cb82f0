//! What edges said when they were asked to reserve what a plan needs, put into the plan. Pure.
//!
//! Keeps: nothing is called proven that its edge does not hold; what an edge cannot do is a rejection with its code.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schema::name::{EdgeName, RuleName};
use serde::{Deserialize, Serialize};

use super::{Action, Impact, ImpactKind, Plan, PlanDocument, PortChanges, ReasonCode, RuleChange};

/// How sure a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProofStatus {
    /// Its edge holds all that it needs until the lease ends.
    Proven,
    /// It follows from what is known; nothing holds it.
    Modelled,
    /// Its edge tried and could not.
    Refused,
}

/// What an edge said of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// How sure it is.
    pub status: ProofStatus,
    /// Why it is not proven; empty where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// What an edge holds for a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Its number on that edge.
    pub id: u64,
    /// When it ends by itself. It ends sooner with the edge's session and with the next state that the edge takes.
    pub expires_at: Timestamp,
}

/// What one edge answered for one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleProof {
    /// True where it holds all that the rule needs.
    pub proven: bool,
    /// Set where it cannot.
    pub code: String,
    /// Why it cannot or is not proven.
    pub message: String,
}

/// What one edge answered; the error says why it was not asked or did not try.
pub type EdgeProof = Result<(Option<Lease>, BTreeMap<RuleName, RuleProof>), String>;

impl Plan {
    /// The plan with what its edges said.
    #[must_use]
    pub fn proven(mut self, answers: &BTreeMap<EdgeName, EdgeProof>) -> Self {
        for change in &mut self.changes {
            let unasked = Err("the edge was not asked".to_owned());
            prove(change, answers.get(&change.edge).unwrap_or(&unasked));
        }
        self.leases = answers
            .iter()
            .filter_map(|(edge, answer)| Some((edge.clone(), answer.as_ref().ok()?.0.clone()?)))
            .collect();
        self.count();
        self.plan_id = self.compute_id();
        self
    }

    /// The first change that its edge could not reserve.
    pub fn first_refused(&self) -> Option<&RuleChange> {
        let is_refused = |proof: &Proof| proof.status == ProofStatus::Refused;
        self.changes.iter().find(|change| change.proof.as_ref().is_some_and(is_refused))
    }
}

impl PlanDocument {
    /// Proven changes, and those that are not, of a plan that edges were asked about.
    pub fn proof_counts(&self) -> Option<(usize, usize)> {
        let proofs: Vec<&Proof> = self.changes.iter().filter_map(|change| change.proof.as_ref()).collect();
        let proven = proofs.iter().filter(|proof| proof.status == ProofStatus::Proven).count();
        (!proofs.is_empty()).then_some((proven, proofs.len() - proven))
    }
}

fn prove(change: &mut RuleChange, answer: &EdgeProof) {
    // What the planner rejects is not asked for.
    if change.action == Action::Reject {
        return;
    }
    let proof = |status, message: &str| Some(Proof { status, message: message.to_owned() });
    let rules = match answer {
        Ok((_, rules)) => rules,
        Err(reason) => {
            change.proof = proof(ProofStatus::Modelled, reason);
            return;
        }
    };
    change.proof = match rules.get(&change.rule) {
        // Where nothing is said of it nothing is to be bound: the edge has all of it, or it goes.
        None | Some(RuleProof { proven: true, .. }) => proof(ProofStatus::Proven, ""),
        Some(RuleProof { code, message, .. }) if code.is_empty() => proof(ProofStatus::Modelled, message),
        Some(RuleProof { code, message, .. }) => {
            // A rule that failed before is shown so already, and tried again by whoever applies.
            if change.action != Action::Retry {
                change.action = Action::Reject;
                change.code = Some(ReasonCode::read(code));
                change.message = Some(message.clone());
                let PortChanges { keep, release, .. } = std::mem::take(&mut change.ports);
                change.ports.keep = keep.into_iter().chain(release).collect();
                change.impact = Impact { kind: ImpactKind::None, connections: 0, ..change.impact.clone() };
            }
            proof(ProofStatus::Refused, message)
        }
    };
}

#[cfg(test)]
mod tests {
    use schema::codes::RuleCode;

    use super::super::tests::planned_activations;
    use super::*;

    fn answer(proven: bool, code: &str, message: &str) -> RuleProof {
        RuleProof { proven, code: code.to_owned(), message: message.to_owned() }
    }

    #[test]
    fn each_change_says_how_sure_it_is_and_what_cannot_be_is_rejected() {
        let plan = planned_activations(&[("a", "held"), ("a", "taken"), ("a", "unsure"), ("b", "away")]);
        let before = plan.plan_id;
        let rules = [
            ("held", answer(true, "", "")),
            ("taken", answer(false, "port_in_use", "port 81 already bound")),
            ("unsure", answer(false, "", "x does not resolve")),
        ];
        let rules = rules.into_iter().map(|(name, proof)| (RuleName::new(name).expect("a name"), proof)).collect();
        let lease = Lease { id: 7, expires_at: Timestamp::UNIX_EPOCH };
        let a = (EdgeName::new("a").expect("a name"), Ok((Some(lease.clone()), rules)));
        let b = (EdgeName::new("b").expect("a name"), Err("the edge is not connected".to_owned()));
        let proven = plan.proven(&[a, b].into());
        let status = |rule: &str| {
            let change = proven.changes.iter().find(|change| change.rule.as_str() == rule).expect("planned");
            (change.action, change.proof.clone().expect("asked").status)
        };
        assert_eq!(status("held"), (Action::Activate, ProofStatus::Proven));
        assert_eq!(status("taken"), (Action::Reject, ProofStatus::Refused));
        assert_eq!(status("unsure"), (Action::Activate, ProofStatus::Modelled));
        assert_eq!(status("away"), (Action::Activate, ProofStatus::Modelled));
        assert_eq!((proven.summary.activate, proven.summary.reject, proven.summary.ports_bound), (3, 1, 3));
        assert_eq!(proven.first_refused().expect("one").code, Some(RuleCode::PortInUse.into()));
        assert_eq!(PlanDocument::from(proven.clone()).proof_counts(), Some((1, 3)));
        assert_eq!(proven.leases.values().collect::<Vec<_>>(), [&lease]);
        assert_ne!(proven.plan_id, before, "another plan: one change of it is rejected");
    }

    #[test]
    fn what_is_held_and_for_how_long_is_no_part_of_a_plans_identity() {
        let plan = planned_activations(&[("a", "held")]);
        let rules = [(RuleName::new("held").expect("a name"), answer(true, "", ""))].into();
        let lease = Lease { id: 7, expires_at: Timestamp::UNIX_EPOCH };
        let answers = [(EdgeName::new("a").expect("a name"), Ok((Some(lease), rules)))].into();
        assert_eq!(plan.clone().proven(&answers).plan_id, plan.plan_id);
    }
}
