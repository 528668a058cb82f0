//! Operators over the real API: roles, limits, tokens, the audit, and what ends with an operator.

use serde_json::{Value, json};

use super::http::{Answer, Client};
use super::session::Session;
use super::{RULES, Running};

pub(super) const OTHERS: &str =
    "[[rule]]\nname = \"db\"\nowner = \"team-db\"\nlisten_port = 19090\ntarget = \"127.0.0.1:80\"\n";

pub(super) fn tree(texts: &[&str]) -> Value {
    let files = texts.iter().enumerate().map(|(index, text)| json!({ "path": format!("{index}.toml"), "text": text }));
    json!({ "files": files.collect::<Vec<_>>(), "allowances": { "dirty": true, "removals": 1 } })
}

impl Running {
    /// Creates an operator and speaks as it.
    pub(super) async fn operator(&self, name: &str, role: &str, grant: Value) -> Client {
        let body = json!({ "name": name, "role": role, "grant": grant });
        let created = self.api().post("/v1/operators", &body).await;
        assert_eq!(created.status, 201, "{created:?}");
        let created: Value = created.json();
        assert_eq!((&created["name"], &created["role"]), (&json!(name), &json!(role)));
        Client::new(self.operator, Some(created["token"].as_str().expect("a token").to_owned()))
    }

    pub(super) async fn audit(&self) -> Vec<(String, String, String)> {
        let audit: Value = self.api().get("/v1/audit").await.json();
        let text = |entry: &Value, key: &str| entry[key].as_str().expect("a text").to_owned();
        let entries = audit["entries"].as_array().expect("entries").iter();
        entries
            .map(|entry| {
                assert!(entry["at"].is_string() && entry["from"] == json!("127.0.0.1"), "{entry}");
                (text(entry, "who"), text(entry, "what"), text(entry, "outcome"))
            })
            .collect()
    }
}

/// Lets the edge run what was begun.
pub(super) async fn settle(server: &Running, session: &mut Session, begun: &Answer) {
    let id = begun.json::<Value>()["id"].as_str().expect("an id").to_owned();
    let desired = session.desired().await;
    session.accept(&desired).await;
    let mut events = server.api().events(&format!("/v1/applies/{id}/events")).await;
    while events.next().await.is_some() {}
}

