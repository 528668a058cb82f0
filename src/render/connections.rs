//! Live connections as text: how many there are, then a row for each. Pure.

use jiff::Timestamp;
use reconciler::act::operator::connections::ConnectionsDocument;
use reconciler::decide::connections::ConnectionRow;

use super::table::Columns;
use super::words::{ago, bytes, count, lasting};

/// The count, and the rows.
pub(crate) fn text(document: &ConnectionsDocument, now: Timestamp) -> String {
    let rows = &document.connections;
    if document.total == 0 {
        return "No connections.\n".to_owned();
    }
    let mut text = format!("{}\n\n", count(document.total, "connection"));
    text.push_str(&table(rows, now));
    let left_out = document.total.saturating_sub(rows.len() as u64);
    if left_out > 0 {
        text.extend(["and ", &left_out.to_string(), " more, which --limit omits\n"]);
    }
    text
}

fn table(rows: &[ConnectionRow], now: Timestamp) -> String {
    let headings = ["RULE", "SOURCE", "LISTENER", "TARGET", "SINCE", "#IN", "#OUT", "IDLE", "ID"];
    let mut columns = Columns::new(&headings).yielding(&["TARGET", "LISTENER"]);
    for row in rows {
        let protocol = if row.protocol == "udp" { "/udp" } else { "" };
        let drains = if row.draining { ", draining" } else { "" };
        columns.row(&[
            format!("{}/{}", row.edge, row.rule),
            row.source.clone(),
            format!("{}{protocol}", row.listener),
            row.target.clone(),
            format!("{}{drains}", ago(row.since, now)),
            bytes(row.bytes_in),
            bytes(row.bytes_out),
            lasting(row.idle_secs),
            row.id.clone(),
        ]);
    }
    columns.text("")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_says_how_many_there_are_and_how_many_it_leaves_out() {
        let row = json!({"id": "0000000a-0t1-0", "edge": "fra-1", "rule": "web", "protocol": "tcp",
            "source": "192.0.2.1:5000", "listener": "*:443", "target": "10.0.0.5:443", "since": "2026-01-02T08:00:00Z",
            "bytes_in": 10, "bytes_out": 2048, "idle_secs": 7, "draining": false});
        let document = |total: u64, rows: serde_json::Value| {
            let document = json!({"format_version": "1.0", "kind": "connections", "total": total, "unanswered": [],
                "connections": rows});
            let now = "2026-01-02T08:10:00Z".parse().expect("a time");
            text(&serde_json::from_value(document).expect("a document"), now)
        };
        let shown = document(3, json!([row]));
        assert!(shown.starts_with("3 connections\n\nRULE"), "{shown}");
        assert!(shown.contains("fra-1/web") && shown.contains("192.0.2.1:5000") && shown.contains("0000000a-0t1-0"));
        assert!(shown.ends_with("and 2 more, which --limit omits\n"), "{shown}");
        assert_eq!(document(0, json!([])), "No connections.\n");
    }
}
