//! The views of the page over the real port: what a person finds there, what a form does, and what it does not.

use schema::counters::Figures;
use schema::proto::{self, edge_message, server_message};
use serde_json::{Value, json};

use super::http::Client;
use super::page::{Browser, signed_in};
use super::session::{Session, hello, message};
use super::{RULES, Running};

/// The only target of the rule `web`, which failed a check.
fn target() -> proto::TargetReport {
    proto::TargetReport {
        target: "127.0.0.1:80".to_owned(),
        state: "down".to_owned(),
        weight: 100,
        since_ms: 1_700_000_000_000,
        last: Some(proto::TargetResult {
            code: "L7STS".to_owned(),
            detail: "HTTP 503".to_owned(),
            at_ms: 1_700_000_000_500,
        }),
        ..Default::default()
    }
}

/// A server whose edge runs the rule `web`, which is down.
async fn serving() -> (Running, Session) {
    let server = Running::start().await;
    let mut first = hello("local");
    if let Some(edge_message::Body::Hello(hello)) = &mut first.body {
        hello.features = vec!["connections".to_owned()];
    }
    let mut session = Session::begin(server.control, first).await.unwrap();
    let tree = json!({ "files": [{ "path": "a.toml", "text": RULES }], "allowances": { "dirty": true } });
    assert_eq!(server.api().post("/v1/apply", &tree).await.status, 202);
    let desired = session.desired().await;
    let mut events = server.api().events("/v1/events").await;
    session.accept_with(&desired, Some("down"), &[target()]).await;
    while events.named("apply").await.data["result"]["outcome"] != json!("applied") {}
    (server, session)
}

/// What a question to an edge is answered with.
fn answer(question: server_message::Body) -> Option<edge_message::Body> {
    match question {
        server_message::Body::StatsRequest(request) => {
            let figures = Figures { bytes_in: 2048, connections_total: 7, ..Figures::default() };
            let counters = Some(figures.to_wire());
            let of_target = proto::TargetStats {
                host: "127.0.0.1".to_owned(),
                port: 80,
                state: "down".to_owned(),
                counters: counters.clone(),
                report: Some(target()),
                ..Default::default()
            };
            let of_port = proto::PortStats { port: 18080, counters: counters.clone() };
            let rules = vec![proto::RuleStats {
                rule: "web".to_owned(),
                total: counters,
                ports: vec![of_port],
                targets: vec![of_target],
                ..Default::default()
            }];
            let request_id = request.request_id;
            Some(edge_message::Body::Stats(proto::StatsReport { request_id, rules, ..Default::default() }))
        }
        server_message::Body::Connections(request) => {
            let connections = if request.limit == 0 { Vec::new() } else { vec![connection()] };
            let rules = vec![proto::RuleConnections { rule: "web".to_owned(), connections: 1 }];
            let request_id = request.request_id;
            Some(edge_message::Body::Connections(proto::ConnectionsReport {
                request_id,
                rules,
                connections,
                refused: None,
            }))
        }
        _ => None,
    }
}

fn connection() -> proto::LiveConnection {
    proto::LiveConnection {
        id: "0000000a-0t1-0".to_owned(),
        rule: "web".to_owned(),
        source: "192.0.2.1:5000".to_owned(),
        listener: "*:18080".to_owned(),
        target: "127.0.0.1:80".to_owned(),
        age_ms: 60_000,
        bytes_in: 1024,
        ..Default::default()
    }
}

/// Answers what the server asks while something else goes on; what the server ordered meanwhile.
async fn while_answering<T>(session: &mut Session, work: impl Future<Output = T>) -> (T, Vec<server_message::Body>) {
    let mut work = std::pin::pin!(work);
    let mut ordered = Vec::new();
    loop {
        tokio::select! {
            done = &mut work => return (done, ordered),
            question = session.receive() => {
                let question = question.expect("the session lives");
                match answer(question.clone()) {
                    Some(body) => session.send(message(body)).await,
                    None => ordered.push(question),
                }
            }
        }
    }
}

