//! What edges say is bounded: texts, lists, numbers and names.

use schema::proto::{self, edge_message};
use serde_json::{Value, json};
use tonic::Code;

use super::http::Client;
use super::session::{Session, hello, message};
use super::{RULES, Running};

fn with(change: impl FnOnce(&mut proto::Hello)) -> proto::EdgeMessage {
    let mut first = hello("a");
    if let Some(edge_message::Body::Hello(hello)) = &mut first.body {
        change(hello);
    }
    first
}

async fn edges(server: &Running) -> Vec<Value> {
    server.api().get("/v1/edges").await.json()
}

/// Looks until the list of edges is as asked; a session that ended is noticed a little later.
async fn until(server: &Running, is_so: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let looking = async {
        loop {
            let edges = edges(server).await;
            if is_so(&edges) {
                return edges;
            }
        }
    };
    tokio::time::timeout(super::LONG, looking).await.expect("it comes to that")
}

#[tokio::test]
async fn texts_and_lists_above_their_bounds_are_refused() {
    let server = Running::start().await;
    let rule = proto::RuleReport { rule: "web".to_owned(), ..proto::RuleReport::default() };
    let report = |rules: Vec<proto::RuleReport>| Some(proto::Report { rules, ..proto::Report::default() });
    for first in [
        with(|hello| hello.version = "x".repeat(65)),
        with(|hello| hello.features = vec!["x".to_owned(); 65]),
        with(|hello| hello.capabilities = vec!["x".repeat(65)]),
        with(|hello| hello.report = Some(proto::Report { lineage: "x".repeat(65), ..proto::Report::default() })),
        with(|hello| hello.report = report(vec![proto::RuleReport { message: "x".repeat(4097), ..rule.clone() }])),
        with(|hello| hello.report = report(vec![rule.clone(); 10_001])),
    ] {
        let status = Session::begin(server.control, first).await.expect_err("refused");
        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    }
    let bounded = with(|hello| hello.version = "x".repeat(64));
    Session::begin(server.control, bounded).await.unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_generation_that_no_server_counts_to_is_unreadable_and_wraps_nothing() {
    let server = Running::start().await;
    for generation in [u64::MAX, u64::MAX - 1, (1 << 62) + 1] {
        let report = proto::Report { generation, lineage: "there".to_owned(), ..proto::Report::default() };
        let status = Session::begin(server.control, with(|hello| hello.report = Some(report.clone()))).await;
        assert_eq!(status.expect_err("refused").code(), Code::InvalidArgument);
        let mut session = server.session("a").await;
        session.send(message(edge_message::Body::Report(report))).await;
        assert_eq!(session.receive().await, None, "the session ends");
        until(&server, |edges| !edges.iter().any(|edge| edge["connected"] == true)).await;
    }
    let report = proto::Report { generation: 1 << 62, lineage: "there".to_owned(), ..proto::Report::default() };
    let session = Session::begin(server.control, with(|hello| hello.report = Some(report))).await.unwrap();
    let tree = json!({ "files": [{ "path": "a.toml", "text": format!("[defaults]\nedges = [\"a\"]\n{RULES}") }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let mut session = session;
    assert_eq!(session.desired().await.generation, (1 << 62) + 1);
    server.stop().await;
}

#[tokio::test]
async fn words_outside_of_a_closed_set_count_as_other() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = session.desired().await;
    session.accept(&desired).await;
    let cause = |cause: &str, count| proto::CauseCount { cause: cause.to_owned(), count };
    let made_up = || vec![cause("made_up", 2), cause("\"} evil 1", u64::MAX)];
    // Words of a label, and a counter, that this version does not know.
    let total = proto::Counters { ids: vec![15 * 64 + 63, 4 * 64, 9999 * 64], counts: vec![2, 1, 5] };
    let rules = vec![proto::RuleStats { rule: "web".to_owned(), total: Some(total), ..proto::RuleStats::default() }];
    for _ in 0..2 {
        let stats =
            proto::StatsReport { request_id: 0, rules: rules.clone(), probes: made_up(), sni_missed: made_up() };
        session.send(message(edge_message::Body::Stats(stats))).await;
    }
    let mut report = proto::Report {
        lineage: desired.lineage.clone(),
        generation: desired.generation,
        desired_digest: desired.digest.clone(),
        ..proto::Report::default()
    };
    report.rules = vec![proto::RuleReport {
        rule: "web".to_owned(),
        state: proto::RuleState::Failed.into(),
        code: "made_up".to_owned(),
        message: "a sentence".to_owned(),
        wanted: Some(desired.rules[0].clone()),
        ..proto::RuleReport::default()
    }];
    session.send(message(edge_message::Body::Report(report))).await;
    let client = Client::new(server.metrics, None);
    let shown = async {
        loop {
            let text = client.get("/metrics").await.body;
            assert!(!text.contains("made_up") && !text.contains("evil"), "{text}");
            let rule: Value = server.api().get("/v1/rules/local/web").await.json();
            if rule["code"] == "other" && !text.contains("portunus_probe_total{result=\"other\"} 0\n") {
                return rule;
            }
        }
    };
    let rule = tokio::time::timeout(super::LONG, shown).await.expect("it is shown");
    assert_eq!(rule["message"], "a sentence");
    server.stop().await;
}

#[tokio::test]
async fn names_are_kept_of_edges_that_a_tree_or_a_certificate_names_until_they_are_forgotten() {
    let server = Running::start().await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": format!("[defaults]\nedges = [\"named\"]\n{RULES}") }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    for number in 0..5 {
        drop(server.session(&format!("gone-{number}")).await);
    }
    let named = server.session("named").await;
    let other = server.session("other").await;
    let is_connected = |edge: &&Value| edge["connected"] == true;
    let all = until(&server, |edges| edges.len() == 7 && edges.iter().filter(is_connected).count() == 2).await;
    for (edge, name) in all.iter().filter(is_connected).zip(["named", "other"]) {
        assert_eq!(edge["name"], name);
        assert!(edge["since"].is_string() && edge["last_seen"].is_string(), "{edge}");
        assert!(edge["address"].as_str().is_some_and(|address| address.starts_with("127.0.0.1:")), "{edge}");
    }
    drop((named, other));
    until(&server, |edges| edges.iter().filter(is_connected).count() == 0).await;
    for name in ["gone-0", "gone-1", "gone-2", "gone-3", "gone-4", "other"] {
        let gone = server.api().delete(&format!("/v1/edges/{name}")).await;
        assert_eq!(gone.status, 200, "{gone:?}");
    }
    let left = until(&server, |edges| edges.len() == 1).await;
    assert_eq!(left[0]["name"], "named");
    server.stop().await;
}

#[tokio::test]
async fn an_edge_that_no_tree_names_trips_no_rail_and_is_left_alone() {
    let server = Running::start().await;
    let tree = |more: &str| {
        let text = format!("[defaults]\nedges = [\"named\"]\n{RULES}{more}");
        json!({ "files": [{ "path": "a.toml", "text": text }], "allowances": { "dirty": true } })
    };
    let mut named = server.session("named").await;
    assert_eq!(server.api().post("/v1/apply", &tree("")).await.status, 202);
    let desired = named.desired().await;
    named.accept(&desired).await;
    // It says that it runs a hundred rules with more connections than there are.
    let spec = desired.rules[0].clone();
    let rules = (0..100).map(|number| {
        let name = format!("r{number}");
        let mut spec = spec.clone();
        spec.name.clone_from(&name);
        (spec.first_port, spec.last_port) = (20_000 + number, 20_000 + number);
        let (running, state) = (Some(spec), proto::RuleState::Active.into());
        proto::RuleReport { rule: name, running, state, connections: u64::MAX, ..proto::RuleReport::default() }
    });
    let report =
        proto::Report { lineage: "there".to_owned(), generation: 9, rules: rules.collect(), ..Default::default() };
    let mut liar = Session::begin(server.control, {
        let mut first = hello("liar");
        if let Some(edge_message::Body::Hello(hello)) = &mut first.body {
            hello.report = Some(report);
        }
        first
    })
    .await
    .unwrap();
    liar.receive().await.expect("welcome");
    let plan: Value = server.api().post("/v1/plan", &tree("description = \"x\"\n")).await.json();
    let plan = if plan.get("plan").is_some() { plan["plan"].clone() } else { plan };
    assert_eq!(plan["summary"]["remove"], 0, "{plan}");
    assert!(plan["rails"].as_array().unwrap().iter().all(|rail| rail["tripped"] == false), "{}", plan["rails"]);
    assert!(plan["drift"].as_array().unwrap().iter().any(|drift| drift["kind"] == "extra"), "{}", plan["drift"]);
    server.stop().await;
}

#[tokio::test]
async fn an_edge_that_is_gone_for_good_is_forgotten_over_a_restart() {
    let server = Running::start().await;
    let tree = json!({ "files": [{ "path": "a.toml", "text": format!("[defaults]\nedges = [\"gone\"]\n{RULES}") }], "allowances": { "dirty": true } });
    let mut gone = server.session("gone").await;
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = gone.desired().await;
    gone.accept(&desired).await;
    server.api().delete("/v1/edges/nobody").await.is_problem(404, "unknown_edge");
    server.api().delete("/v1/edges/gone").await.is_problem(409, "edge_connected");
    drop(gone);
    until(&server, |edges| edges[0]["connected"] == false).await;
    assert_eq!(server.api().delete("/v1/edges/gone").await.json::<Value>(), json!({ "name": "gone", "named": true }));
    let history = server.api().get("/v1/history").await.body;
    assert!(history.contains("\"forgotten\""), "{history}");
    let other = "[[rule]]\nname = \"web\"\nedges = [\"other\"]\nlisten_port = 1\ntarget = \"a:1\"\n";
    let other = json!({ "files": [{ "path": "a.toml", "text": other }], "allowances": { "dirty": true } });
    // Its only rule goes with the next tree, and no rail asks for it.
    assert_eq!(server.api().post("/v1/apply", &other).await.status, 202);
    let server = Running::start_in(server.stop().await).await;
    let edges = edges(&server).await;
    assert!(
        edges.iter().all(|edge| edge["rules"].as_array().is_some_and(Vec::is_empty) || edge["name"] == "other"),
        "{edges:?}"
    );
    server.stop().await;
}
