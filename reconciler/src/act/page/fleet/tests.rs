//! The first view of fleets in each state, as it is rendered.

use serde_json::{Value, json};

use super::*;
use crate::act::page::goldens;

fn digest() -> String {
    format!("sha256:{}", "a1".repeat(32))
}

fn summary(changes: &Value) -> FleetSummary {
    let source = json!({
        "vcs": "git", "commit": "0123456789abcdef0123456789abcdef01234567", "ref": "main",
        "author": "Ann <ann@example.org>", "subject": "web: a second target",
        "committed_at": "2026-01-02T09:40:00Z", "dirty": false, "digest": digest(),
    });
    let mut document = json!({
        "in_sync": true, "mode": "apply",
        "revision": {
            "digest": digest(), "commit": source["commit"], "applied": source, "applied_at": "2026-01-02T09:57:00Z",
            "actor": "watch", "apply_id": "a7", "attempted": source, "attempted_at": "2026-01-02T09:56:58Z",
            "verdict": { "outcome": "applied" },
        },
        "edges": { "all": 3, "connected": 3 },
        "rules": { "all": 1200, "up": 1190, "states": { "active": 1200 } },
        "targets": { "all": 2400, "up": 2390, "unknown": 10, "unchecked": 10 },
        "connections": 48213,
    });
    for (key, value) in changes.as_object().into_iter().flatten() {
        match (document[key].as_object_mut(), value) {
            (Some(known), Value::Object(more)) => known.extend(more.clone()),
            _ => document[key.as_str()] = value.clone(),
        }
    }
    serde_json::from_value(document).expect("a summary")
}

fn check(name: &str, role: Role, summary: &FleetSummary) {
    let now = "2026-01-02T10:00:00Z".parse().expect("a time");
    let layout = goldens::layout_of("Fleet", "/ui/", role, summary);
    goldens::whole(name, &FleetPage { layout, view: view(summary, role >= Role::Applier, now) });
}

#[test]
fn an_empty_fleet_says_how_to_begin() {
    check("fleet-empty", Role::Admin, &FleetSummary::default());
}

#[test]
fn a_fleet_in_sync_is_calm() {
    check("fleet-in-sync", Role::Viewer, &summary(&json!({})));
}

#[test]
fn what_differs_and_what_is_down_needs_a_look() {
    let down = json!([
        { "target": "10.0.0.7:80", "rules": 30, "edges": 3, "since": "2026-01-02T09:30:00Z",
          "last": { "code": "L7STS", "detail": "HTTP 503", "at": "2026-01-02T09:59:58Z" } },
        { "target": "db.example.org:5432", "rules": 1, "edges": 1, "rule": "edge-01/db",
          "since": "2026-01-02T09:59:00Z", "last": { "code": "L4CON", "detail": "connection refused" } },
    ]);
    check(
        "fleet-drift",
        Role::Applier,
        &summary(&json!({
            "in_sync": false, "down": down,
            "rules": { "down": 2, "down_first": ["edge-01/db", "edge-02/<script>"], "overrides": 1,
                       "states": { "active": 1198, "failed": 2 } },
            "targets": { "up": 2359, "down": 31, "paused": 2 },
            "drift": { "failed": 2, "changed": 1, "override": 1 }, "target_overrides": 2, "draining": 12,
            "hidden": 4, "ledger_broken": 3,
        })),
    );
}

#[test]
fn an_edge_that_is_offline_is_named_with_the_time_when_it_was_seen() {
    let apply = json!({
        "id": "a8", "plan_id": digest(), "digest": digest(), "commit": null, "actor": "ann", "outcome": "partial",
        "started_at": "2026-01-02T09:57:00Z", "finished_at": "2026-01-02T09:58:00Z",
        "stopped": "wave 1 failed on edge-02",
        "edges": [
            { "edge": "edge-01", "outcome": "done", "generation": 4, "code": "", "message": "", "rules": [] },
            { "edge": "edge-02", "outcome": "timeout", "generation": 4, "code": "ack_timeout",
              "message": "the edge did not answer in time", "rules": [] },
        ],
    });
    check(
        "fleet-stale",
        Role::Admin,
        &summary(&json!({
            "in_sync": false, "apply": apply, "drift": { "edge_offline": 2 },
            "edges": { "connected": 1, "offline": { "edge-02": "2026-01-02T09:57:30Z", "edge-03": null } },
        })),
    );
}

#[test]
fn a_revision_that_is_held_says_why_and_for_how_long() {
    let hold = json!({ "digest": digest(), "commit": null, "by": "ann", "why": "latency", "since": "2026-01-02T09:50:00Z",
        "apply_id": "a7", "followed": null });
    let errors = json!([{ "severity": "error", "code": "port_clash", "message": "two rules claim port 80 of edge-01",
        "file": "web.toml", "line": 12, "column": 1 }]);
    check(
        "fleet-held",
        Role::Applier,
        &summary(&json!({
            "in_sync": false,
            "revision": { "held": true, "hold": hold, "reason": "ann rolled back at 2026-01-02T09:50:00Z: latency",
                "verdict": { "outcome": "held" }, "errors": errors,
                "attempted": { "vcs": "git", "commit": "fedcba9876543210fedcba9876543210fedcba98", "ref": "main",
                    "author": null, "committed_at": null, "dirty": false, "digest": format!("sha256:{}", "b2".repeat(32)) },
                "remote": { "url": "https://git.example.org/rules.git", "ref": "main", "path": "fleet", "failures": 3, "fetched": 9, "failed": 3,
                    "commit": "fedcba9876543210fedcba9876543210fedcba98", "fetched_at": "2026-01-02T09:59:30Z",
                    "attempted_at": "2026-01-02T09:59:59Z", "error": "connection timed out" } },
        })),
    );
}

#[test]
fn a_freeze_shows_who_and_why_and_how_it_is_lifted() {
    let frozen = json!({ "by": "bob", "why": "release of the shop, <b>no</b> changes", "since": "2026-01-02T08:00:00Z",
        "until": "2026-01-02T18:00:00Z" });
    let apply = json!({
        "id": "a9", "plan_id": digest(), "digest": digest(), "commit": null, "actor": "ann", "outcome": "running",
        "started_at": "2026-01-02T07:59:00Z", "finished_at": null, "paused": "the fleet is frozen",
        "edges": [{ "edge": "edge-01", "outcome": "done", "generation": 4, "code": "", "message": "", "rules": [] },
            { "edge": "edge-02", "outcome": "waiting", "generation": 4, "code": "", "message": "", "rules": [] }],
    });
    check("fleet-frozen", Role::Applier, &summary(&json!({ "frozen": frozen, "apply": apply, "in_sync": false })));
}
