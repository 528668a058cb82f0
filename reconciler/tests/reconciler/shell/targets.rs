//! Targets through the server: what an edge says of them, what operators order, and rounds of probes.

use schema::counters::Figures;
use schema::proto::{self, edge_message, server_message};
use serde_json::{Value, json};

use super::session::{Session, message};
use super::{RULES, Running};

const PLACE: &str = "/v1/targets/local/web/127.0.0.1:80";

fn target(state: &str, weight: u32) -> proto::TargetReport {
    proto::TargetReport {
        target: "127.0.0.1:80".to_owned(),
        state: state.to_owned(),
        weight: 100,
        effective_weight: weight,
        since_ms: 1_700_000_000_000,
        last: Some(proto::TargetResult {
            code: "L4CON".to_owned(),
            detail: "refused".to_owned(),
            at_ms: 1_700_000_000_500,
        }),
        history: vec![proto::TargetChange { from: "up".to_owned(), to: "down".to_owned(), ..Default::default() }],
        ..Default::default()
    }
}

/// A server whose edge runs the rule `web`.
async fn serving(health: &str, report: proto::TargetReport) -> (Running, Session, proto::DesiredState) {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = session.desired().await;
    let mut events = server.api().events("/v1/events").await;
    session.accept_with(&desired, Some(health), &[report]).await;
    while events.named("apply").await.data["result"]["outcome"] != json!("applied") {}
    (server, session, desired)
}

#[tokio::test]
async fn status_shows_targets_and_one_that_is_down_is_no_drift() {
    let (server, _session, _) = serving("down", target("down", 0)).await;
    let status: Value = server.api().get("/v1/status").await.json();
    let rule = &status["edges"][0]["rules"][0];
    assert_eq!((&rule["state"], &rule["health"]), (&json!("active"), &json!("down")), "{rule}");
    let shown = &rule["targets"][0];
    assert_eq!((&shown["state"], &shown["last"]["code"]), (&json!("down"), &json!("L4CON")), "{shown}");
    assert_eq!((&shown["weight"], &shown["effective_weight"]), (&json!(100), &json!(0)));
    assert_eq!(shown["history"][0]["to"], json!("down"));
    assert_eq!(shown["since"], json!("2023-11-14T22:13:20Z"));
    assert_eq!(status["drift"], json!([]), "sync and health are two axes");
    let totals = &status["targets"];
    assert_eq!((&totals["all"], &totals["up"], &totals["down"]), (&json!(1), &json!(0), &json!(1)), "{totals}");
    let targets: Value = server.api().get("/v1/targets?state=down").await.json();
    assert_eq!((&targets["totals"]["down"], &targets["targets"][0]["rule"]), (&json!(1), &json!("web")), "{targets}");
    server.api().get("/v1/targets?state=up").await.is_problem(404, "not_found");
    server.api().get("/v1/status?rule=nothing*").await.is_problem(404, "not_found");
    server.api().get("/v1/rules?state=upside").await.is_problem(400, "bad_request");
    let wrong = server.api().get("/v1/rules?limit=many").await;
    wrong.is_problem(400, "bad_request");
    let problem: Value = wrong.json();
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("limit")), "{problem}");
    for path in ["/v1/status?egde=a", "/v1/rules?since=1", "/v1/edges?all=true", "/v1/rules/local/web?x=1"] {
        server.api().get(path).await.is_problem(400, "bad_request");
    }
    let chosen: Value = server.api().get("/v1/status?health=down&edge=lo*").await.json();
    assert_eq!(chosen["edges"][0]["rules"].as_array().map(Vec::len), Some(1), "{chosen}");
    let row: Value = server.api().get("/v1/rules/local/web").await.json();
    assert_eq!(row["health"], json!("down"));
    server.stop().await;
}

