//! Edges that go away while the server asks them something: counters, checks and plans alike.

use schema::proto::{self, server_message::Body};
use serde_json::json;

use super::session::{Session, hello};
use super::{RULES, Running};

/// Reads on until the question is there.
async fn asked(session: &mut Session, is_it: impl Fn(&Body) -> bool) {
    while !is_it(&session.receive().await.expect("a question")) {}
}

/// A server whose edge runs the rule `web`, and can prove plans.
async fn serving() -> (Running, Session) {
    let server = Running::start().await;
    let mut first = hello("local");
    if let Some(proto::edge_message::Body::Hello(hello)) = &mut first.body {
        hello.features = vec!["prove".to_owned()];
    }
    let mut session = Session::begin(server.control, first).await.unwrap();
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = session.desired().await;
    let mut events = server.api().events("/v1/events").await;
    session.accept(&desired).await;
    while events.named("apply").await.data["result"]["outcome"] != json!("applied") {}
    (server, session)
}

#[tokio::test]
async fn an_edge_that_goes_away_while_its_counters_are_read_is_an_answer() {
    let (server, mut session) = serving().await;
    let api = server.api();
    let (answer, ()) = tokio::join!(api.get("/v1/rules/local/web/stats"), async move {
        asked(&mut session, |body| matches!(body, Body::StatsRequest(_))).await;
        drop(session);
    });
    let text = format!("{answer:?}");
    answer.is_problem(503, "client_not_connected");
    assert!(text.contains("the edge disconnected before it answered"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_edge_that_goes_away_during_a_check_is_an_answer() {
    let (server, mut session) = serving().await;
    let (api, body) = (server.api(), json!({ "operation": "check" }));
    let (answer, ()) = tokio::join!(api.post("/v1/targets/local/web", &body), async move {
        session.check().await;
        drop(session);
    });
    let text = format!("{answer:?}");
    answer.is_problem(503, "client_not_connected");
    assert!(text.contains("the edge disconnected before it answered"), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn an_edge_that_goes_away_while_a_plan_is_proven_leaves_it_unproven() {
    let (server, mut session) = serving().await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES.replace("18080", "18081") }], "prove_secs": 60 });
    let api = server.api();
    let (answer, ()) = tokio::join!(api.post("/v1/plan", &tree), async move {
        asked(&mut session, |body| matches!(body, Body::Prove(_))).await;
        drop(session);
    });
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = format!("{:?}", answer.json::<serde_json::Value>());
    assert!(text.contains("the edge disconnected before it answered"), "{text}");
    server.stop().await;
}