#[tokio::test]
async fn each_role_may_what_it_may_and_the_refusals_are_in_the_audit() {
    let server = Running::start().await;
    let viewer = server.operator("vera", "viewer", json!({})).await;
    let planner = server.operator("paul", "planner", json!({})).await;
    let applier = server.operator("anna", "applier", json!({})).await;
    let body = tree(&[RULES]);
    assert_eq!(viewer.get("/v1/status").await.status, 200);
    viewer.post("/v1/plan", &body).await.is_problem(403, "forbidden");
    assert_eq!(planner.post("/v1/plan", &body).await.status, 200);
    planner.post("/v1/apply", &body).await.is_problem(403, "forbidden");
    planner.post("/v1/rollback", &json!({ "revision": "x" })).await.is_problem(403, "forbidden");
    planner
        .post("/v1/rollback", &json!({ "revision": "x", "dry_run": true }))
        .await
        .is_problem(404, "unknown_revision");
    assert_eq!(applier.post("/v1/freeze", &json!({ "why": "fair" })).await.status, 200);
    let frozen: Value = viewer.get("/v1/status").await.json();
    assert_eq!(frozen["frozen"]["by"], json!("anna"));
    for path in ["/v1/operators", "/v1/audit"] {
        applier.get(path).await.is_problem(403, "forbidden");
    }
    let me: Value = applier.get("/v1/operators/me").await.json();
    assert_eq!((&me["name"], &me["role"]), (&json!("anna"), &json!("applier")));
    let entry = |who: &str, what: &str, outcome: &str| (who.to_owned(), what.to_owned(), outcome.to_owned());
    assert_eq!(
        server.audit().await,
        [
            entry("operator", "POST /v1/operators vera (viewer)", "done"),
            entry("operator", "POST /v1/operators paul (planner)", "done"),
            entry("operator", "POST /v1/operators anna (applier)", "done"),
            entry("vera", "POST /v1/plan", "forbidden"),
            entry("paul", "POST /v1/apply", "forbidden"),
            entry("paul", "POST /v1/rollback", "forbidden"),
            entry("paul", "POST /v1/rollback", "unknown_revision"),
            entry("anna", "POST /v1/freeze", "done"),
            entry("anna", "GET /v1/operators", "forbidden"),
            entry("anna", "GET /v1/audit", "forbidden"),
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn a_plan_with_one_change_outside_the_limits_is_refused_whole() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let by_owner = server.operator("web", "applier", json!({ "owners": ["team"] })).await;
    let by_port = server.operator("port", "applier", json!({ "ports": ["18000-18999"] })).await;
    let by_edge = server.operator("edge", "applier", json!({ "edges": ["fra-*"] })).await;
    for path in ["/v1/plan", "/v1/apply"] {
        for client in [&by_owner, &by_port, &by_edge] {
            let refused = client.post(path, &tree(&[RULES, OTHERS])).await;
            refused.is_problem(403, "outside_grant");
            let changes = refused.json::<Value>()["changes"].to_string();
            assert!(changes.contains("local/db"), "{changes}");
        }
    }
    // The settings of the tree hold for everybody.
    let settings = json!({ "path": "portunus.toml", "text": "[rails]\nmax_removed_rules = 1\n" });
    let mut with_settings = tree(&[RULES]);
    with_settings["files"].as_array_mut().expect("files").push(settings);
    by_owner.post("/v1/apply", &with_settings).await.is_problem(403, "outside_grant");
    // What is inside is applied, under the operator's name.
    let begun = by_owner.post("/v1/apply", &tree(&[RULES])).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    settle(&server, &mut session, &begun).await;
    let history: Value = server.api().get("/v1/history").await.json();
    assert_eq!(history[0]["actor"], json!("web"));
    // Before counts as after does: neither a removal nor a new owner gets a rule out of the limits.
    let stolen = RULES.replace("\"team\"", "\"team-db\"");
    let all = server.operator("all", "applier", json!({})).await;
    let foreign = server.operator("db", "applier", json!({ "owners": ["team-db"] })).await;
    for text in [stolen.as_str(), OTHERS] {
        foreign.post("/v1/plan", &tree(&[text])).await.is_problem(403, "outside_grant");
        assert_eq!(all.post("/v1/plan", &tree(&[text])).await.status, 200);
    }
    by_owner.post("/v1/freeze", &json!({ "why": "x" })).await.is_problem(403, "outside_grant");
    server.stop().await;
}

#[tokio::test]
async fn limits_hold_for_overrides_and_targets() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let begun = server.api().post("/v1/apply", &tree(&[RULES, OTHERS])).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    settle(&server, &mut session, &begun).await;
    let web = server.operator("web", "applier", json!({ "owners": ["team"], "ports": ["18000-18999"] })).await;
    let pause = json!({ "operation": "pause", "why": "x" });
    web.post("/v1/targets/local/db/127.0.0.1:80", &pause).await.is_problem(403, "outside_grant");
    web.post("/v1/targets/local/db", &json!({ "operation": "check" })).await.is_problem(403, "outside_grant");
    web.delete("/v1/targets/local/db/127.0.0.1:80").await.is_problem(403, "outside_grant");
    assert_eq!(web.post("/v1/targets/local/web/127.0.0.1:80", &pause).await.status, 200);
    let rule = |port: u16, owner: &str| {
        let rule = json!({ "name": "glass", "owner": owner, "listen_port": port, "target": "127.0.0.1:80" });
        json!({ "edge": "local", "rule": rule, "why": "x", "ttl_secs": 60 })
    };
    for (port, owner) in [(19000, "team"), (18001, "team-db"), (18001, "")] {
        web.post("/v1/overrides", &rule(port, owner)).await.is_problem(403, "outside_grant");
    }
    let overrides: Value = server.api().get("/v1/overrides").await.json();
    assert_eq!(overrides.as_array().map(Vec::len), Some(1), "{overrides}");
    assert_eq!(overrides[0]["actor"], json!("web"));
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_operator_is_a_stranger_and_its_streams_end() {
    let server = Running::start().await;
    let viewer = server.operator("vera", "viewer", json!({})).await;
    let (mut hers, mut own) = (viewer.events("/v1/events").await, server.api().events("/v1/events").await);
    hers.named("snapshot").await;
    own.named("snapshot").await;
    assert_eq!(server.api().delete("/v1/operators/vera").await.status, 200);
    while hers.next().await.is_some() {}
    viewer.get("/v1/status").await.is_problem(401, "unauthorized");
    server.api().delete("/v1/operators/vera").await.is_problem(404, "unknown_operator");
    server.api().delete("/v1/operators/operator").await.is_problem(409, "reserved_name");
    // The other stream goes on.
    server.api().post("/v1/freeze", &json!({ "why": "x" })).await;
    assert_eq!(own.named("freeze").await.data["by"], "operator");
    let ended = server.api().delete("/v1/freeze").await;
    assert_eq!(ended.status, 200, "{ended:?}");
    let lifted = own.named("freeze").await;
    assert_eq!((&lifted.data["frozen"], &lifted.data["by"]), (&Value::Null, &json!("operator")));
    // It stays so over a restart, and a new one of that name is another operator.
    let again = server.operator("vera", "viewer", json!({})).await;
    let dir = server.stop().await;
    let server = Running::start_in(dir).await;
    let at = |client: &Client| Client::new(server.operator, client.token.clone());
    at(&viewer).get("/v1/status").await.is_problem(401, "unauthorized");
    assert_eq!(at(&again).get("/v1/status").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn a_token_ends_with_its_time_and_so_do_its_streams() {
    let server = Running::start().await;
    let body = json!({ "name": "brief", "role": "viewer", "ttl_secs": 2 });
    let created: Value = server.api().post("/v1/operators", &body).await.json();
    let brief = Client::new(server.operator, created["token"].as_str().map(str::to_owned));
    let mut events = brief.events("/v1/events").await;
    while events.next().await.is_some() {}
    let refused = brief.get("/v1/status").await;
    refused.is_problem(401, "unauthorized");
    assert!(refused.body.contains("expired at"), "{}", refused.body);
    server.stop().await;
}

#[tokio::test]
async fn wrong_tokens_are_limited_and_a_valid_one_is_always_served() {
    let server = Running::start().await;
    let wrong = Client::new(server.operator, Some("wrong".to_owned()));
    let none = Client::new(server.operator, None);
    for _ in 0..20 {
        none.get("/v1/status").await.is_problem(401, "unauthorized");
    }
    for _ in 0..10 {
        wrong.get("/v1/status").await.is_problem(401, "unauthorized");
    }
    for _ in 0..3 {
        let limited = wrong.get("/v1/status").await;
        limited.is_problem(429, "too_many_failed_logins");
        let wait = limited.head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.parse::<u64>().ok());
        assert!(wait.is_some_and(|secs| (1..=60).contains(&secs)), "{limited:?}");
        none.get("/v1/status").await.is_problem(401, "unauthorized");
        assert_eq!(server.api().get("/v1/status").await.status, 200);
    }
    let audit = server.audit().await;
    let count = |outcome: &str| audit.iter().filter(|(who, _, found)| who.is_empty() && found == outcome).count();
    assert_eq!((count("unauthorized"), count("too_many_failed_logins")), (33, 3));
    server.stop().await;
}

#[tokio::test]
async fn no_token_is_kept_and_reserved_names_are_refused() {
    let server = Running::start().await;
    let viewer = server.operator("vera", "viewer", json!({ "edges": ["fra-*"] })).await;
    for name in ["operator", "clock", "server"] {
        let body = json!({ "name": name, "role": "viewer" });
        server.api().post("/v1/operators", &body).await.is_problem(409, "reserved_name");
    }
    let again = json!({ "name": "vera", "role": "admin" });
    server.api().post("/v1/operators", &again).await.is_problem(409, "duplicate_operator");
    for wrong in [json!({ "ports": ["http"] }), json!({ "edges": ["["] }), json!({ "owner": ["x"] })] {
        let body = json!({ "name": "bob", "role": "viewer", "grant": wrong });
        server.api().post("/v1/operators", &body).await.is_problem(400, "bad_request");
    }
    let listed: Value = server.api().get("/v1/operators").await.json();
    assert_eq!((&listed[0]["name"], &listed[0]["built_in"]), (&json!("operator"), &json!(true)));
    assert_eq!(listed[1]["grant"], json!({ "edges": ["fra-*"] }));
    let token = viewer.token.expect("a token");
    let dir = server.stop().await;
    for entry in std::fs::read_dir(dir.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = if path.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
        assert!(!bytes.windows(token.len()).any(|part| part == token.as_bytes()), "{}", path.display());
    }
}

#[tokio::test]
async fn what_an_operator_may_not_see_is_left_out_and_counted() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let begun = server.api().post("/v1/apply", &tree(&[RULES, OTHERS])).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    settle(&server, &mut session, &begun).await;
    let web = server.operator("web", "viewer", json!({ "owners": ["team"] })).await;
    let status: Value = web.get("/v1/status").await.json();
    assert_eq!((&status["hidden"], &status["edges"][0]["rules"][0]["rule"]), (&json!(1), &json!("web")));
    assert_eq!(status["edges"][0]["rules"].as_array().map(Vec::len), Some(1));
    for path in ["/v1/rules", "/v1/edges", "/v1/stats", "/v1/targets", "/v1/history/1", "/v1/applies/a1"] {
        let answer = web.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(!answer.body.contains("\"db\""), "{path}: {}", answer.body);
    }
    assert!(web.get("/v1/rules").await.head.contains("x-portunus-hidden: 1"));
    let targets: Value = web.get("/v1/targets").await.json();
    assert_eq!(targets["hidden"], json!(1));
    for path in ["/v1/rules/local/db", "/v1/rules/local/db/stats", "/v1/blame/local/19090", "/v1/rules?rule=db"] {
        web.get(path).await.is_problem(404, "not_found");
    }
    let mut events = web.events("/v1/events").await;
    let snapshot = events.named("snapshot").await;
    assert_eq!(snapshot.data["hidden"], json!(1));
    // Elsewhere there is nothing at all.
    let away = server.operator("away", "viewer", json!({ "edges": ["fra-*"] })).await;
    let status: Value = away.get("/v1/status").await.json();
    assert_eq!((&status["edges"], &status["hidden"]), (&json!([]), &json!(2)));
    let everything: Value = server.api().get("/v1/status").await.json();
    assert_eq!(everything["hidden"], Value::Null);
    server.stop().await;
}
