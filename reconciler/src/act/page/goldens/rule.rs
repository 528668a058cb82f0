//! `/ui/rules/EDGE/RULE`

use schema::codes::RuleCode;
use schema::name::EdgeName;
use serde_json::{Value, json};

use super::{NASTY, golden, layout, now, of};
use crate::act::page::rule::RulePage;
use crate::decide::drift::Drift;
use crate::decide::page::rule::{RuleDocuments, RuleSheet};
use crate::decide::statistics::StatsDocument;
use crate::decide::status::{EdgeStatus, RuleStatus};

struct Documents {
    rule: RuleStatus,
    stats: Result<StatsDocument, &'static str>,
    around: Option<EdgeStatus>,
    drift: Vec<Drift>,
}

fn page(documents: &Documents, may_steer: bool) -> RulePage {
    let edge = EdgeName::new("fra-1").expect("a name");
    let documents = RuleDocuments {
        edge: &edge,
        rule: &documents.rule,
        stats: documents.stats.as_ref().map_err(|why| *why),
        around: documents.around.as_ref(),
        drift: &documents.drift,
    };
    RulePage {
        layout: layout("fra-1/web"),
        view: RuleSheet::new(documents, now()),
        may_steer,
        may_propose: may_steer,
        stream: "/ui/live/rules/fra-1/web?per_target=true&per_port=true".to_owned(),
        live: "live.js".to_owned(),
    }
}

fn down() -> Value {
    json!({"target": "10.0.0.2:443", "state": "down", "priority": 0, "weight": 100, "effective_weight": 0,
        "since": "2026-01-02T07:50:00Z", "last": {"code": "L7STS", "detail": "HTTP 503", "at": "2026-01-02T07:59:50Z"},
        "history": [
            {"from": "up", "to": "down", "at": "2026-01-02T07:50:00Z", "layer": "L7", "code": "L7STS", "detail": "HTTP 503"},
            {"from": "unknown", "to": "up", "at": "2026-01-02T07:00:00Z", "layer": "L7", "code": "L7OK", "detail": "HTTP 200"}]})
}

fn up() -> Value {
    json!({"target": "10.0.0.1:443", "state": "up", "priority": 0, "weight": 100, "effective_weight": 100,
        "since": "2026-01-02T07:00:00Z", "last": {"code": "L7OK", "detail": "HTTP 200", "at": "2026-01-02T07:59:58Z"}})
}

fn full() -> Documents {
    let rule = json!({"rule": "web", "state": "active", "health": "up", "balance": "round-robin", "connections": 12,
        "origin": {"file": "web.toml", "line": 3, "column": 1},
        "spec": {"description": NASTY, "listen_port": 443, "owner": "team-web", "max_connections": 500,
            "health": {"kind": "https", "path": "/healthz", "interval_secs": 5},
            "targets": [{"host": "10.0.0.1", "port": 443}, {"host": "10.0.0.2", "port": 443}]},
        "targets": [up(), down()],
        "draining": [{"state": "draining", "ports": ["*:8443"], "connections": 5, "ends_at": "2026-01-02T08:00:12Z",
            "secs_left": 12}]});
    let stats = json!({"edge": "fra-1", "rule": "web", "at": "2026-01-02T08:00:00Z", "bytes_in": 1_048_576, "bytes_out": 52_428_800,
        "active_connections": 12, "connections_total": 3456, "connections_refused": 2,
        "rates": {"bytes_in_per_sec": 2048.0, "bytes_out_per_sec": 102_400.0, "connections_per_sec": 1.5, "over_secs": 5.0},
        "ports": [{"port": 443, "bytes_in": 1_048_576, "bytes_out": 52_428_800, "active_connections": 12, "connections_total": 3456}],
        "targets": [
            {"host": "10.0.0.1", "port": 443, "state": "up", "bytes_in": 1_000_000, "bytes_out": 50_000_000, "active_connections": 12,
                "last_success": "2026-01-02T07:59:59Z", "report": up()},
            {"host": "10.0.0.2", "port": 443, "state": "down", "bytes_in": 48_576, "bytes_out": 2_428_800,
                "last_failure": "2026-01-02T07:55:00Z", "report": down()}]});
    let around = json!({"name": "fra-1", "connected": true, "target_overrides": [{"rule": "web", "target": "10.0.0.2:443",
        "operation": "pause", "actor": "ada", "why": NASTY, "since": "2026-01-02T07:00:00Z", "until": "2026-01-02T09:00:00Z"}]});
    Documents { rule: of(rule), stats: Ok(of(stats)), around: Some(of(around)), drift: Vec::new() }
}

#[test]
fn a_rule_shows_targets_with_reasons_counters_and_what_an_operator_may_do() {
    golden("rule_full", &page(&full(), true));
}

#[test]
fn a_viewer_sees_the_same_and_no_form() {
    let page = page(&full(), false);
    golden("rule_viewer", &page);
    assert!(!askama::Template::render(&page).expect("a page").split_once("<main").expect("a view").1.contains("<form"));
}

#[test]
fn an_edge_that_does_not_answer_leaves_what_was_reported_last() {
    let mut documents = full();
    documents.stats = Err("fra-1: the edge is not connected");
    documents.rule.state = schema::state::RuleState::Unknown;
    documents.rule.last_state = Some(schema::state::RuleState::Active);
    documents.rule.last_state_at = Some("2026-01-02T07:50:00Z".parse().expect("a time"));
    documents.around = None;
    golden("rule_stale", &page(&documents, true));
}

#[test]
fn an_override_and_drift_say_who_why_and_until_when() {
    let mut documents = full();
    documents.rule = of(
        json!({"rule": "web", "state": "failed", "code": RuleCode::PortInUse.as_str(), "message": "port 443 is taken",
        "spec": {"listen_port": 443, "protocol": "udp", "target": "h:1"},
        "override": {"actor": NASTY, "why": NASTY, "since": "2026-01-02T07:00:00Z", "until": "2026-01-02T09:00:00Z"}}),
    );
    documents.stats = Err("fra-1 does not have the rule");
    golden("rule_override", &page(&documents, true));
    let mut documents = full();
    documents.drift = of(json!([{"edge": "fra-1", "rule": "web", "kind": "changed", "code": "",
        "message": "the edge runs a version that differs from the applied one",
        "fields": [{"path": "targets[0].host", "before": "10.0.0.1", "after": NASTY}]}]));
    documents.stats = Ok(of(json!({"edge": "fra-1", "rule": "web", "at": "2026-01-02T08:00:00Z"})));
    golden("rule_drift", &page(&documents, true));
}
