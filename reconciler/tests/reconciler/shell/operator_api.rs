//! The operator API: who may speak, what it takes, and the whole way from a tree to an answer.

use std::sync::Arc;

use axum::serve;
use reconciler::act::driver::Driver;
use reconciler::act::notify::PostOffice;
use reconciler::act::operator::Context;
use reconciler::act::operator_port::OwnHosts;
use reconciler::act::operators::Operators;
use reconciler::act::page;
use reconciler::act::server::TrustConfig;
use reconciler::act::sessions::Sessions;
use reconciler::act::store::Store;
use reconciler::act::timings::Timings;
use reconciler::act::trust::registrar::Registrar;
use reconciler::decide::fleet::{Fleet, Mode, Restored};
use schema::check::CheckLimits;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::http::Client;
use super::{RULES, Running};

fn tree(text: &str) -> Value {
    json!({ "files": [{ "path": "a.toml", "text": text }] })
}

#[tokio::test]
async fn without_the_token_nothing_is_answered() {
    let server = Running::start().await;
    let with = |token: Option<&str>| Client { token: token.map(str::to_owned), ..server.api() };
    for token in [None, Some(""), Some("wrong"), Some(&server.token[1..])] {
        for path in ["/v1/status", "/v1/events", "/no/such/path"] {
            with(token).get(path).await.is_problem(401, "unauthorized");
        }
        with(token).post("/v1/validate", &tree(RULES)).await.is_problem(401, "unauthorized");
    }
    assert_eq!(with(Some(&server.token)).get("/v1/status").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_host_or_origin_that_is_not_ascii_or_comes_twice_is_foreign() {
    let server = Running::start().await;
    let own = server.operator;
    let request = |lines: &[u8]| {
        let mut request = format!("GET /v1/status HTTP/1.1\r\nauthorization: Bearer {}\r\n", server.token).into_bytes();
        request.extend_from_slice(lines);
        request.extend_from_slice(b"connection: close\r\n\r\n");
        request
    };
    let host = format!("host: {own}\r\n");
    let with = |more: &[u8]| request(&[host.as_bytes(), more].concat());
    for (lines, code) in [
        (request(b"host: 127.0.0.1\xe4\r\n"), "foreign_host"),
        (request(b"host: \xff\r\n"), "foreign_host"),
        (with(format!("host: {own}\r\n").as_bytes()), "foreign_host"),
        (with(b"host: example.org\r\n"), "foreign_host"),
        (with(b"origin: http://\xc3\xa4.example.org\r\n"), "foreign_origin"),
        (with(b"origin: \xff\r\n"), "foreign_origin"),
        (with(format!("origin: http://{own}\r\norigin: http://{own}\r\n").as_bytes()), "foreign_origin"),
        (with(format!("origin: http://{own}\r\norigin: http://example.org\r\n").as_bytes()), "foreign_origin"),
    ] {
        server.api().raw(lines).await.is_problem(403, code);
    }
    assert_eq!(server.api().raw(with(format!("origin: http://{own}\r\n").as_bytes())).await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_even_with_the_token() {
    let server = Running::start().await;
    let port = server.operator.port();
    for host in ["example.org".to_owned(), format!("localhost.example.org:{port}"), "10.0.0.1".to_owned()] {
        Client { host, ..server.api() }.get("/v1/status").await.is_problem(403, "foreign_host");
    }
    for origin in ["http://example.org", "https://127.0.0.1", "null"] {
        let headers = format!("origin: {origin}\r\n");
        Client { headers, ..server.api() }.get("/v1/status").await.is_problem(403, "foreign_origin");
    }
    let own = Client { headers: format!("origin: http://127.0.0.1:{port}\r\n"), ..server.api() };
    assert_eq!(own.get("/v1/status").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn only_json_of_the_right_form_is_taken() {
    let server = Running::start().await;
    for content_type in [None, Some("text/plain"), Some("application/x-www-form-urlencoded")] {
        let client = Client { content_type, ..server.api() };
        client.post("/v1/plan", &tree(RULES)).await.is_problem(415, "not_json");
    }
    let api = server.api();
    for path in ["/v1/validate", "/v1/plan", "/v1/apply"] {
        for body in ["", "{", "[]", "\"files\"", "{\"files\": 3}", "\u{0}"] {
            api.post_text(path, body).await.is_problem(400, "bad_request");
        }
        let unknown = json!({ "files": [], "fiels": [] });
        api.post(path, &unknown).await.is_problem(400, "bad_request");
    }
    let typo = json!({ "files": [], "allowances": { "removal": 4 } });
    api.post("/v1/apply", &typo).await.is_problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document_too() {
    let server = Running::start().await;
    let api = server.api();
    for path in ["/nothing", "/v1", "/v1/nothing", "/v1/rules/local/web", "/v1/rules/../web", "/v1/applies/a1"] {
        api.get(path).await.is_problem(404, "not_found");
    }
    api.post("/v1/status", &json!({})).await.is_problem(405, "method_not_allowed");
    api.get("/v1/apply").await.is_problem(405, "method_not_allowed");
    api.get("/v1/rules/local/web/stats?per_port=perhaps").await.is_problem(400, "bad_request");
    api.get("/v1/rules/%ff/web").await.is_problem(400, "bad_request");
    for port in ["local/0", "local/65536", "local/http", "local/80?protocol=sctp", "local/80?protocl=tcp"] {
        api.get(&format!("/v1/blame/{port}")).await.is_problem(400, "bad_request");
    }
    for port in ["local/80", "No%20Name/80"] {
        api.get(&format!("/v1/blame/{port}")).await.is_problem(404, "not_found");
    }
    api.get("/v1/history/verification?contains=abc").await.is_problem(400, "bad_request");
    let verified: Value = api.get("/v1/history/verification").await.json();
    assert_eq!((&verified["lines"], &verified["broken"]), (&json!(0), &Value::Null));
    server.stop().await;
}

#[tokio::test]
async fn labels_that_lead_anywhere_are_refused_and_touch_no_file() {
    let server = Running::start().await;
    for label in ["../a.toml", "x/../../a.toml", "/etc/portunus.toml", ""] {
        let body = json!({ "files": [{ "path": label, "text": RULES }] });
        for path in ["/v1/validate", "/v1/plan", "/v1/apply"] {
            server.api().post(path, &body).await.is_problem(400, "bad_request");
        }
    }
    let left: Vec<_> = std::fs::read_dir(server.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["state"]);
    server.stop().await;
}

#[tokio::test]
async fn a_declared_body_over_the_bound_is_refused_before_it_is_read() {
    let server = Running::start().await;
    let api = server.api();
    let head = format!("{}content-length: {}\r\n\r\n", api.head("POST", "/v1/plan"), 257 << 20);
    api.raw(head.into_bytes()).await.is_problem(413, "file_too_large");
    server.stop().await;
}

#[tokio::test]
async fn a_body_with_too_many_values_is_refused_before_they_take_its_memory() {
    let server = Running::start().await;
    let api = server.api();
    let values = "1,".repeat(8_000_000);
    let dense =
        format!(r#"{{"files": [], "plan": {{"changes": [{{"fields": [{{"path": "x", "before": [{values}1]}}]}}]}}}}"#);
    let head = api.head("POST", "/v1/apply");
    let head = format!("{head}connection: close\r\ncontent-length: {}\r\n\r\n", dense.len());
    api.raw(format!("{head}{dense}").into_bytes()).await.is_problem(413, "file_too_large");
    server.stop().await;
}

/// The same router with a small bound: nobody wants to send 256 MiB in a test.
#[tokio::test]
async fn a_body_that_grows_over_the_bound_is_refused() {
    let dir = TempDir::new().unwrap();
    let store = Arc::new(Store::open(&dir.path().join("state")).unwrap());
    let fleet = Fleet::new("L".to_owned(), Mode::Heal, false, Restored::default());
    let timings = Timings::new().unwrap();
    let (driver, fleet) = Driver::new(fleet, Arc::clone(&store), timings.clone());
    let shutdown = CancellationToken::new();
    let driver = tokio::spawn(driver.run(shutdown.clone()));
    let (operators, keeper) = Operators::open(Arc::clone(&store), "secret").unwrap();
    let keeper = tokio::spawn(keeper.run(shutdown.clone()));
    let terms = TrustConfig::default().edges;
    let (_registrar, trust) = Registrar::open(Arc::clone(&store), dir.path().join("state"), None, terms).unwrap();
    let notices = Arc::clone(&store);
    let context = Context {
        fleet,
        store,
        state_dir: dir.path().join("state"),
        sessions: Sessions::new(operators.clone()),
        operators,
        hosts: OwnHosts::default(),
        trust,
        advertised: None,
        timings,
        limits: CheckLimits::default(),
        repository: None,
        webhook: None,
        notify: PostOffice::open(notices, Vec::new()).unwrap().handle,
        max_body: 4096,
        shutdown: shutdown.clone(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = Client::new(listener.local_addr().unwrap(), Some("secret".to_owned()));
    let serving = serve(listener, page::router(context)).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let serving = tokio::spawn(async { serving.await });
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    let head = format!("{}transfer-encoding: chunked\r\n\r\n", api.head("POST", "/v1/plan"));
    // No end of the body: the answer must not wait for it.
    api.raw(format!("{head}{}", chunk.repeat(5)).into_bytes()).await.is_problem(413, "file_too_large");
    let whole = format!("{}connection: close\r\ntransfer-encoding: chunked\r\n\r\n", api.head("POST", "/v1/plan"));
    let answer = api.raw(format!("{whole}{}0\r\n\r\n", chunk.repeat(3)).into_bytes()).await;
    answer.is_problem(400, "bad_request");
    shutdown.cancel();
    driver.await.unwrap();
    keeper.await.unwrap();
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_tree_is_validated_planned_applied_and_shown() {
    let server = Running::start().await;
    let api = server.api();
    let mut session = server.session("local").await;
    let valid: Value = api.post("/v1/validate", &tree(RULES)).await.json();
    assert_eq!((&valid["valid"], &valid["rules"]), (&json!(true), &json!(1)));
    let broken = tree("[[rule]]\nname = \"web\"\nlisten_port = 0\n");
    let invalid: Value = api.post("/v1/validate", &broken).await.json();
    assert_eq!(invalid["valid"], json!(false));
    assert!(invalid["diagnostics"].as_array().is_some_and(|found| found.len() >= 2), "{invalid}");
    for path in ["/v1/plan", "/v1/apply"] {
        let refused = api.post(path, &broken).await;
        refused.is_problem(422, "invalid_tree");
        assert!(refused.json::<Value>()["diagnostics"][0]["line"].is_number());
    }
    let plan: Value = api.post("/v1/plan", &tree(RULES)).await.json();
    assert_eq!(plan["changes"][0]["action"], json!("activate"));
    let mut body = tree(RULES);
    body["plan"] = plan.clone();
    api.post("/v1/apply", &body).await.is_problem(409, "no_commit");
    for commit in ["", "HEAD", "main", "refs/heads/main"] {
        body["source"] = plan["source"].clone();
        body["source"]["vcs"] = json!("git");
        body["source"]["commit"] = json!(commit);
        let refused = api.post("/v1/apply", &body).await;
        refused.is_problem(400, "bad_request");
        let problem: Value = refused.json();
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("source.commit")), "{problem}");
    }
    body["source"] = Value::Null;
    body["allowances"] = json!({ "dirty": true });
    let begun = api.post("/v1/apply", &body).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let id = begun.json::<Value>()["id"].as_str().expect("an id").to_owned();
    let locked = api.post("/v1/apply", &body).await;
    locked.is_problem(423, "locked");
    let desired = session.desired().await;
    assert_eq!(desired.generation, 1);
    session.accept(&desired).await;
    let mut events = api.events(&format!("/v1/applies/{id}/events")).await;
    while events.next().await.is_some() {}
    let result: Value = api.get(&format!("/v1/applies/{id}")).await.json();
    assert_eq!((&result["outcome"], &result["edges"][0]["outcome"]), (&json!("applied"), &json!("done")));
    // The plan was made from what is no more.
    api.post("/v1/apply", &body).await.is_problem(409, "stale");
    let again: Value = api.post("/v1/plan", &tree(RULES)).await.json();
    assert_eq!(again["changes"], json!([]));
    let status: Value = api.get("/v1/status").await.json();
    assert_eq!(status["edges"][0]["rules"][0]["state"], json!("active"));
    assert_eq!(status["drift"], json!([]));
    let rules: Value = api.get("/v1/rules").await.json();
    assert_eq!(rules[0]["rule"], json!("web"));
    assert_eq!(api.get("/v1/rules/local/web").await.status, 200);
    let history: Value = api.get("/v1/history").await.json();
    let outcomes: Vec<&str> =
        history.as_array().unwrap().iter().map(|line| line["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["applied"]);
    let blame: Value = api.get("/v1/blame/local/18080?protocol=tcp").await.json();
    assert_eq!((&blame["rule"], &blame["entry"]), (&json!("web"), &json!(1)), "{blame}");
    // Nothing is left when the last rule goes, and that takes a word.
    let other = tree(&RULES.replace("name = \"web\"", "name = \"web\"\nenabled = false"));
    api.post("/v1/apply", &other).await.is_problem(409, "rails");
    server.stop().await;
}
