//! What the views show, and the figures behind them.

use serde_json::{Value, json};

use super::signed_in;
use crate::shell::operators::{OTHERS, settle, tree};
use crate::shell::{RULES, Running};

#[tokio::test]
async fn every_answer_of_the_port_has_the_security_headers() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    let style = browser.get("/ui/").await;
    let style = style.body.split("href=\"").find(|part| part.contains("style.css")).expect("a style sheet");
    let style = style.split('"').next().expect("an address").to_owned();
    for path in ["/ui/", "/ui/none", "/ui/sign-in", "/v1/status", "/none", &style] {
        let answer = browser.get(path).await;
        let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{path}: {answer:?}"));
        assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(answer.header("x-frame-options"), Some("deny"), "{path}");
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{path}");
        let is_asset = path == style;
        let cached = answer.header("cache-control").expect("it says");
        assert_eq!(cached.contains("immutable"), is_asset, "{path}: {cached}");
        assert_eq!(cached.contains("no-store"), !is_asset, "{path}: {cached}");
        assert!(!answer.body.contains("style=") && !answer.body.contains("onclick"), "{path}: nothing inline");
    }
    server.stop().await;
}

#[tokio::test]
async fn problems_are_pages_that_say_what_to_do() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    let missing = browser.get("/ui/%3Cscript%3Ealert(1)%3C%2Fscript%3E").await;
    assert_eq!(missing.status, 404);
    assert!(missing.body.contains("<nav") && !missing.body.contains("<script>alert"), "{}", missing.body);
    let empty = browser.post("/ui/freeze", "why=+").await;
    assert!(empty.status == 400 && empty.body.contains("a freeze needs a reason"), "{empty:?}");
    let wrong = browser.post("/ui/", "").await;
    assert!(wrong.status == 405 && wrong.body.contains("<nav"), "{wrong:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_summary_counts_as_the_status_does_and_leaves_out_what_is_not_seen() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let begun = server.api().post("/v1/apply", &tree(&[RULES, OTHERS])).await;
    settle(&server, &mut session, &begun).await;
    let (status, summary): (Value, Value) =
        (server.api().get("/v1/status").await.json(), server.api().get("/v1/summary").await.json());
    assert_eq!(summary["targets"], status["targets"]);
    assert_eq!((&summary["edges"]["all"], &summary["edges"]["connected"]), (&json!(1), &json!(1)));
    assert_eq!((&summary["rules"]["all"], &summary["rules"]["states"]), (&json!(2), &json!({ "active": 2 })));
    assert_eq!((&summary["in_sync"], &summary["drift"]), (&json!(true), &json!({})));
    for same in ["revision", "mode"] {
        assert_eq!(summary[same], status[same]);
    }
    let web = server.operator("web", "viewer", json!({ "owners": ["team"] })).await;
    let seen: Value = web.get("/v1/summary").await.json();
    assert_eq!((&seen["rules"]["all"], &seen["hidden"]), (&json!(1), &json!(1)));
    // What has happened is in the next answer, however soon it is asked for.
    server.api().post("/v1/freeze", &json!({ "why": "soon" })).await;
    let frozen: Value = server.api().get("/v1/summary").await.json();
    assert_eq!(frozen["frozen"]["why"], json!("soon"));
    server.stop().await;
}

#[tokio::test]
async fn a_view_hears_of_what_happens_and_of_nothing_before() {
    let server = Running::start().await;
    let browser = signed_in(&server).await;
    server.api().post("/v1/freeze", &json!({ "why": "before" })).await;
    let mut changes = browser.with_headers("").events("/ui/live/changes").await;
    server.api().delete("/v1/freeze").await;
    let first = changes.next().await.expect("an event");
    assert_eq!((first.name.as_str(), &first.data["frozen"]), ("freeze", &Value::Null));
    server.stop().await;
}
