//! `/ui/edges` and `/ui/edges/EDGE`

use serde_json::json;

use super::{NASTY, golden, layout, now, of};
use crate::act::operator::documents::RuleRow;
use crate::act::page::edge::EdgePage;
use crate::act::page::edges::EdgesPage;
use crate::decide::page::edge::{EdgeDocuments, EdgeSheet};
use crate::decide::page::edges::EdgesView;
use crate::decide::page::query::ViewQuery;
use crate::decide::status::EdgeStatus;

fn edges() -> Vec<EdgeStatus> {
    of(json!([
        {"name": "fra-1", "connected": true, "generation": 12, "desired_generation": 12, "since": "2026-01-02T06:00:00Z",
            "last_seen": "2026-01-02T07:59:59Z", "version": "0.1.0", "labels": {"region": "fra", "stage": NASTY},
            "certificate_expires_at": "2026-01-03T06:00:00Z",
            "summary": {"rules": 10, "active": 8, "failed": 1, "draining": 1, "down": 2, "connections": 1234,
                "targets": {"all": 20, "up": 17, "down": 3}}},
        {"name": "nyc-1", "connected": false, "generation": 11, "desired_generation": 12, "since": "2026-01-02T07:30:00Z",
            "last_seen": "2026-01-02T07:30:00Z", "version": NASTY, "summary": {"rules": 10, "unknown": 10}},
        {"name": "old-1", "connected": false, "revoked": true, "summary": {}},
        {"name": "new-1", "summary": {}}
    ]))
}

fn list(query: &str, edges: &[EdgeStatus], counts: (u64, u64)) -> EdgesPage {
    EdgesPage { layout: layout("Edges"), view: EdgesView::new(&ViewQuery::parse(query), edges, counts, now()) }
}

#[test]
fn edges_are_rows_with_what_needs_a_look() {
    golden("edges_full", &list("", &edges(), (4, 0)));
    golden("edges_empty", &list("", &[], (0, 0)));
    golden("edges_nothing_matches", &list("state=offline&limit=250", &[], (0, 3)));
}

fn page(edge: &EdgeStatus, rows: &[RuleRow], is_admin: bool) -> EdgePage {
    let rules: Vec<_> = rows.iter().map(|row| (row.edge.clone(), row.status.clone())).collect();
    let drift = of(json!([{"edge": "fra-1", "rule": null, "kind": "stale_generation", "code": "stale_generation",
        "message": "the edge runs generation 11, but 12 is desired"}]));
    let drift: Vec<_> = if edge.connected { drift } else { Vec::new() };
    let documents = EdgeDocuments { edge, rules: &rules, total: rules.len() as u64, drift: &drift, is_admin };
    EdgePage { layout: layout("fra-1"), view: EdgeSheet::new(&ViewQuery::default(), documents, now()) }
}

#[test]
fn an_edge_shows_what_it_can_do_and_what_deviates_on_it() {
    let edge: EdgeStatus = of(json!({"name": "fra-1", "connected": true, "generation": 11, "desired_generation": 12,
        "since": "2026-01-02T06:00:00Z", "last_seen": "2026-01-02T07:59:59Z", "version": "0.1.0", "address": "192.0.2.1:50000",
        "labels": {"region": "fra"}, "certificate_expires_at": "2026-01-03T06:00:00Z",
        "capabilities": ["tcp", "udp", "port_range"], "limits": {"rules": 10_000, "file_descriptors": 65_536},
        "policy": {"listen_ports": ["8000-8999"], "target_networks": ["10.0.0.0/8"], "max_rules": 100,
            "allow_metadata_targets": false},
        "own_listeners": ["127.0.0.1:7082"], "ephemeral_ports": ["32768-60999"],
        "target_overrides": [{"rule": "web", "target": "10.0.0.2:443", "operation": "weight", "weight": 20, "actor": NASTY,
            "why": NASTY, "since": "2026-01-02T07:00:00Z"}]}));
    let rows: Vec<RuleRow> = of(json!([{"edge": "fra-1", "rule": "web", "state": "active", "health": "up",
        "spec": {"listen_port": 443, "target": "10.0.0.1:443"}, "targets": [{"target": "10.0.0.1:443", "state": "up"}]}]));
    golden("edge_full", &page(&edge, &rows, true));
    golden("edge_viewer", &page(&edge, &rows, false));
}

#[test]
fn an_edge_that_never_came_has_no_rules_and_can_be_forgotten() {
    let edge: EdgeStatus = of(json!({"name": "new-1"}));
    golden("edge_never_seen", &page(&edge, &[], true));
    let edge: EdgeStatus = of(json!({"name": "old-1", "revoked": true, "last_seen": "2026-01-01T08:00:00Z",
        "confirmation": "missed"}));
    golden("edge_revoked", &page(&edge, &[], true));
}