#[tokio::test]
async fn a_rule_that_is_down_is_found_seen_and_steered() {
    let (server, mut session) = serving().await;
    let browser = signed_in(&server).await;
    let list = browser.get("/ui/rules?health=down&edge=&owner=team").await;
    assert!(list.status == 200 && list.body.contains("href=\"/ui/rules/local/web\""), "{list:?}");
    assert!(list.body.contains("1 rule<") && list.body.contains("down 0/1"), "{}", list.body);
    let nothing = browser.get("/ui/rules?state=failed").await;
    assert!(nothing.status == 200 && nothing.body.contains("No rule matches"), "{nothing:?}");

    let (rule, _) = while_answering(&mut session, browser.get("/ui/rules/local/web")).await;
    assert_eq!(rule.status, 200, "{rule:?}");
    for text in ["L7STS: HTTP 503", "2.0 KiB", ">18080<", "data-stream=\"/ui/live/rules/local/web?per_target=true"] {
        assert!(rule.body.contains(text), "{text}: {}", rule.body);
    }

    let form = "target=127.0.0.1%3A80&operation=pause&why=upgrade&ttl_secs=600";
    let stranger = browser.post_with("/ui/rules/local/web/targets", form, "").await;
    assert_eq!(stranger.status, 403, "a cookie alone orders nothing: {stranger:?}");
    let silent = browser.post("/ui/rules/local/web/targets", "target=127.0.0.1%3A80&operation=pause&why=+").await;
    assert!(silent.status == 400 && silent.body.contains("say why"), "{silent:?}");
    browser.post("/ui/rules/local/web/targets", form).await.leads_to("/ui/rules/local/web");
    let sent = session.next_overrides().await;
    assert_eq!((sent.len(), sent[0].operation.as_str(), sent[0].why.as_str()), (1, "pause", "upgrade"));
    let (rule, _) = while_answering(&mut session, browser.get("/ui/rules/local/web")).await;
    for text in
        ["127.0.0.1:80 is paused", "paused by operator: upgrade", "value=\"resume\"", "<strong>Override</strong>"]
    {
        assert!(rule.body.contains(text), "{text}: {}", rule.body);
    }
    let weight = "target=127.0.0.1%3A80&operation=weight&why=slow&weight=20&ttl_secs=";
    browser.post("/ui/rules/local/web/targets", weight).await.leads_to("/ui/rules/local/web");
    assert_eq!(session.next_overrides().await.len(), 2);
    let silent = browser.post("/ui/rules/local/web/release", "target=127.0.0.1%3A80").await;
    assert!(silent.status == 400 && silent.body.contains("say why"), "{silent:?}");
    let release = "target=127.0.0.1%3A80&why=the+disk+is+back";
    browser.post("/ui/rules/local/web/release", release).await.leads_to("/ui/rules/local/web");
    while !session.next_overrides().await.is_empty() {}
    let history: Vec<Value> = server.api().get("/v1/history?action=override").await.json();
    let whys: Vec<&str> = history.iter().filter_map(|entry| entry["why"].as_str()).collect();
    assert_eq!(whys, ["upgrade", "slow", "the disk is back", "the disk is back"], "{history:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_stream_of_a_rule_goes_out_with_the_cookie() {
    let (server, mut session) = serving().await;
    let browser = signed_in(&server).await;
    let mut events = {
        let stream = browser.events("/ui/live/rules/local/web?per_target=true");
        while_answering(&mut session, stream).await.0
    };
    let (event, _) = while_answering(&mut session, events.named("stats")).await;
    assert_eq!((&event.data["bytes_in"], &event.data["targets"][0]["state"]), (&json!(2048), &json!("down")));
    server.stop().await;
}

#[tokio::test]
async fn an_edge_that_is_offline_leaves_what_it_reported_last() {
    let (server, session) = serving().await;
    let browser = signed_in(&server).await;
    let mut events = server.api().events("/v1/events?edges=true").await;
    drop(session);
    while events.named("edge").await.data["connected"] != json!(false) {}
    let rule = browser.get("/ui/rules/local/web").await;
    assert_eq!(rule.status, 200, "{rule:?}");
    for text in ["No counters", "<p class=\"muted\">active ", "L7STS: HTTP 503"] {
        assert!(rule.body.contains(text), "{text}: {}", rule.body);
    }
    assert!(!rule.body.contains("data-stream"), "{}", rule.body);
    let edges = browser.get("/ui/edges?state=offline").await;
    assert!(edges.body.contains("href=\"/ui/edges/local\"") && edges.body.contains("offline"), "{}", edges.body);
    let edge = browser.get("/ui/edges/local").await;
    for text in [
        "the edge keeps forwarding its last state",
        "href=\"/ui/rules/local/web\"",
        "action=\"/ui/edges/local/forget\"",
    ] {
        assert!(edge.body.contains(text), "{text}: {}", edge.body);
    }
    let connections = browser.get("/ui/connections").await;
    assert!(connections.body.contains("No answer from local"), "{}", connections.body);
    let unsure = browser.post("/ui/edges/local/forget", "confirm=locla").await;
    assert!(unsure.status == 400 && unsure.body.contains("locla"), "{unsure:?}");
    browser.post("/ui/edges/local/forget", "confirm=local").await.leads_to("/ui/edges");
    server.stop().await;
}

#[tokio::test]
async fn before_connections_are_ended_it_is_shown_which() {
    let (server, mut session) = serving().await;
    let browser = signed_in(&server).await;
    let (list, _) = while_answering(&mut session, browser.get("/ui/connections?source=192.0.2.0%2F24")).await;
    for text in ["192.0.2.1:5000", "1 connection<", "/ui/connections/end?source=192.0.2.0%2F24"] {
        assert!(list.body.contains(text), "{text}: {}", list.body);
    }
    let one = "/ui/connections/end?edge=local&rule=web&id=0000000a-0t1-0";
    let (question, _) = while_answering(&mut session, browser.get(one)).await;
    for text in ["End 1 connection?", "<dt>local/web</dt><dd>1 connection</dd>", "name=\"id\" value=\"0000000a-0t1-0\""]
    {
        assert!(question.body.contains(text), "{text}: {}", question.body);
    }
    for (form, text) in [("id=0000000a-0t1-0&why=", "say why"), ("why=fair", "nothing says which")] {
        let refused = browser.post("/ui/connections/end", form).await;
        assert!(refused.status == 400 && refused.body.contains(text), "{refused:?}");
    }
    let form = "edge=local&rule=web&id=0000000a-0t1-0&why=abuse";
    let (ended, _) = while_answering(&mut session, browser.post("/ui/connections/end", form)).await;
    ended.leads_to("/ui/connections?edge=local&rule=web");
    let (list, _) = while_answering(&mut session, browser.get("/ui/connections?edge=local&rule=web")).await;
    assert!(list.body.contains("1 connection was ended."), "{}", list.body);
    let history: Value = server.api().get("/v1/history").await.json();
    let notes = history.to_string();
    assert!(notes.contains("local/web 1 connection") && notes.contains("abuse"), "{notes}");
    let everything = browser.get("/ui/connections/end").await;
    assert_eq!(everything.status, 400, "{everything:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_viewer_sees_no_form_and_may_send_none() {
    let (server, mut session) = serving().await;
    let viewer = server.operator("vera", "viewer", json!({})).await;
    let mut browser = Browser::new(&server);
    browser.sign_in(&viewer.token.expect("a token")).await.leads_to("/ui/");
    for path in ["/ui/rules/local/web", "/ui/edges/local", "/ui/quotas", "/ui/connections"] {
        let (page, _) = while_answering(&mut session, browser.get(path)).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        let view = page.body.split_once("<main").map(|(_, view)| view.to_owned()).expect("a view");
        assert!(!view.contains("method=\"post\"") && !view.contains("connections/end"), "{path}: {view}");
    }
    for (path, form) in [
        ("/ui/rules/local/web/targets", "target=127.0.0.1%3A80&operation=pause&why=fun"),
        ("/ui/rules/local/web/release", "target=127.0.0.1%3A80"),
        ("/ui/rules/local/web/check", ""),
        ("/ui/rules/local/web/reset-quota", "why=fun"),
        ("/ui/edges/local/revoke", "confirm=local"),
        ("/ui/edges/local/forget", "confirm=local"),
        ("/ui/connections/end", "edge=local&why=fun"),
    ] {
        let refused = browser.post(path, form).await;
        assert!(refused.status == 403 && refused.body.contains("viewer"), "{path}: {refused:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_is_not_there_or_not_understood_is_a_page_that_says_it() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    for (path, status) in [
        ("/ui/rules/local/none", 404),
        ("/ui/rules/No%20Name/x", 404),
        ("/ui/edges/none", 404),
        ("/ui/rules?egde=a", 400),
        ("/ui/rules?edge=%5B", 400),
        ("/ui/edges?state=asleep", 400),
        ("/ui/connections?older=old", 400),
        ("/ui/connections/end?id=none", 404),
        ("/ui/plan?revision=none", 404),
        ("/ui/rules/%ff/x", 400),
    ] {
        let page = browser.get(path).await;
        assert_eq!((page.status, page.content_type()), (status, "text/html; charset=utf-8"), "{path}: {page:?}");
        assert!(page.body.contains("aria-label=\"Views\""), "{path}: {}", page.body);
    }
    // What a list cannot be narrowed to is shown at the filter, which stays as it was typed.
    for (path, heading, words) in [
        ("/ui/rules?state=asleep&owner=ann", "<h1>Rules</h1>", "state `asleep`: expected one of"),
        ("/ui/rules?port=web", "<h1>Rules</h1>", "port: expected a whole number"),
        ("/ui/rules?colour=blue", "<h1>Rules</h1>", "This list does not support the query parameter `colour`"),
        ("/ui/quotas?port=web", "<h1>Quotas</h1>", "port: expected a whole number"),
        ("/ui/connections?older=old", "<h1>Connections</h1>", "older"),
        ("/ui/history?action=sleep", "<h1>History</h1>", "action `sleep`: expected one of"),
        ("/ui/history?before=x", "<h1>History</h1>", "before: expected a whole number"),
        ("/ui/applies?colour=blue", "<h1>Applies</h1>", "`colour`"),
        ("/ui/drift?kind=odd", "<h1>Drift</h1>", "kind `odd`: expected one of missing"),
        ("/ui/audit?since=old", "<h1>Audit</h1>", "since `old`"),
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, 400, "{path}: {page:?}");
        for text in [heading, words, "role=\"alert\"", "Nothing is listed"] {
            assert!(page.body.contains(text), "{path}, {text}: {}", page.body);
        }
    }
    let page = browser.get("/ui/rules?state=asleep&owner=ann").await.body;
    assert!(page.contains("name=\"state\" aria-invalid=\"true\"") && page.contains("value=\"ann\""), "{page}");
    // A page also refuses a form that cannot be read.
    let json = Client { content_type: Some("application/json"), ..browser.with_headers(&browser.own_origin()) };
    let page = json.post("/ui/freeze", &serde_json::json!({"why": "x"})).await;
    assert_eq!((page.status, page.content_type()), (415, "text/html; charset=utf-8"), "{page:?}");
    for path in ["/ui/rules", "/ui/edges", "/ui/connections", "/ui/quotas"] {
        let page = browser.get(path).await;
        assert!(page.status == 200 && page.body.contains("class=\"empty\""), "{path}: {page:?}");
    }
    server.stop().await;
}