#[tokio::test]
async fn filters_leave_what_was_asked_for() {
    let (server, session, desired) = serving("up", target("up", 100)).await;
    let mut targets = server.api().events("/v1/events?targets=true").await;
    let mut rules = server.api().events("/v1/events?rules=true").await;
    for events in [&mut targets, &mut rules] {
        assert_eq!(events.next().await.expect("a snapshot").name, "snapshot");
    }
    session.accept_with(&desired, Some("down"), &[target("down", 0)]).await;
    let moved = targets.next().await.expect("an event");
    assert_eq!((moved.name.as_str(), &moved.data["to"], &moved.data["from"]), ("target", &json!("down"), &json!("up")));
    let weights = targets.next().await.expect("an event");
    assert_eq!((weights.name.as_str(), &weights.data["eligible"]), ("weights", &json!([])));
    let health = rules.next().await.expect("an event");
    assert_eq!((health.name.as_str(), &health.data["to"]), ("health", &json!("down")));
    server.api().get("/v1/events?flows=true").await.is_problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn an_override_reaches_its_edge_and_outlives_the_server() {
    let (server, mut session, _) = serving("up", target("up", 100)).await;
    let api = server.api();
    let body = json!({ "operation": "pause", "why": "upgrade", "ttl_secs": 600 });
    let answer = api.post(PLACE, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer: Value = answer.json();
    assert_eq!((&answer["changed"], &answer["connected"]), (&json!(true), &json!(true)), "{answer}");
    let sent = session.next_overrides().await;
    assert_eq!(sent.len(), 1);
    let first = &sent[0];
    assert_eq!((first.rule.as_str(), first.target.as_str()), ("web", "127.0.0.1:80"));
    assert_eq!((first.operation.as_str(), first.why.as_str()), ("pause", "upgrade"));
    assert!(first.until_ms > 1_700_000_000_000);
    let again: Value = api.post(PLACE, &json!({ "operation": "pause" })).await.json();
    assert_eq!(again["changed"], json!(false), "{again}");
    let weight: Value = api.post(PLACE, &json!({ "operation": "weight", "weight": 20 })).await.json();
    assert_eq!(weight["overrides"].as_array().map(Vec::len), Some(2), "{weight}");
    assert_eq!(session.next_overrides().await.len(), 2);
    let status: Value = api.get("/v1/status").await.json();
    assert_eq!(status["edges"][0]["target_overrides"].as_array().map(Vec::len), Some(2));
    assert_eq!(status["drift"].as_array().map(Vec::len), Some(2), "{}", status["drift"]);
    assert_eq!(status["drift"][0]["kind"], json!("override"));
    let history: Value = api.get("/v1/history").await.json();
    let outcomes: Vec<&Value> = history.as_array().unwrap().iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["applied", "override", "override"]);
    drop(session);
    let dir = server.stop().await;
    let server = Running::start_in(dir).await;
    let session = server.session("local").await;
    assert_eq!(session.overrides.len(), 2);
    let ended = server.api().delete(PLACE).await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(ended.json::<Value>()["overrides"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn an_edge_that_is_away_hears_of_it_when_it_comes() {
    let (server, session, _) = serving("up", target("up", 100)).await;
    let mut events = server.api().events("/v1/events?edges=true").await;
    assert_eq!(events.next().await.expect("a snapshot").name, "snapshot");
    drop(session);
    assert_eq!(events.named("edge").await.data["connected"], json!(false));
    let answer: Value = server.api().post(PLACE, &json!({ "operation": "disable" })).await.json();
    assert_eq!(answer["connected"], json!(false));
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("offline")), "{answer}");
    let session = server.session("local").await;
    assert_eq!(session.overrides[0].operation, "disable");
    server.stop().await;
}

#[tokio::test]
async fn orders_that_make_no_sense_are_problem_documents() {
    let (server, _session, _) = serving("up", target("up", 100)).await;
    let api = server.api();
    let pause = json!({ "operation": "pause" });
    for (path, code) in [
        ("/v1/targets/edge-9/web/127.0.0.1:80", "unknown_edge"),
        ("/v1/targets/Not%20A%20Name/web/127.0.0.1:80", "unknown_edge"),
        ("/v1/targets/local/api/127.0.0.1:80", "unknown_rule"),
        ("/v1/targets/local/web/127.0.0.1:81", "unknown_target"),
        ("/v1/targets/local/web/[::1]:80", "unknown_target"),
        ("/v1/targets/local/web/nonsense", "unknown_target"),
    ] {
        api.post(path, &pause).await.is_problem(404, code);
        api.post(path, &json!({ "operation": "check" })).await.is_problem(404, code);
    }
    for body in [
        json!({ "operation": "stop" }),
        json!({ "operation": "weight" }),
        json!({ "operation": "weight", "weight": 101 }),
        json!({ "operation": "weight", "weight": -1 }),
        json!({ "operation": "pause", "weight": 5 }),
        json!({ "operation": "pause", "ttl_secs": 0 }),
        json!({ "operation": "pause", "ttl_secs": 40_000_000 }),
        json!({ "operation": "resume", "ttl_secs": 5 }),
        json!({ "operation": "pause", "until": "tomorrow" }),
        json!({ "operation": "pause", "why": "x".repeat(1001) }),
        json!({}),
    ] {
        api.post(PLACE, &body).await.is_problem(400, "bad_request");
    }
    let weight = json!({ "operation": "weight", "weight": 5 });
    api.post("/v1/targets/local/web", &weight).await.is_problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn a_check_is_answered_with_what_the_round_found() {
    let (server, mut session, _) = serving("up", target("up", 100)).await;
    let api = server.api();
    let asked = tokio::spawn(async move { api.post(PLACE, &json!({ "operation": "check" })).await });
    let check = session.check().await;
    assert_eq!((check.rule.as_str(), check.target.as_str()), ("web", "127.0.0.1:80"));
    let checked = |request_id, refused| {
        let targets = vec![target("down", 0)];
        message(edge_message::Body::Checked(proto::TargetsChecked { request_id, refused, targets }))
    };
    // An answer to a question that nobody asked is none.
    session.send(checked(check.request_id + 7, None)).await;
    session.send(checked(check.request_id, None)).await;
    let answer: Value = asked.await.unwrap().json();
    assert_eq!(answer["targets"][0]["last"]["code"], json!("L4CON"), "{answer}");

    let api = server.api();
    let asked = tokio::spawn(async move { api.post("/v1/targets/local/web", &json!({ "operation": "check" })).await });
    let check = session.check().await;
    assert_eq!(check.target, "");
    let refusal = proto::Refusal { code: "no_check".to_owned(), message: "the rule has no check".to_owned() };
    session.send(checked(check.request_id, Some(refusal))).await;
    asked.await.unwrap().is_problem(409, "no_check");

    let api = server.api();
    let asked = tokio::spawn(async move { api.post(PLACE, &json!({ "operation": "check" })).await });
    session.check().await;
    drop(session);
    asked.await.unwrap().is_problem(503, "client_not_connected");
    server.api().post(PLACE, &json!({ "operation": "check" })).await.is_problem(503, "client_not_connected");
    server.stop().await;
}

#[tokio::test]
async fn stats_carry_rates_and_what_targets_have_seen() {
    let (server, mut session, _) = serving("up", target("up", 100)).await;
    let stats = |request_id, bytes_in| {
        let counters = Figures { bytes_in, target_failovers: 3, ..Default::default() }.to_wire();
        let of_target = proto::TargetStats {
            host: "127.0.0.1".to_owned(),
            port: 80,
            state: "up".to_owned(),
            counters: Some(counters.clone()),
            report: Some(target("up", 100)),
            last_success_ms: 1_700_000_000_000,
            last_failure_ms: 0,
        };
        let rule = proto::RuleStats {
            rule: "web".to_owned(),
            total: Some(counters),
            targets: if request_id == 0 { Vec::new() } else { vec![of_target] },
            ports: Vec::new(),
            ..proto::RuleStats::default()
        };
        message(edge_message::Body::Stats(proto::StatsReport { request_id, rules: vec![rule], ..Default::default() }))
    };
    session.send(stats(0, 1000)).await;
    session.send(stats(0, 5000)).await;
    let api = server.api();
    let asked = tokio::spawn(async move { api.get("/v1/rules/local/web/stats?per_target=true").await });
    let request = loop {
        if let server_message::Body::StatsRequest(request) = session.receive().await.expect("a question") {
            break request;
        }
    };
    session.send(stats(request.request_id, 5000)).await;
    let answer: Value = asked.await.unwrap().json();
    assert!(answer["rates"]["bytes_in_per_sec"].as_f64().is_some_and(|rate| rate > 0.0), "{answer}");
    assert_eq!(answer["target_failovers"], json!(3));
    let shown = &answer["targets"][0];
    assert_eq!((&shown["state"], &shown["last_failure"]), (&json!("up"), &Value::Null), "{shown}");
    assert_eq!(shown["last_success"], json!("2023-11-14T22:13:20Z"));
    assert_eq!(shown["report"]["target"], json!("127.0.0.1:80"));
    server.stop().await;
}
