//! What the fleet decided, as messages to edges. Pure.

use std::sync::Arc;
use std::time::Duration;

use schema::canonical::Digest;
use schema::proto;
use schema::rule::Rule;
use schema::wire;

use crate::decide::view::Basis;

/// A desired state.
pub(super) fn desired(
    lineage: String,
    generation: u64,
    digest: Digest,
    rules: &[Arc<Rule>],
    basis: Option<Basis>,
    confirm_within: Option<Duration>,
) -> proto::DesiredState {
    proto::DesiredState {
        lineage,
        generation,
        digest: digest.as_bytes().to_vec(),
        rules: rules.iter().map(|rule| wire::rule_to_wire(rule)).collect(),
        base: basis.map(|basis| proto::Base {
            generation: basis.generation,
            running_digest: basis.digest.as_bytes().to_vec(),
        }),
        confirm_within_ms: confirm_within.map_or(0, |within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX)),
    }
}
