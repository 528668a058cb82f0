//! Whether a desired state is taken at all. Pure.
//!
//! Keeps: a generation never goes down, and one generation means one set of rules.

use schema::canonical::{self, Digest};
use schema::codes::RuleCode;
use schema::proto::{self, DesiredState, RuleSpec};

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
        let message = format!("generation {} arrived with a digest that does not match its rules", incoming.generation);
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
        let message = format!("generation {} was already accepted with different content", incoming.generation);
        return Admission::ProtocolError(refused(RuleCode::StaleGeneration, message));
    }
    Admission::Apply(Accepted { lineage: incoming.lineage.clone(), generation: incoming.generation, digest })
}

/// What a desired state was decided from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// The generation that the edge had accepted.
    pub generation: u64,
    /// Digest of the rules that ran.
    pub running: Digest,
}

impl Base {
    /// As the message has it; `None` too where its digest is none, for it names nothing then.
    pub fn read(base: &proto::Base) -> Option<Self> {
        Some(Self { generation: base.generation, running: Digest::from_bytes(&base.running_digest)? })
    }

    /// Why a state that was decided from this must not be applied now, if so. One whose rules are accepted already
    /// changes nothing, whatever it was decided from.
    pub fn refusal(&self, accepted: &Accepted, running: Digest, incoming: &Accepted) -> Option<Refused> {
        let is_the_same = self.generation == accepted.generation && self.running == running;
        let changes_nothing = incoming.digest == accepted.digest && accepted.generation > 0;
        (!is_the_same && !changes_nothing).then(|| {
            let what = if self.generation == accepted.generation {
                "the edge now runs different rules of that generation".to_owned()
            } else {
                format!("generation {} has been accepted since", accepted.generation)
            };
            let message = format!(
                "generation {} was decided from generation {}, and {what}",
                incoming.generation, self.generation
            );
            Refused { code: RuleCode::StaleBase, message }
        })
    }
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
            ..DesiredState::default()
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

    #[test]
    fn a_state_that_was_decided_from_something_else_is_refused_unless_it_changes_nothing() {
        let now = accepted(&desired(3, &["a"]));
        let (running, other) = (Digest::of(b"running"), Digest::of(b"other"));
        let next = accepted(&desired(4, &["b"]));
        let code = |generation, base, incoming: &Accepted| {
            let refused = Base { generation, running: base }.refusal(&now, running, incoming);
            refused.map(|refused| refused.code)
        };
        assert_eq!(code(3, running, &next), None);
        assert_eq!(code(3, other, &next), Some(RuleCode::StaleBase));
        assert_eq!(code(2, running, &next), Some(RuleCode::StaleBase));
        assert_eq!(code(2, other, &accepted(&desired(4, &["a"]))), None);
        // An edge without any state is no exception.
        let refused = Base { generation: 1, running }.refusal(&Accepted::default(), Digest::default(), &next);
        assert_eq!(refused.map(|refused| refused.code), Some(RuleCode::StaleBase));
    }
}
