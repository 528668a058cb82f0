//! Plans, rollbacks and proposals on the page, as a browser without scripts sends them.

use serde_json::{Value, json};

use super::http::Answer;
use super::page::{Browser, signed_in};
use super::session::Session;
use super::{RULES, Running};

const TWO: &str = "# The shop.\n[[rule]]\nname = \"web\"\ndescription = \"</textarea><script>alert(1)</script>\"\nlisten_port = 18080\n\
                   target = \"127.0.0.1:80\" # main\n\n[[rule]]\nname = \"db\"\nlisten_port = 19090\ntarget = \"127.0.0.1:81\"\n";

/// Applies a tree of one file, and has the edge take it.
async fn applied(server: &Running, session: &mut Session, text: &str) -> String {
    let allowances = json!({ "dirty": true, "removals": 1 });
    let tree = json!({ "files": [{ "path": "a b.toml", "text": text }], "allowances": allowances });
    let begun = server.api().post("/v1/apply", &tree).await;
    assert_eq!(begun.status, 202, "{begun:?}");
    settle(server, session, &begun.json::<Value>()["id"]).await
}

async fn settle(server: &Running, session: &mut Session, id: &Value) -> String {
    let id = id.as_str().expect("an id").to_owned();
    let desired = session.desired().await;
    session.accept(&desired).await;
    let mut events = server.api().events(&format!("/v1/applies/{id}/events")).await;
    while events.next().await.is_some() {}
    id
}

/// The value of a hidden field.
fn field(page: &Answer, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.body.split_once(&start).unwrap_or_else(|| panic!("no field {name}: {}", page.body));
    rest.split_once('"').expect("its end").0.to_owned()
}

fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02X}"))
}

async fn as_role(server: &Running, role: &str) -> Browser {
    let created: Value =
        server.api().post("/v1/operators", &json!({ "name": role, "role": role, "grant": {} })).await.json();
    let mut browser = Browser::new(server);
    browser.sign_in(created["token"].as_str().expect("a token")).await;
    browser
}

#[tokio::test]
async fn a_viewer_sees_plans_and_the_history_and_changes_nothing() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    let id = applied(&server, &mut session, RULES).await;
    let viewer = as_role(&server, "viewer").await;
    for path in [
        "/ui/plan",
        "/ui/plan?revision=1",
        "/ui/applies",
        &format!("/ui/applies/{id}"),
        "/ui/history",
        "/ui/history/1",
        "/ui/drift",
    ] {
        let page = viewer.get(path).await;
        assert_eq!(page.status, 200, "{path}: {page:?}");
        assert!(!page.body.contains("button-danger") && !page.body.contains("style="), "{path}: {}", page.body);
    }
    for path in ["/ui/audit", "/ui/resume", "/ui/rules/local/web/edit", "/ui/rules/local/web/add-target"] {
        assert_eq!(viewer.get(path).await.status, 403, "{path}");
    }
    for path in [
        "/ui/history/1/rollback",
        "/ui/resume",
        "/ui/rules/local/web/edit",
        "/ui/rules/local/web/add-target",
        "/ui/rules/local/web/patch",
        "/ui/rules/local/web/override",
    ] {
        let form = "why=x&text=x&host=a&ports=1&name=x&listen=1&ttl_secs=60&spec=%7B%22target%22%3A%22a%3A1%22%7D";
        let page = viewer.post(path, form).await;
        assert_eq!(page.status, 403, "{path}: {page:?}");
        // A form of another site is refused for every operator.
        assert_eq!(viewer.post_with(path, form, "").await.status, 403, "{path}");
    }
    let history: Value = server.api().get("/v1/history").await.json();
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history}");
    server.stop().await;
}

