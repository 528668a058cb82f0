//! Server-sent events: a snapshot, then what happens; what was missed is told again, or is in the next snapshot.

use std::time::Duration;

use reconciler::act::guarded::Guards;
use serde_json::json;
use tempfile::TempDir;

use super::{LONG, RULES, Running};

fn one_rule() -> serde_json::Value {
    json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } })
}

#[tokio::test]
async fn a_listener_gets_a_snapshot_and_then_what_happens() {
    let server = Running::start().await;
    let mut events = server.api().events("/v1/events").await;
    let snapshot = events.next().await.expect("a snapshot");
    assert_eq!((snapshot.name.as_str(), &snapshot.data["kind"]), ("snapshot", &json!("status")));
    let session = server.session("local").await;
    let edge = events.next().await.expect("an event");
    assert_eq!((edge.name.as_str(), &edge.data["connected"]), ("edge", &json!(true)));
    let number = |id: &Option<String>| id.as_ref().and_then(|id| id.parse::<u64>().ok()).expect("a number");
    assert!(number(&edge.id) > number(&snapshot.id));
    drop(session);
    assert_eq!(events.named("edge").await.data["connected"], json!(false));
    server.stop().await;
    assert!(events.next().await.is_none(), "the stream ends with the server");
}

#[tokio::test]
async fn who_was_away_for_a_moment_is_told_what_it_missed() {
    let server = Running::start().await;
    let mut first = server.api().events("/v1/events").await;
    let snapshot = first.next().await.expect("a snapshot");
    let resumed = |id: &str| {
        let mut api = server.api();
        api.headers = format!("last-event-id: {id}\r\n");
        async move { api.events("/v1/events").await }
    };
    let id = snapshot.id.expect("a snapshot is numbered");
    let mut up_to_date = resumed(&id).await;
    let session = server.session("local").await;
    assert_eq!(up_to_date.next().await.expect("an event").name, "edge");
    let mut behind = resumed(&id).await;
    let caught_up = behind.next().await.expect("the event");
    assert_eq!((caught_up.name.as_str(), &caught_up.data["edge"]), ("edge", &json!("local")));
    drop(session);
    // And goes on with what happens.
    assert_eq!(behind.named("edge").await.data["connected"], json!(false));
    // A number of an earlier life of the server is never the newest one.
    let dir = server.stop().await;
    let server = Running::start_in(dir).await;
    let mut api = server.api();
    api.headers = format!("last-event-id: {}\r\n", caught_up.id.expect("a number"));
    assert_eq!(api.events("/v1/events").await.next().await.expect("a snapshot").name, "snapshot");
    server.stop().await;
}

#[tokio::test]
async fn streams_of_one_operator_leave_places_to_the_others() {
    let guards = Guards { operator_cap: 16, ..Guards::within(1024) };
    let server = Running::start_with(TempDir::new().unwrap(), guards).await;
    let viewer = server.operator("vera", "viewer", json!({})).await;
    let mut streams = Vec::new();
    for _ in 0..13 {
        let mut events = viewer.events("/v1/events").await;
        assert_eq!(events.next().await.expect("a snapshot").name, "snapshot");
        streams.push(events);
    }
    let refused = viewer.get("/v1/events").await;
    refused.is_problem(429, "too_many_streams");
    assert!(refused.body.contains("13 event streams"), "{refused:?}");
    assert_eq!(viewer.get("/v1/status").await.status, 200, "requests are served");
    let mut other = server.api().events("/v1/events").await;
    assert_eq!(other.next().await.expect("a snapshot").name, "snapshot");
    // A place is free again once its stream is closed.
    streams.pop();
    let second = Duration::from_secs(1);
    // A refusal is an answer with an end, and a stream has none.
    let again = async { while tokio::time::timeout(second, viewer.get("/v1/events")).await.is_ok() {} };
    tokio::time::timeout(LONG, again).await.expect("a place");
    server.stop().await;
}

#[tokio::test]
async fn the_events_of_an_apply_end_with_it() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let begun = server.api().post("/v1/apply", &one_rule()).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let id = begun.json::<serde_json::Value>()["id"].as_str().expect("an id").to_owned();
    let mut events = server.api().events(&format!("/v1/applies/{id}/events")).await;
    assert_eq!(events.next().await.expect("the state now").data["outcome"], json!("running"));
    let desired = session.desired().await;
    session.accept(&desired).await;
    let mut last = events.next().await.expect("a step");
    while let Some(event) = events.next().await {
        last = event;
    }
    assert_eq!((last.name.as_str(), &last.data["outcome"]), ("apply", &json!("applied")));
    let missing = server.api().get("/v1/applies/a999/events").await;
    missing.is_problem(404, "not_found");
    server.stop().await;
}
