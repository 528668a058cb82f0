//! Whether a desired state is taken at all. Pure.
//!
//! Keeps: a generation never goes down, and one generation means one set of rules.

use schema::canonical::{self, Digest};
use schema::codes::RuleCode;
use schema::proto::{DesiredState, RuleSpec};

use prost::Message as _;

/// The desired state that the edge accepted last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Accepted {
    /// The line of generations that it belongs to; empty before the first.
    pub lineage: String,
    /// 0 before the first.
    pub generation: u64,
    /// Digest of its rules.
    pub digest: Digest,
}

/// What to do with a desired state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It is newer: apply it.
    Apply(Accepted),
    /// It is the accepted one again: report, touch nothing.
    Repeat,
    /// It is refused as a whole; the session goes on.
    Refuse(Refused),
    /// Server and edge disagree about what a generation holds: refused, and the session ends.
    ProtocolError(Refused),
}

/// Why a desired state was refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The code of the report.
    pub code: RuleCode,
    /// One sentence.
    pub message: String,
}

/// Decides about one desired state.
pub fn admit(accepted: &Accepted, incoming: &DesiredState) -> Admission {
    let refused = |code, message: String| Refused { code, message };
    let digest = specs_digest(&incoming.rules);
    if Digest::from_bytes(&incoming.digest) != Some(digest) {
        let message =
            format!("generation {} arrived with a digest that is not the one of its rules", incoming.generation);
        return Admission::ProtocolError(refused(RuleCode::InvalidRule, message));
    }
    if incoming.generation < accepted.generation || incoming.generation == 0 {
        let message = format!("generation {} is older than {}", incoming.generation, accepted.generation);
        return Admission::Refuse(refused(RuleCode::StaleGeneration, message));
    }
    if incoming.generation == accepted.generation {
        if accepted.digest == digest && accepted.lineage == incoming.lineage {
            return Admission::Repeat;
        }
        let message = format!("generation {} is accepted already with other content", incoming.generation);
        return Admission::ProtocolError(refused(RuleCode::StaleGeneration, message));
    }
    Admission::Apply(Accepted { lineage: incoming.lineage.clone(), generation: incoming.generation, digest })
}

/// The digest of rules as they were received: for valid rules that of [`canonical::rules_digest`], and
/// one that can be computed too where a rule is not valid here.
fn specs_digest(specs: &[RuleSpec]) -> Digest {
    let encoded: Vec<Vec<u8>> = specs.iter().map(RuleSpec::encode_to_vec).collect();
    canonical::digest_parts(encoded.iter().map(Vec::as_slice))
}

#[cfg(test)]
mod tests {
    use super::*;
    use schema::testing::rule;
    use schema::wire::rule_to_wire;

    fn desired(generation: u64, names: &[&str]) -> DesiredState {
        let rules: Vec<_> = names.iter().map(|name| rule(name, 8000, 8001)).collect();
        DesiredState {
            lineage: "line".to_owned(),
            generation,
            digest: canonical::rules_digest(rules.iter().map(AsRef::as_ref)).as_bytes().to_vec(),
            rules: rules.iter().map(|rule| rule_to_wire(rule)).collect(),
        }
    }

    fn accepted(state: &DesiredState) -> Accepted {
        match admit(&Accepted::default(), state) {
            Admission::Apply(accepted) => accepted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_newer_generation_is_applied_and_the_same_again_is_a_repeat() {
        let now = accepted(&desired(3, &["a"]));
        assert_eq!(admit(&now, &desired(3, &["a"])), Admission::Repeat);
        assert!(matches!(admit(&now, &desired(4, &[])), Admission::Apply(Accepted { generation: 4, .. })));
    }

    #[test]
    fn a_stale_generation_is_refused() {
        let now = accepted(&desired(3, &["a"]));
        let Admission::Refuse(refused) = admit(&now, &desired(2, &["a"])) else { panic!("admitted") };
        assert_eq!(refused.code, RuleCode::StaleGeneration);
    }

    #[test]
    fn the_same_generation_with_other_content_is_a_protocol_error() {
        let now = accepted(&desired(3, &["a"]));
        let Admission::ProtocolError(refused) = admit(&now, &desired(3, &["b"])) else { panic!("admitted") };
        assert_eq!(refused.code, RuleCode::StaleGeneration);
    }

    #[test]
    fn a_digest_that_is_not_of_the_rules_is_a_protocol_error() {
        let mut state = desired(3, &["a"]);
        state.digest[0] ^= 1;
        assert!(matches!(admit(&Accepted::default(), &state), Admission::ProtocolError(_)));
    }
}
