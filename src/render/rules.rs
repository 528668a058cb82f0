//! Rules as a table: state, health, where they listen and where they lead, and why they are as they are. Pure.

use jiff::Timestamp;
use reconciler::decide::render::rule_words::{draining, health, listens, reason, state, time_left};
use reconciler::decide::status::RuleStatus;
use reconciler::decide::status::target_rows::spec_targets;
use schema::state::RuleState;

use super::table::Columns;

/// A row for each rule, and one for each group of connections that drain.
pub(crate) fn table<'a>(rows: impl Iterator<Item = (&'a str, &'a RuleStatus)>, now: Timestamp) -> String {
    let mut columns =
        Columns::new(&["RULE", "STATE", "HEALTH", "LISTENS", "TARGET", "#CONNECTIONS", "WHERE", "REASON"])
            .yielding(&["WHERE", "TARGET", "REASON"]);
    for (edge, rule) in rows {
        columns.row(&[
            format!("{edge}/{}", rule.rule),
            state(rule, now),
            health(rule),
            listens(&rule.spec),
            spec_targets(&rule.spec).join(", "),
            rule.connections.to_string(),
            rule.origin.as_ref().map(super::change::place).unwrap_or_default(),
            reason(rule),
        ]);
        // Of a rule that is gone its own row says it.
        for drain in rule.draining.iter().filter(|_| rule.state != RuleState::Draining) {
            columns.row(&[
                format!("{edge}/{}", rule.rule),
                draining(drain.connections, Some(drain.secs_left)),
                String::new(),
                drain.ports.join(", "),
                String::new(),
                drain.connections.to_string(),
                String::new(),
                time_left(drain.secs_left),
            ]);
        }
    }
    columns.text("")
}
