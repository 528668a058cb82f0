//! Rules and ports without a connection as text. Pure.

use jiff::Timestamp;
use reconciler::decide::unused::{UnusedDocument, UnusedRow};

use super::table::Columns;
use super::words::{ago, lasting};

/// Ranges that a row names.
const RANGES: usize = 4;

/// The rows, or that there are none.
pub(crate) fn text(document: &UnusedDocument, now: Timestamp) -> String {
    if document.rules.is_empty() {
        return format!("Every rule and port was used within {}.\n", lasting(document.for_secs));
    }
    let mut columns = Columns::new(&["RULE", "OWNER", "PORTS", "LAST CONNECTION", "ON THE EDGE SINCE"]);
    for row in &document.rules {
        columns.row(&[
            format!("{}/{}", row.edge, row.rule),
            row.owner.clone(),
            ports(row),
            row.last_connection_at.map_or_else(|| "none".to_owned(), |at| ago(at, now)),
            age(row),
        ]);
    }
    columns.text("")
}

fn ports(row: &UnusedRow) -> String {
    let mut text = row.ports.iter().take(RANGES).cloned().collect::<Vec<_>>().join(", ");
    let left_out = row.ports.len().saturating_sub(RANGES);
    if left_out > 0 {
        text.extend([" and ", &left_out.to_string(), " more"]);
    }
    if row.whole { format!("all ({text})") } else { text }
}

fn age(row: &UnusedRow) -> String {
    let note = if row.younger { ", younger than asked" } else { "" };
    format!("{} ago{note}", lasting(row.age_secs))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_row_says_what_is_unused_and_how_old_the_rule_is() {
        let rules = json!([{"edge": "fra-1", "rule": "web", "owner": "team-a", "ports": ["443"], "whole": true,
            "last_connection_at": null, "since": "2026-01-01T08:00:00Z", "age_secs": 86400, "younger": true}]);
        let document = |rules: serde_json::Value| {
            let document = json!({"format_version": "1.0", "kind": "unused", "for_secs": 2_592_000, "unanswered": [],
                "rules": rules});
            let now = "2026-01-02T08:00:00Z".parse().expect("a time");
            text(&serde_json::from_value(document).expect("a document"), now)
        };
        let shown = document(rules);
        assert!(shown.contains("fra-1/web") && shown.contains("all (443)") && shown.contains("none"), "{shown}");
        assert!(shown.contains("younger than asked"), "{shown}");
        assert!(document(json!([])).starts_with("Every rule and port was used within"));
    }
}
