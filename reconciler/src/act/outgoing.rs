//! What the fleet decided, as messages to edges. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use schema::canonical::Digest;
use schema::name::RuleName;
use schema::proto;
use schema::rule::Rule;
use schema::wire;

use crate::decide::view::Basis;

/// How long until then, in milliseconds; never 0, which would be no end.
pub(super) fn rest(until: Timestamp, now: Timestamp) -> u64 {
    u64::try_from(until.duration_since(now).as_millis()).unwrap_or_default().max(1)
}

/// Lets rules of a desired state end by themselves.
pub(super) fn ending(
    desired: proto::DesiredState,
    ends: &BTreeMap<RuleName, Timestamp>,
    now: Timestamp,
) -> proto::DesiredState {
    let end = |(rule, until): (&RuleName, &Timestamp)| proto::RuleEnd {
        rule: rule.to_string(),
        rest_ms: rest(*until, now),
        until_ms: u64::try_from(until.as_millisecond()).unwrap_or_default(),
        at_ms: 0,
    };
    proto::DesiredState { ends: ends.iter().map(end).collect(), ..desired }
}

/// A desired state, how long it waits to be confirmed, and for how long its changes may wait for a quiet moment.
pub(super) struct OutgoingState<'o> {
    pub(super) lineage: String,
    pub(super) generation: u64,
    pub(super) digest: Digest,
    pub(super) rules: &'o [Arc<Rule>],
    pub(super) basis: Option<Basis>,
    pub(super) confirm_within: Option<Duration>,
    pub(super) quiet_window: Duration,
}

/// As the edge receives it.
pub(super) fn desired(state: OutgoingState<'_>) -> proto::DesiredState {
    let OutgoingState { lineage, generation, digest, rules, basis, confirm_within, quiet_window } = state;
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    proto::DesiredState {
        lineage,
        generation,
        digest: digest.as_bytes().to_vec(),
        rules: rules.iter().map(|rule| wire::rule_to_wire(rule)).collect(),
        base: basis.map(|basis| proto::Base {
            generation: basis.generation,
            running_digest: basis.digest.as_bytes().to_vec(),
        }),
        confirm_within_ms: confirm_within.map_or(0, millis),
        quiet_window_ms: millis(quiet_window),
        ends: Vec::new(),
        yields: Vec::new(),
        lists: wire::entry::lists_to_wire(rules.iter().map(|rule| &**rule)),
    }
}
