//! `/ui/rules`

use schema::codes::RuleCode;
use serde_json::json;

use super::{NASTY, golden, layout, now, of};
use crate::act::operator::documents::RuleRow;
use crate::act::page::rules::RulesPage;
use crate::decide::page::query::ViewQuery;
use crate::decide::page::rules::RulesView;

fn page(query: &str, rows: &[RuleRow], counts: (u64, u64)) -> RulesPage {
    let query = ViewQuery::parse(query);
    let rows = rows.iter().map(|row| (&row.edge, &row.status));
    RulesPage { layout: layout("Rules"), view: RulesView::new(&query, rows, counts, now()) }
}

fn rows() -> Vec<RuleRow> {
    of(json!([
        {"edge": "fra-1", "rule": "web", "state": "active", "health": "up", "balance": "round-robin", "connections": 1234,
            "spec": {"listen_port": 443, "owner": "team-web", "targets": [
                {"host": "10.0.0.1", "port": 443}, {"host": "10.0.0.2", "port": 443}, {"host": "10.0.0.3", "port": 443}]},
            "targets": [{"target": "10.0.0.1:443", "state": "up"}, {"target": "10.0.0.2:443", "state": "up"},
                {"target": "10.0.0.3:443", "state": "down"}]},
        {"edge": "fra-1", "rule": "db", "state": "active", "health": "down", "balance": "failover",
            "spec": {"listen_address": "127.0.0.1", "listen_port": 5432, "target": "db.local:5432"},
            "targets": [{"target": "db.local:5432", "state": "down"}]},
        {"edge": "fra-1", "rule": "old", "state": "draining", "connections": 5, "spec": {"listen_port": 80, "target": "h:1"},
            "draining": [{"state": "draining", "ports": ["*:80"], "connections": 5, "ends_at": "2026-01-02T08:00:12Z",
                "secs_left": 12}]},
        {"edge": "fra-1", "rule": "dns", "state": "failed", "code": RuleCode::PortInUse.as_str(), "message": NASTY,
            "spec": {"listen_port": 53, "protocol": "udp", "target": "10.0.0.9:53", "owner": NASTY}},
        {"edge": "nyc-1", "rule": "web", "state": "unknown", "last_state": "active",
            "last_state_at": "2026-01-02T07:50:00Z", "spec": {"listen_port": 443, "target": "10.9.0.1:443"}},
        {"edge": "nyc-1", "rule": "fix", "state": "active", "spec": {"listen_port": 8443, "target": "10.9.0.1:443"},
            "override": {"actor": "ada", "why": NASTY, "since": "2026-01-02T07:00:00Z", "until": "2026-01-02T09:00:00Z"}}
    ]))
}

#[test]
fn rules_are_rows_with_state_health_and_reason() {
    golden("rules_full", &page("", &rows(), (6, 0)));
}

#[test]
fn of_many_rules_a_page_is_shown_and_the_others_are_a_link_away() {
    let query = "owner=team-web&state=active&offset=100&rule=%3Cscript%3Ealert(1)";
    golden("rules_filtered", &page(query, &rows()[..1], (10_000, 12)));
}

#[test]
fn without_rules_the_page_says_why() {
    golden("rules_empty", &page("", &[], (0, 0)));
    let mut refused = page("state=asleep", &[], (0, 0));
    refused.view.filter.refuse(Some("state `asleep`: expected one of up, down"), &mut refused.view.empty);
    golden("rules_refused", &refused);
    golden("rules_nothing_matches", &page("edge=ams-*", &[], (0, 0)));
}
