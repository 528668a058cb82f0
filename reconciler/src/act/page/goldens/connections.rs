//! `/ui/connections` and the question before connections are ended

use schema::codes::RuleCode;
use serde_json::{Value, json};

use super::{NASTY, golden, layout, now, of};
use crate::act::operator::connections::ConnectionsDocument;
use crate::act::page::connections::{ConnectionsPage, EndingPage, answers};
use crate::decide::page::connections::{ConnectionsView, EndingView};
use crate::decide::page::query::ViewQuery;

fn document(total: u64, connections: &Value) -> ConnectionsDocument {
    of(json!({"format_version": "1.0", "kind": "connections", "total": total, "hidden": 1, "connections": connections,
        "rules": [{"edge": "fra-1", "rule": "web", "connections": total}],
        "unanswered": [{"edge": "nyc-1", "code": RuleCode::ClientNotConnected.as_str(), "message": NASTY}]}))
}

fn connections() -> Value {
    json!([
        {"id": "0000000a-0t1-0", "edge": "fra-1", "rule": "web", "protocol": "tcp", "source": "192.0.2.1:5000",
            "listener": "*:443", "target": "10.0.0.5:443", "since": "2026-01-02T07:00:00Z", "bytes_in": 1024,
            "bytes_out": 5_242_880, "idle_secs": 7, "draining": false},
        {"id": NASTY, "edge": "fra-1", "rule": "web", "protocol": "udp", "source": "[2001:db8::1]:5000",
            "listener": "*:53", "target": NASTY, "since": "2026-01-02T07:59:00Z", "bytes_in": 10, "bytes_out": 20,
            "idle_secs": 0, "draining": true}
    ])
}

fn page(query: &str, found: &ConnectionsDocument, may_end: bool) -> ConnectionsPage {
    let view = ConnectionsView::new(&ViewQuery::parse(query), answers(found), may_end, now());
    ConnectionsPage { layout: layout("Connections"), view, may_end, live: "live.js".to_owned() }
}

#[test]
fn connections_are_rows_and_edges_that_did_not_answer_are_named() {
    golden("connections_full", &page("source=192.0.2.0%2F24", &document(1200, &connections()), true));
    golden("connections_viewer", &page("", &document(2, &connections()), false));
}

#[test]
fn without_connections_the_page_says_why() {
    golden("connections_empty", &page("", &ConnectionsDocument::default(), true));
    golden("connections_nothing_matches", &page("older=10m", &ConnectionsDocument::default(), true));
    golden("connections_unanswered", &page("", &document(0, &json!([])), true));
}

#[test]
fn before_connections_are_ended_it_is_said_which() {
    let found = document(2, &connections());
    let query = ViewQuery::parse("source=192.0.2.0%2F24&edge=fra-*");
    let view = EndingView::new(&query, answers(&found), &found.rules, now());
    golden("connections_end", &EndingPage { layout: layout("End"), view });
}