#[tokio::test]
async fn a_rollback_applies_what_was_shown_and_nothing_else() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    applied(&server, &mut session, RULES).await;
    applied(&server, &mut session, &RULES.replace("18080", "18081")).await;
    let browser = signed_in(&server).await;
    assert_eq!(browser.post("/ui/history/1/rollback", "why=+").await.status, 400, "a reason is required");
    let preview = browser.post("/ui/history/1/rollback", "why=it+was+better").await;
    assert_eq!(preview.status, 200, "{preview:?}");
    assert!(preview.body.contains("18080") && preview.body.contains("it was better"), "{}", preview.body);
    let plan = field(&preview, "plan_id");
    // Another plan than that of now is shown again and not carried out.
    let other = browser.post("/ui/history/1/rollback", "why=x&plan_id=sha256%3A00").await;
    assert!(other.status == 409 && other.body.contains("The fleet has changed"), "{other:?}");
    let status: Value = server.api().get("/v1/revision").await.json();
    assert!(status["hold"].is_null(), "{status}");
    let done = browser.post("/ui/history/1/rollback", &format!("why=it+was+better&plan_id={}", encoded(&plan))).await;
    assert_eq!(done.status, 303, "{done:?}");
    let place = done.header("location").expect("a place").to_owned();
    settle(&server, &mut session, &json!(place.rsplit('/').next())).await;
    let page = browser.get(&place).await;
    assert!(page.body.contains("applied") && !page.body.contains("data-live"), "{}", page.body);
    let entry: Value = server.api().get("/v1/history/3").await.json();
    assert_eq!((&entry["action"], &entry["why"]), (&json!("rollback"), &json!("it was better")));
    // The way forward again.
    assert_eq!(browser.get("/ui/resume").await.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_edit_is_a_proposal_with_a_patch_and_an_invalid_one_keeps_its_text() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    applied(&server, &mut session, TWO).await;
    let planner = as_role(&server, "planner").await;
    let form = planner.get("/ui/rules/local/web/edit").await;
    assert_eq!(form.status, 200, "{form:?}");
    assert!(form.body.contains("a b.toml:2") && !form.body.contains("<script>alert"), "{}", form.body);
    let wrong = planner
        .post(
            "/ui/rules/local/db/edit",
            &format!("text={}", encoded("[[rule]]\r\nname = \"db\"\r\nlisten_prt = 1\r\n")),
        )
        .await;
    assert_eq!(wrong.status, 422, "{wrong:?}");
    for part in
        ["unknown_key", "a b.toml:10", "listen_prt = 1", "<span class=\"ink-bad\" aria-hidden=\"true\">^</span>"]
    {
        assert!(wrong.body.contains(part), "{part}: {}", wrong.body);
    }
    let text = "[[rule]]\r\nname = \"db\"\r\nlisten_port = 19091\r\ntarget = \"127.0.0.1:81\"\r\n";
    let sent = format!("text={}", encoded(text));
    let proposed = planner.post("/ui/rules/local/db/edit", &sent).await;
    assert_eq!(proposed.status, 200, "{proposed:?}");
    for part in ["git apply db.patch", "<span class=\"diff-add\">+listen_port = 19091", "rebind"] {
        assert!(proposed.body.contains(part), "{part}: {}", proposed.body);
    }
    assert!(!proposed.body.contains("Run it now"), "a planner runs nothing");
    let patch = planner.post("/ui/rules/local/db/patch", &sent).await;
    assert_eq!(patch.header("content-disposition"), Some("attachment; filename=\"db.patch\""), "{patch:?}");
    assert!(patch.body.starts_with("diff --git a/a b.toml b/a b.toml\n--- a/a b.toml\t\n"), "{patch:?}");
    server.stop().await;
}

#[tokio::test]
async fn a_new_target_can_run_for_a_while_beside_the_rule() {
    let server = Running::start().await;
    let mut session = server.session("local").await;
    applied(&server, &mut session, TWO).await;
    let browser = signed_in(&server).await;
    let proposed = browser.post("/ui/rules/local/db/add-target", "host=127.0.0.2&ports=81&weight=&priority=1").await;
    assert_eq!(proposed.status, 200, "{proposed:?}");
    assert!(proposed.body.contains("priority = 1"), "{}", proposed.body);
    let spec = field(&proposed, "spec").replace("&#34;", "\"").replace("&quot;", "\"");
    let form = |listen: &str| format!("spec={}&name=db-now&listen={listen}&ttl_secs=900&why=a+try", encoded(&spec));
    let taken = browser.post("/ui/rules/local/db/override", &form("19090")).await;
    assert_eq!(taken.status, 409, "the tree has that port: {taken:?}");
    let answer = async {
        let desired = session.desired().await;
        session.accept(&desired).await;
    };
    let (form, ()) = (form("19092"), ());
    let (done, ()) = tokio::join!(browser.post("/ui/rules/local/db/override", &form), answer);
    assert_eq!(done.status, 303, "{done:?}");
    let overrides: Value = server.api().get("/v1/overrides").await.json();
    assert_eq!((&overrides[0]["rule"], &overrides[0]["why"]), (&json!("db-now"), &json!("a try")));
    assert_eq!(overrides[0]["spec"]["targets"][1]["host"], "127.0.0.2");
    let bad = browser.post("/ui/rules/local/db/add-target", "host=127.0.0.2&ports=81&weight=much").await;
    assert!(
        bad.status == 422 && bad.body.contains("weight <code>much</code>") && bad.body.contains("value=\"127.0.0.2\""),
        "{bad:?}"
    );
    server.stop().await;
}
